"""Settings from files and flags: what is refused and how, what wins, and that every key of a run can be reached."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.errors import ConfigError
from localexplain.pipeline.config import RunConfig
from localexplain.settings import apply_setting, build_settings, parse_setting, parse_values, read_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    name: str = "inner"
    parts: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    kind: Literal["Left", "right"] = "Left"
    count: int = 3
    share: float = 0.5
    is_loud: bool = False
    inner: Inner = Inner()
    other: Inner = Inner(name="other")


def refusal(values: dict[str, Any]) -> str:
    """The one line that says why."""
    with pytest.raises(ConfigError) as caught:
        parse_values(values, Outer)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"counts": 1}, "'counts'"),
        ({"inner": {"names": "x"}}, "'inner.names'"),
        ({"other": {"parts": [1], "names": "x"}}, "'other.names'"),
        ({"": 1}, "''"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_those_that_there_are(values: dict[str, Any], key: str) -> None:
    line = refusal(values)
    assert f"unknown configuration key {key}" in line
    assert ("kind, count, share" if "." not in key else "name, parts") in line


@pytest.mark.parametrize(
    ("values", "key", "given"),
    [
        ({"count": "3"}, "count", "'3'"),
        ({"count": 3.0}, "count", "3.0"),
        ({"count": True}, "count", "True"),
        ({"count": None}, "count", "None"),
        ({"count": {"a": 1}}, "count", "{'a': 1}"),
        ({"share": "0.5"}, "share", "'0.5'"),
        ({"is_loud": 1}, "is_loud", "1"),
        ({"is_loud": "yes"}, "is_loud", "'yes'"),
        ({"kind": "LEFT"}, "kind", "'LEFT'"),
        ({"inner": {"name": 5}}, "inner.name", "5"),
        ({"inner": {"parts": "12"}}, "inner.parts", "'12'"),
        ({"inner": {"parts": [1, "2"]}}, "inner.parts.1", "'2'"),
    ],
)
def test_a_value_of_another_type_is_refused_and_never_turned_into_one(
    values: dict[str, Any], key: str, given: str
) -> None:
    line = refusal(values)
    assert f"configuration key '{key}'" in line
    assert line.endswith(f"not {given}")


def test_a_literal_s_choices_are_named_as_they_are_written() -> None:
    assert "'Left' or 'right'" in refusal({"kind": "up"})


@pytest.mark.parametrize("value", [5, "text", [1]])
def test_a_value_where_a_table_belongs_is_refused(value: object) -> None:
    line = refusal({"inner": value})
    assert "'inner' must be a table of keys" in line


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("count = 2020-01-01", "'count'"),
        ("count = 10:00:00", "'count'"),
        ("inner.name = 2020-01-01T10:00:00", "'inner.name'"),
        ("inner.parts = [1, 2020-01-01]", "'inner.parts'"),
        ("count = { a = 2020-01-01 }", "'count'"),
        ("share = nan", "'share'"),
        ("share = -inf", "'share'"),
    ],
)
def test_toml_that_no_setting_can_be_is_refused_by_name(text: str, key: str) -> None:
    assert key in refusal(tomllib.loads(text))


def test_a_file_s_name_that_is_not_utf_8_is_refused_by_the_key() -> None:
    name = b"models/\xff".decode("utf-8", "surrogateescape")  # what a shell's argument becomes
    assert "configuration key 'inner.name'" in refusal({"inner": {"name": name}})


def test_an_integer_is_a_fine_number_and_a_list_becomes_a_tuple() -> None:
    found = parse_values({"share": 1, "inner": {"parts": [3]}}, Outer)
    assert found == Outer(share=1.0, inner=Inner(parts=(3,)))
    assert type(found.share) is float
    assert type(found.inner.parts) is tuple


def test_a_table_named_in_part_keeps_the_rest_of_its_own_default() -> None:
    """`other`'s default differs from its class's: naming one key must not bring the class's default back."""
    assert parse_values({"other": {"parts": [9]}}, Outer).other == Inner(name="other", parts=(9,))


# files and flags ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=3", 3),
        ("a=-3", -3),
        ("a=0.5", 0.5),
        ("a=true", True),
        ("a=True", "True"),
        ('a="3"', "3"),
        ("a=models/x", "models/x"),
        ("a=mlp.0,mlp.3:127", "mlp.0,mlp.3:127"),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ('a=["x", "y"]', ["x", "y"]),
        ("a={b = 1}", {"b": 1}),
        ("a=1\nb=2", "1\nb=2"),  # one value, not two keys of which one is lost
        pytest.param("a=" + "9" * 5000, "9" * 5000, id="more digits than Python reads as a number"),
    ],
)
def test_a_value_is_toml_where_that_parses_and_text_elsewhere(text: str, value: object) -> None:
    assert parse_setting(text) == (["a"], value)


def test_a_key_may_have_spaces_around_it_and_points_inside() -> None:
    assert parse_setting(" corpus.length_tokens = 32") == (["corpus", "length_tokens"], 32)


