"""docs/configuration.md against the code: keys, types, defaults, flags, examples, and what each key decides."""

import json
import re
import tomllib
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from localexplain.arguments import FLAG_KEYS, build_parser, settings_from
from localexplain.errors import ConfigError, UserError
from localexplain.keys import canonical_json
from localexplain.pipeline.capture import describe_capture
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.models import plan_explainer, plan_simulator
from localexplain.settings import build_settings, parse_values

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
HEADER = ["Key", "Type", "Default", "Decides", "Meaning"]
TYPE_WORDS = {str: "text", int: "integer", float: "number"}
SPAN = re.compile(r"`([^`]+)`")


# the page ------------------------------------------------------------------------------------------------------------


def read_tables(page: str) -> list[list[list[str]]]:
    """Every table as rows of cells, its header first, the line below that left out."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", page, flags=re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if set(line) - set("|-")]
        for block in blocks
    ]


def read_keys(page: str) -> dict[str, dict[str, str]]:
    """Each documented key -> its row, by column. Fails on a key that is documented twice."""
    found: dict[str, dict[str, str]] = {}
    for header, *rows in read_tables(page):
        for cells in rows if header == HEADER else []:
            for key in SPAN.findall(cells[0]):
                assert key not in found, f"{key} is documented twice"
                found[key] = dict(zip(header, cells, strict=True))
    return found


def toml_blocks(page: str) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


# the code ------------------------------------------------------------------------------------------------------------


def leaf_types(settings: type, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> its type, for every field that is no table."""
    kinds = get_type_hints(settings)
    found: dict[str, Any] = {}
    for field in fields(settings):
        kind = kinds[field.name]
        key = f"{prefix}{field.name}"
        found |= leaf_types(kind, f"{key}.") if is_dataclass(kind) else {key: kind}
    return found


def value_at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


KEYS = read_keys(PAGE)
TYPES = leaf_types(RunConfig)
DEFAULTS = json.loads(canonical_json(asdict(RunConfig())))


# keys, types, defaults -----------------------------------------------------------------------------------------------


def test_every_key_is_documented_and_every_documented_key_exists():
    assert sorted(KEYS) == sorted(TYPES)


@pytest.mark.parametrize("key", TYPES)
def test_default_is_the_true_one(key):
    (written,) = SPAN.findall(KEYS[key]["Default"])
    found = tomllib.loads(f"value = {written}")["value"]
    assert found == value_at(DEFAULTS, key)
    assert type(found) is type(value_at(DEFAULTS, key))


def type_in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f'`"{value}"`' for value in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {type_in_words(get_args(kind)[0])}"
    return TYPE_WORDS[kind]


@pytest.mark.parametrize("key", TYPES)
def test_type_and_choices_are_the_true_ones(key):
    assert KEYS[key]["Type"] == type_in_words(TYPES[key])


def test_every_key_that_the_text_names_exists():
    tables = {key.rpartition(".")[0] for key in TYPES} | {"explain", "simulate"}
    heads = {key.partition(".")[0] for key in TYPES}
    spans = {span for span in SPAN.findall(PAGE) if re.fullmatch(r"\[?[a-z_]+(\.[a-z_]+)*\]?", span)}
    named = {span.strip("[]") for span in spans if span.strip("[]").partition(".")[0] in heads}
    assert "simulate.prompt" in named  # the table that is written in brackets is seen too
    assert named <= set(TYPES) | tables


# what a key decides --------------------------------------------------------------------------------------------------


def make_model(folder: Path, weights: bytes) -> str:
    """A folder that can be hashed, which is all that an identity asks of it."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


def make_texts(folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "a.txt").write_text(text, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two models and two texts that differ, and a copy of the first of each in another folder."""
    root = tmp_path_factory.mktemp("inputs")
    (root / "copies").mkdir()
    return {
        "model": make_model(root / "model", b"1"),
        "other_model": make_model(root / "other", b"2"),
        "model_copy": make_model(root / "copies" / "model", b"1"),
        "texts": make_texts(root / "texts", "one"),
        "other_texts": make_texts(root / "other-texts", "two"),
        "texts_copy": make_texts(root / "copies" / "texts", "one"),
    }


def base_changes(places: dict[str, str]) -> list[str]:
    """A run by language models, so that no key is without effect because a rule does the work."""
    models = [f"{key}={places['model']}" for key in ("subject", "explain.explainer", "simulate.simulator")]
    return [*models, f"corpus.path={places['texts']}", "simulate.prompt.mode=expected"]


def another_value(key: str, places: dict[str, str]) -> str:
    """A legal value of the key, in TOML, that is not its value in `base_changes`."""
    chosen = {
        "subject": places["other_model"],
        "explain.explainer": places["other_model"],
        "simulate.simulator": places["other_model"],
        "corpus.path": places["other_texts"],
        "simulate.prompt.mode": "grid",
        "simulate.controls": ["empty"],
    }
    if key in chosen:
        return json.dumps(chosen[key])
    kind, default = TYPES[key], value_at(DEFAULTS, key)
    if get_origin(kind) is Literal:
        return json.dumps(next(value for value in get_args(kind) if value != default))
    if kind is str:
        return json.dumps(f"another-{default}")
    return str(default + 1 if kind is int else default / 2)


