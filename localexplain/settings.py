"""Settings from outside (TOML files, KEY=VALUE flags) to checked dataclasses."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from localexplain.errors import ConfigError

Settings = TypeVar("Settings")


def describe_fault(error: ValidationError) -> str:
    """The first fault as one line."""
    fault = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "dataclass_type":
        return f"configuration key {key!r} must be a table of keys; see docs/configuration.md"
    return f"configuration key {key!r}: {fault['msg'].lower()}, not {fault.get('input')!r}"


def check_keys(values: Mapping[str, Any], settings: type, prefix: str = "") -> None:
    """Raises ConfigError for the first key, at any depth, that `settings` (a dataclass) does not have."""
    kinds = get_type_hints(settings)
    known = [field.name for field in fields(settings)]
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown configuration key '{prefix}{key}'; there are: {', '.join(known)}")
        if is_dataclass(kinds[key]) and isinstance(value, Mapping):
            check_keys(value, kinds[key], f"{prefix}{key}.")


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ConfigError: no such file, not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such configuration file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from error


def parse_setting(text: str) -> tuple[list[str], Any]:
    """`corpus.length_tokens=32` as a key path and a value: TOML where that parses, else the text itself.

    >>> parse_setting("corpus.length_tokens=32"), parse_setting("subject=models/x")
    ((['corpus', 'length_tokens'], 32), (['subject'], 'models/x'))
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: write KEY=VALUE, e.g. --set corpus.length_tokens=32")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return key.strip().split("."), parsed


def apply_setting(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Sets a nested key, making the tables on the way."""
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"configuration key {part!r} is a value, not a table of keys")
        values = inner
    values[path[-1]] = value


def parse_values(values: Mapping[str, Any], settings: type[Settings]) -> Settings:
    """The settings (a dataclass), defaults filled in. Raises ConfigError, naming the key: unknown, of the wrong type,
    out of range."""
    check_keys(values, settings)
    try:
        return TypeAdapter(settings).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise ConfigError(describe_fault(error)) from error


def build_settings(base: Mapping[str, Any], changes: Sequence[str], settings: type[Settings]) -> Settings:
    """`base` with KEY=VALUE changes over it, as `parse_values`."""
    values = json.loads(json.dumps(base))
    for change in changes:
        path, value = parse_setting(change)
        apply_setting(values, path, value)
    return parse_values(values, settings)