@pytest.mark.parametrize("text", ["seed", "", "=3", "  =3"])
def test_a_setting_without_key_or_equals_sign_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        parse_setting(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_in_quotes_comes_back_whatever_it_holds(text: str) -> None:
    """As the flags write it: --texts, --subject and so on are passed on as KEY="VALUE"."""
    quoted = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows it bare, TOML does not
    assert parse_setting(f"subject={quoted}") == (["subject"], text)


def test_apply_setting_makes_tables_and_refuses_to_put_a_key_below_a_value() -> None:
    values: dict[str, Any] = {"a": {"b": 1}}
    apply_setting(values, ["a", "c", "d"], 2)
    assert values == {"a": {"b": 1, "c": {"d": 2}}}
    with pytest.raises(ConfigError, match="'b' is a value, not a table"):
        apply_setting(values, ["a", "b", "x"], 3)


def test_the_base_is_left_as_it_was() -> None:
    base = {"inner": {"parts": [1]}}
    found = build_settings(base, ["inner.name=new", "count=9"], Outer)
    assert (found.inner, found.count) == (Inner(name="new", parts=(1,)), 9)
    assert base == {"inner": {"parts": [1]}}


def test_later_settings_win_over_earlier_ones_and_those_over_the_base() -> None:
    base = {"count": 1, "share": 0.25}
    assert build_settings(base, [], Outer).count == 1
    assert build_settings(base, ["count=2"], Outer).count == 2
    assert build_settings(base, ["count=2", "count=4"], Outer) == Outer(count=4, share=0.25)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"seed = ", "not a TOML file"), (b"a = 1\na = 2", "not a TOML file"), (b"\xff\xfe", "not a TOML file")],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=why) as caught:
        read_toml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigError, match="give the path of a TOML file") as caught:
            read_toml(path)
        assert str(path) in str(caught.value)


# every key of a run ---------------------------------------------------------------------------------------------------


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, type, default) of every field that is no table."""
    kinds = get_type_hints(type(settings))
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", kinds[field.name], value


LEAVES = {key: (kind, default) for key, kind, default in leaves(RunConfig())}


def value_at(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part)
    return config


def other_values(kind: Any, default: Any) -> list[Any]:
    """Legal values of the type that are not the default."""
    if get_origin(kind) is Literal:
        return [value for value in get_args(kind) if value != default]
    if get_origin(kind) is tuple:
        return [(), default[:1]]
    if kind is str:
        return ["another", "3", "true", "ä 😀 \\ \" '"]
    return [default + 1] if kind is int else [default / 2, 1 / 3]


# float16 is for vLLM alone, which its own test below sets with it
CASES = [
    (key, value)
    for key, (kind, default) in LEAVES.items()
    for value in other_values(kind, default)
    if not (value == "float16" and "engine" in key)
]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_every_key_is_reached_by_set_and_changes_itself_alone(key: str, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    config = build_settings({}, [f"{key}={text}"], RunConfig)
    changed = {leaf for leaf in LEAVES if value_at(config, leaf) != LEAVES[leaf][1]}
    assert changed == {key}
    assert value_at(config, key) == value


@pytest.mark.parametrize("key", LEAVES)
def test_every_key_refuses_a_value_of_another_type(key: str) -> None:
    kind, default = LEAVES[key]
    wrong = 3 if kind is str or get_origin(kind) in (Literal, tuple) else str(default)
    with pytest.raises(ConfigError, match=f"'{key}'"):
        parse_values(as_tables(key, wrong), RunConfig)


def as_tables(key: str, value: object) -> dict[str, Any]:
    values: dict[str, Any] = {}
    apply_setting(values, key.split("."), value)
    return values


@pytest.mark.parametrize("key", [key for key, (kind, _) in LEAVES.items() if kind in (int, float)])
def test_every_number_has_a_range(key: str) -> None:
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        build_settings({}, [f"{key}=-1"], RunConfig)


@pytest.mark.parametrize(
    "changes",
    [
        ["seed=9223372036854775808"],
        ["explain.engine.dtype=float16"],
        ["simulate.engine.memory_fraction=1.5"],
        ["simulate.engine.memory_fraction=0"],
        ["simulate.engine.tensor_parallel=0"],
        ['simulate.controls=["lookup", "empty", "lookup"]'],
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(changes: list[str]) -> None:
    name = changes[-1].partition("=")[0].partition(".")[2] or changes[-1].partition("=")[0]
    with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
        build_settings({}, changes, RunConfig)


def test_float16_is_for_vllm() -> None:
    config = build_settings({}, ["explain.engine.kind=vllm", "explain.engine.dtype=float16"], RunConfig)
    assert config.explain.engine.dtype == "float16"


def test_what_is_stored_is_read_back_as_the_same_config() -> None:
    config = build_settings({}, [f"{key}={json.dumps(other_values(*LEAVES[key])[0])}" for key in LEAVES], RunConfig)
    assert len({key for key in LEAVES if value_at(config, key) != LEAVES[key][1]}) == len(LEAVES)
    assert parse_values(json.loads(json.dumps(asdict(config))), RunConfig) == config
