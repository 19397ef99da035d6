"""Settings from outside (TOML files, KEY=VALUE flags) to checked dataclasses."""

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from localexplain.errors import ConfigError

Settings = TypeVar("Settings")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # what Python makes of a byte that is not UTF-8


def describe_fault(error: ValidationError) -> str:
    """The first fault as one line."""
    fault = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "dataclass_type":
        return f"configuration key {key!r} must be a table of keys; see docs/configuration.md"
    what = fault["msg"][:1].lower() + fault["msg"][1:]  # the choices it may name stay as they are written
    return f"configuration key {key!r}: {what}, not {fault.get('input')!r}"


def check_plain(value: Any, key: str) -> None:
    """Raises ConfigError for what TOML or a shell can write and no setting can be: a date or a time, nan, an infinity,
    the name of a file that is not UTF-8."""
    if isinstance(value, date | time) or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"configuration key {key!r}: {value} is neither text nor a finite number; quote a text")
    if isinstance(value, str) and LONE_SURROGATE.search(value):
        raise ConfigError(f"configuration key {key!r}: {value!r} is not UTF-8; rename the file or the folder")
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in inner:
        check_plain(part, key)


def check_keys(values: Mapping[str, Any], settings: type, prefix: str = "") -> None:
    """Raises ConfigError for the first key, at any depth, that `settings` (a dataclass) does not have, or whose value
    nothing can be made of."""
    kinds = get_type_hints(settings)
    known = [field.name for field in fields(settings)]
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown configuration key '{prefix}{key}'; there are: {', '.join(known)}")
        if is_dataclass(kinds[key]) and isinstance(value, Mapping):
            check_keys(value, kinds[key], f"{prefix}{key}.")
        else:
            check_plain(value, f"{prefix}{key}")


def check_lowest(settings: object, names: Iterable[str], lowest: int) -> None:
    """Raises ConfigError for the first of the named settings, all of them numbers, that is below `lowest`."""
    bound = f"must be at least {lowest}" if lowest else "must not be negative"
    for name in names:
        value = getattr(settings, name)
        if value < lowest:
            raise ConfigError(f"{name} = {value}: {bound}")


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ConfigError: no such file, not a readable one, not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file; give the path of a TOML file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of a TOML file") from error
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path}: not a TOML file ({error})") from error


def parse_setting(text: str) -> tuple[list[str], Any]:
    """`corpus.length_tokens=32` as a key path and a value: TOML where that parses, else the text itself.

    Raises ConfigError where there is no key or no "=".

    >>> parse_setting("corpus.length_tokens=32"), parse_setting("subject=models/x")
    ((['corpus', 'length_tokens'], 32), (['subject'], 'models/x'))
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: write KEY=VALUE, e.g. --set corpus.length_tokens=32")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except ValueError:
        parsed = {}
    is_toml = set(parsed) == {"value"}  # a text of several lines may hold keys of its own
    return key.strip().split("."), parsed["value"] if is_toml else value


def apply_setting(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Sets a nested key, making the tables on the way."""
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"configuration key {part!r} is a value, not a table of keys")
        values = inner
    values[path[-1]] = value


def with_defaults(values: Mapping[str, Any], settings: type) -> dict[str, Any]:
    """The values with every nested table completed from this dataclass's own default for it, which may differ from
    the table's class's."""
    completed = dict(values)
    for field in fields(settings):
        if is_dataclass(field.default) and isinstance(values.get(field.name), Mapping):
            default = asdict(field.default)  # type: ignore[arg-type]  # a field's default is never a class here
            completed[field.name] = merge(default, with_defaults(values[field.name], type(field.default)))
    return completed


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in place of its own, table by table.

    >>> merge({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"c": 4}})
    {'a': 1, 'b': {'c': 4, 'd': 3}}
    """
    merged = dict(base)
    for key, value in over.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def parse_values(values: Mapping[str, Any], settings: type[Settings]) -> Settings:
    """The settings (a dataclass), defaults filled in. Raises ConfigError, naming the key: unknown, of the wrong type,
    out of range."""
    check_keys(values, settings)
    try:
        return TypeAdapter(settings).validate_json(json.dumps(with_defaults(values, settings)), strict=True)
    except ValidationError as error:
        raise ConfigError(describe_fault(error)) from error


def build_settings(base: Mapping[str, Any], changes: Sequence[str], settings: type[Settings]) -> Settings:
    """`base` with KEY=VALUE changes over it, as `parse_values`."""
    values = deepcopy(dict(base))
    for change in changes:
        path, value = parse_setting(change)
        apply_setting(values, path, value)
    return parse_values(values, settings)