def fingerprints(changes: list[str]) -> dict[str, str]:
    """What the stages compare to know whether their work is done, by the page's words."""
    config = build_settings({}, changes, RunConfig)
    found = {"capture": canonical_json(describe_capture(config))}
    for word, plan in (
        ("explanations", lambda: plan_explainer(config.explain)),
        ("simulations", lambda: plan_simulator(config.simulate)),
    ):
        try:
            found[word] = canonical_json(plan().identity)
        except UserError as error:  # no such prompt version; vLLM not installed: not the same work either
            found[word] = str(error)
    return found


def changed_words(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {word for word in before if before[word] != after[word]}


def documented_words(key: str) -> set[str]:
    word = KEYS[key]["Decides"]
    if word == "answers":
        word = "explanations" if key.startswith("explain.") else "simulations"
    assert word in {"capture", "explanations", "simulations", "extent", "nothing"}
    return {word} - {"extent", "nothing"}


@pytest.mark.parametrize("key", TYPES)
def test_a_key_decides_what_the_page_says(key, places):
    base = base_changes(places)
    before = fingerprints(base)
    after = fingerprints([*base, f"{key}={another_value(key, places)}"])
    assert changed_words(before, after) == documented_words(key)


def test_the_same_files_elsewhere_are_the_same_model_and_texts(places):
    base = base_changes(places)
    moved = [f"subject={places['model_copy']}", f"corpus.path={places['texts_copy']}"]
    models = [f"{key}={places['model_copy']}" for key in ("explain.explainer", "simulate.simulator")]
    assert changed_words(fingerprints(base), fingerprints([*base, *moved, *models])) == set()


# examples and flags --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", toml_blocks(PAGE))
def test_an_example_parses_and_its_mode_goes_with_its_simulator(text):
    config = parse_values(tomllib.loads(text), RunConfig)
    assert config != RunConfig()
    assert (config.simulate.simulator == "rule") == (config.simulate.prompt.mode == "rule")


def test_there_is_an_example_with_vllm_for_both_models():
    configs = [parse_values(tomllib.loads(text), RunConfig) for text in toml_blocks(PAGE)]
    assert any({config.explain.engine.kind, config.simulate.engine.kind} == {"vllm"} for config in configs)


def test_every_set_in_the_text_is_a_legal_setting():
    settings = [setting.strip("'") for setting in re.findall(r"`--set ('[^'`]+'|[a-z][^\s`]+)`", PAGE)]
    assert len(settings) == 3
    for setting in settings:
        assert build_settings({}, [setting], RunConfig) != RunConfig()


def test_a_table_without_its_mode_keeps_the_runs_default():
    """The stage's default is "rule", its class's "expected": a table with another key keeps the mode."""
    config = parse_values({"simulate": {"prompt": {"few_shot": 2}}}, RunConfig)
    assert (config.simulate.prompt.mode, config.simulate.prompt.few_shot) == ("rule", 2)


def documented_flags() -> dict[str, str]:
    (table,) = [rows for header, *rows in read_tables(PAGE) if header == ["Flag", "Keys"]]
    return {SPAN.findall(flag)[0]: keys for flag, keys in table}


def keys_set_by(arguments: list[str]) -> dict[str, Any]:
    """Key -> value, of all that these flags of `localexplain run` set."""
    settings = settings_from(build_parser().parse_args(["run", "folder", *arguments]))
    return {key: tomllib.loads(f"value = {value}")["value"] for key, _, value in (s.partition("=") for s in settings)}


def test_the_flags_are_those_that_stand_for_keys():
    flags = documented_flags()
    assert set(flags) == {f"--{flag.replace('_', '-')}" for flag in FLAG_KEYS} | {"--engine"}
    for flag, keys in flags.items():
        value = {"--seed": "3", "--mode": "grid", "--engine": "vllm"}.get(flag, "rule")
        assert set(keys_set_by([flag, value])) == {span for span in SPAN.findall(keys) if span in TYPES}


def test_the_simulators_flag_sets_the_mode_unless_the_modes_does():
    keys = documented_flags()["--simulator"]
    assert '`"rule"` for the rule, else `"expected"`' in keys
    assert keys_set_by(["--simulator", "rule"])["simulate.prompt.mode"] == "rule"
    assert keys_set_by(["--simulator", "models/mine"])["simulate.prompt.mode"] == "expected"
    assert keys_set_by(["--simulator", "models/mine", "--mode", "grid"])["simulate.prompt.mode"] == "grid"


def test_later_ones_win():
    base = {"seed": 1, "corpus": {"length_tokens": 32}}
    arguments = build_parser().parse_args(["run", "folder", "--seed", "2", "--set", "seed=3", "--set", "seed=4"])
    assert parse_values(base, RunConfig).seed == 1
    assert build_settings(base, settings_from(arguments)[:1], RunConfig).seed == 2
    config = build_settings(base, settings_from(arguments), RunConfig)
    assert (config.seed, config.corpus.length_tokens) == (4, 32)


def test_a_wrong_key_type_or_range_is_refused():
    for setting in ("corpus.length=32", "seed=text", "capture.top_k=0"):
        with pytest.raises(ConfigError, match=setting.partition("=")[0].replace(".", r"\.")):
            build_settings({}, [setting], RunConfig)
