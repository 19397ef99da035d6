"""Each prompt version as an engine gets it, compared with a checked-in text.

After a wanted change: `LOCALEXPLAIN_WRITE_GOLDEN=1 pytest tests/golden`, then read the difference.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from localexplain.engines.scripted import BOS_ID, ScriptedTokenizer
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.load import load_simulator
from localexplain.types import ExplainTask, Record, SimulateTask, Unit
from tests.recording import RecordingEngine

HERE = Path(__file__).parent
UNIT = Unit(basis="mlp", layer=3, index=127)
TOKENS = ("The", " film", "\n", "\t", " 10", "", "\\xe2", " <|end|>", " movie", ".")
ACTIVATIONS = (0, 4.2, 0, -1, 0, 0, 0, 0, 6, 0)


def draw_text(token_ids):
    """The text, its beginning-of-sequence token drawn, an end without a line break marked."""
    decode = ScriptedTokenizer().decode
    text = "".join("⟨bos⟩" if index == BOS_ID else decode([index]) for index in token_ids)
    return text if text.endswith("\n") else f"{text}⟨end⟩\n"


def draw_tail(request):
    """The cells with every token boundary: `|`, or `▸` where the label's probabilities are read."""
    decode = ScriptedTokenizer().decode
    pieces = []
    for place, index in enumerate(request.tail):
        shown = decode([index]).replace("\t", "⇥").replace("\n", "⏎\n")
        bound = "▸" if place in request.positions else "" if shown.endswith("\n") else "|"
        pieces.append(shown + bound)
    return "⟨tail⟩\n" + "".join(pieces)


def compare(name, text):
    path = HERE / f"{name}.txt"
    if os.environ.get("LOCALEXPLAIN_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("chat", ["always", "never"])
def test_explain(chat):
    record = Record(
        unit=UNIT,
        excerpt_id=0,
        kind="top",
        rank=0,
        stratum=None,
        split="train",
        tokens=TOKENS,
        token_ids=tuple(range(len(TOKENS))),
        activations=np.array(ACTIVATIONS, dtype=np.float32),
    )
    quiet = np.zeros(5, dtype=np.float32)
    other = replace(record, excerpt_id=1, rank=4, tokens=(" so",) * 5, token_ids=(7,) * 5, activations=quiet)
    engine = RecordingEngine()
    LanguageModelExplainer(engine, ExplainConfig(chat=chat)).explain([ExplainTask(unit=UNIT, records=(record, other))])
    compare(f"explain-v1-{'chat' if chat == 'always' else 'plain'}", draw_text(engine.requests[0].token_ids))


@pytest.mark.parametrize("chat", ["always", "never"])
def test_simulate_expected(chat):
    engine = RecordingEngine()
    simulator = load_simulator(SimulateConfig(mode="expected", chat=chat), engine)
    simulator.simulate([SimulateTask(explanation="words for films", tokens=TOKENS)])
    text = draw_text(engine.requests[0].prefix) + draw_tail(engine.requests[0])
    compare(f"simulate-expected-v1-{'chat' if chat == 'always' else 'plain'}", text)


@pytest.mark.parametrize("chat", ["always", "never"])
def test_simulate_grid(chat):
    engine = RecordingEngine(generate=lambda prompt: ",".join("0" * len(TOKENS)))
    simulator = load_simulator(SimulateConfig(mode="grid", chat=chat), engine)
    simulator.simulate([SimulateTask(explanation="words for films", tokens=TOKENS)])
    compare(f"simulate-grid-v1-{'chat' if chat == 'always' else 'plain'}", draw_text(engine.requests[0].token_ids))
