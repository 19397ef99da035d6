"""Reading a card: what is refused and how, what is absent, and which card a folder belongs to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from localexplain.cards import ModelCard, card_of, card_values, find_card, read_card_file, read_cards, show_card
from localexplain.errors import UserError

LEAST = """
repository = "org/some-model"
roles = ["explainer"]
source = "config.json, read 2026-11"
"""
SHAPE = """
[architecture]
model_type = "llama"
layers = 2
width = 64
heads = 4
kv_heads = 2
head_width = 16
mlp = 128
"""


@pytest.fixture
def write(tmp_path):
    def save(text: str, name: str = "some-model") -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return save


def test_the_least_card_knows_nothing_else(write):
    card = read_card_file(write(LEAST))
    assert card_values(card) == {
        "name": "some-model",
        "repository": "org/some-model",
        "roles": ["explainer"],
        "source": "config.json, read 2026-11",
        "parameters_rounded": False,
    }
    assert show_card(card) == [
        ("model", "some-model"),
        ("repository", "org/some-model"),
        ("roles", "explainer"),
        ("source", "config.json, read 2026-11"),
    ]


def test_values_are_json_and_come_back_as_the_same_card(write):
    for card in read_cards().values():
        values = json.loads(json.dumps(card_values(card)))
        assert values.pop("name") == card.name
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
        for table, inner in values.items():
            if isinstance(inner, dict):
                lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in inner.items())]
        assert read_card_file(write("\n".join(lines), card.name)) == card


BAD = {
    "unknown key": (LEAST + "colour = 1", "unknown key 'colour'"),
    "its own name": (LEAST + 'name = "x"', "unknown key 'name'"),
    "unknown key in a table": (LEAST + SHAPE + "depth = 3", "unknown key 'architecture.depth'"),
    "missing key": (LEAST.replace("repository", "#"), "key 'repository' is missing"),
    "missing key in a table": (LEAST + SHAPE.replace("width = 64", ""), "key 'architecture.width' is missing"),
    "a number as text": (LEAST + 'parameters = "8"', "key 'parameters': "),
    "a truth as number": (LEAST + "gated = 1", "key 'gated': "),
    "half a layer": (LEAST + SHAPE.replace("layers = 2", "layers = 2.5"), "key 'architecture.layers': "),
    "no layers": (LEAST + SHAPE.replace("layers = 2", "layers = 0"), "key 'architecture.layers': "),
    "a role that is none": (LEAST.replace("explainer", "judge"), "key 'roles.0': "),
    "no role": (LEAST.replace('"explainer"', ""), "key 'roles': "),
    "not a repository": (LEAST.replace("org/some-model", "some-model"), "key 'repository': "),
    "a system role that is none": (LEAST + 'system_role = "yes"', "key 'system_role': "),
    "a table that is none": (LEAST + "architecture = 3", "key 'architecture' must be a table"),
    "a date": (LEAST + "context_tokens = 2026-11-01", "a date or a time"),
    "an infinity": (LEAST + '[quantisation]\nmethod="x"\nparameters=1\nbits_per_parameter=inf', "bits_per_parameter"),
    "heads that cannot be dealt": (LEAST + SHAPE.replace("kv_heads = 2", "kv_heads = 3"), "'architecture.kv_heads': 3"),
    "experts of which none is taken": (LEAST + SHAPE + "experts = 8", "key 'architecture.experts'"),
    "a system role without a template": (LEAST + 'chat_template = false\nsystem_role = "turn"', "key 'system_role'"),
    "a switch that is not named": (LEAST + '[thinking]\nkind = "switch"\noff = false', "'thinking.argument': must go"),
    "a switch that does not switch": (LEAST + '[thinking]\nkind = "switch"\nargument = "a"', "'thinking.off': must"),
    "levels of none": (LEAST + '[thinking]\nkind = "levels"\nargument = "a"', "key 'thinking.levels': must go"),
    "no thinking, with levels": (LEAST + '[thinking]\nkind = "none"\nlevels = ["a"]', "'thinking.levels': does not go"),
    "not TOML": (LEAST + "= 3", "not a TOML file"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_card_is_one_line_that_names_file_and_key(write, what):
    text, said = BAD[what]
    path = write(text)
    with pytest.raises(UserError) as error:
        read_card_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_bytes_that_are_not_text(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"a\.toml: not a TOML file"):
        read_cards(tmp_path)


def test_a_card_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_card_file(tmp_path / "none.toml")


def test_cards_of_a_folder(write, tmp_path):
    write(LEAST, "b"), write(LEAST.replace("some-model", "other"), "a")
    (tmp_path / "card.json").write_text("{}")
    cards = read_cards(tmp_path)
    assert list(cards) == ["a", "b"]
    assert find_card("ORG/Other", cards) is cards["a"]
    assert find_card("other", cards) is None


FOLDERS = {
    "/x/hub/models--Qwen--Qwen3-8B/snapshots/0123abcd": "qwen3-8b",
    "/x/hub/models--openai-community--gpt2-xl": "gpt2-xl",
    "/x/hub/models--Qwen--Qwen3-8B-AWQ/snapshots/0123abcd": None,
    "/x/hub/models--qwen3-8b/snapshots/qwen3-8b": None,  # the cache names it, and as nothing that is known
    "/models/meta-llama/Llama-3.1-8B": "llama-3.1-8b",
    "/models/meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b-instruct",
    "/models/Llama-3.3-70B-Instruct": "llama-3.3-70b-instruct",
    "/models/gemma-3-4b-it": "gemma-3-4b-it",
    "/models/transluce-llama-8b-simulator": "transluce-llama-8b-simulator",
    "/models/llama_8b_explainer": "transluce-llama-8b-explainer",
    "/models/qwen3-8b/checkpoint-100": None,
    "/models/mine": None,
    "/": None,
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_card_of_a_folder_is_told_by_its_path(folder):
    card = card_of(Path(folder))
    assert (card and card.name) == FOLDERS[folder]


def test_a_relative_folder_is_told_by_where_it_is(tmp_path, monkeypatch):
    inside = tmp_path / "models--Qwen--Qwen3-4B" / "snapshots" / "0"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    card = card_of(Path())
    assert isinstance(card, ModelCard)
    assert card.name == "qwen3-4b"


def test_reading_and_showing_cards_loads_nothing_heavy():
    code = (
        "import sys; from localexplain.cards import read_cards, show_card; "
        "[show_card(card) for card in read_cards().values()]; print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "localexplain.cards.show" in loaded
    assert {"torch", "transformers", "tokenizers", "numpy"} & set(loaded) == set()
