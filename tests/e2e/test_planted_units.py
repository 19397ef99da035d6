"""A subject whose units are planted, so that the true explanation of each is known: the pipeline must find it.

One block, no attention, no positions: what a unit sees is the normalised embedding of its own token. Embeddings are
orthogonal, a unit's input weights point along those of its tokens and its bias keeps it off for all others. So

    mlp.0:0   fires on " river" alone
    mlp.0:1   fires on " copper" and " violin", equally
    mlp.0:2   never fires
    mlp.0:3   fires on "." alone, half as strongly as the others
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from localexplain import api
from localexplain.pipeline.config import ExplainStage, RunConfig
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import CorpusConfig

WORDS = (
    "river",
    "copper",
    "violin",
    "stone",
    "letter",
    "garden",
    "winter",
    "engine",
    "mirror",
    "harbour",
    "candle",
    "field",
)
WIDTH = 64
EXCERPTS = 200
PLANTED = {0: ("Ġriver",), 1: ("Ġcopper", "Ġviolin"), 2: (), 3: (".",)}
SHARPNESS = 8.0


def write_planted_subject(folder: Path) -> Path:
    """The model described above, as a folder."""
    pieces = ["<|end|>", ".", *(f"Ġ{word}" for word in WORDS)]
    tokenizer = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token="<|end|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(pieces),
        n_positions=64,
        n_embd=WIDTH,
        n_layer=1,
        n_head=2,
        n_inner=len(PLANTED),
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    block = model.transformer.h[0]
    with torch.no_grad():
        model.transformer.wpe.weight.zero_()
        block.attn.c_proj.weight.zero_()
        block.attn.c_proj.bias.zero_()
        # Rows of a Hadamard matrix other than the first sum to zero and have equal norms: layer norm leaves them as
        # they are, and they are orthogonal.
        hadamard = np.array([[1.0]])
        while len(hadamard) < WIDTH:
            hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
        model.transformer.wte.weight.copy_(torch.tensor(hadamard[1 : len(pieces) + 1], dtype=torch.float32))
        block.mlp.c_fc.weight.zero_()
        block.mlp.c_fc.bias.fill_(-SHARPNESS / 2)
        for unit, tokens in PLANTED.items():
            for token in tokens:
                strength = SHARPNESS * (0.75 if unit == 3 else 1.0) / WIDTH  # off: -4; on: 4, or 2 for unit 3
                block.mlp.c_fc.weight[:, unit] += strength * model.transformer.wte.weight[pieces.index(token)]
    model.save_pretrained(folder)
    return folder


def write_texts(folder: Path) -> Path:
    """Documents of one excerpt each. A fifth of them holds each of the planted tokens, some of them several."""
    folder.mkdir()
    random = np.random.default_rng(3)
    rows = []
    for _ in range(EXCERPTS):
        kept = [word for word in WORDS[:3] if random.random() < 0.3] + list(WORDS[3:])
        has_stops = random.random() < 0.3
        words = [f" {kept[random.integers(len(kept))]}" for _ in range(64)]
        if has_stops:
            words[int(random.integers(64))] = "."
        rows.append(json.dumps({"text": "".join(words)}))
    (folder / "texts.jsonl").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    config = RunConfig(
        subject=str(write_planted_subject(folder / "subject")),
        corpus=CorpusConfig(path=str(write_texts(folder / "texts"))),
        capture=CaptureConfig(stratum_excerpts=2),
        explain=ExplainStage(explainer="lookup"),
    )
    api.run(folder / "run", config)
    return folder / "run"


@pytest.mark.parametrize(
    ("unit", "explanation"),
    [
        ("mlp.0:0", "the token ' river'"),
        ("mlp.0:1", "the tokens ' copper' and ' violin'"),
        ("mlp.0:3", "the token '.'"),
    ],
)
def test_planted_units_are_explained_and_score_one(planted: Path, unit: str, explanation: str) -> None:
    """The rule simulates 10 on the named tokens and 0 elsewhere; the unit is at its one level on them and at
    GELU(-4), all but 0, elsewhere. The two are proportional up to a constant: the correlation is 1."""
    with api.open_run(planted) as run:
        rows = run.sql(f"SELECT * FROM explained WHERE unit = '{unit}' AND selection = 'top_and_random'").to_pylist()
    assert [row["explanation"] for row in rows] == [explanation]
    assert rows[0]["score"] == pytest.approx(1.0, abs=1e-5)


def test_shuffled_explanations_of_planted_units_are_worth_nothing(planted: Path) -> None:
    """Each names tokens on which this unit is silent: it cannot correlate with the unit above chance."""
    with api.open_run(planted) as run:
        rows = run.sql(
            "SELECT value FROM scores WHERE source = 'shuffled' AND metric = 'correlation' "
            "AND selection = 'top_and_random' AND explanation_key IS NOT NULL"
        ).to_pylist()
    assert len(rows) == 3
    assert all(row["value"] is None or row["value"] < 0.1 for row in rows)


def test_linear_control_is_exact_where_nothing_but_the_token_matters(planted: Path) -> None:
    """Without attention the pre-activation is linear in the normalised embedding. Of the token that is on it says 4
    and of all others -4, so it is a straight line through the true activations: correlation 1."""
    with api.open_run(planted) as run:
        rows = run.sql(
            "SELECT unit, value FROM scores JOIN units USING (unit_id) WHERE source = 'linear' "
            "AND metric = 'correlation' AND selection = 'top_and_random' AND status = 'ok' ORDER BY unit"
        ).to_pylist()
    assert [row["unit"] for row in rows] == ["mlp.0:0", "mlp.0:1", "mlp.0:3"]
    assert [row["value"] for row in rows] == pytest.approx([1.0, 1.0, 1.0], abs=1e-4)


def test_silent_unit_is_recorded_and_counted_not_dropped(planted: Path) -> None:
    with api.open_run(planted) as run:
        (unit,) = run.sql("SELECT * FROM units WHERE unit = 'mlp.0:2'").to_pylist()
        scores = run.sql("SELECT s.* FROM scores s JOIN units USING (unit_id) WHERE unit = 'mlp.0:2'").to_pylist()
        explained = run.sql("SELECT count(*) AS n FROM explanations WHERE unit_id = 2").to_pylist()
    assert (unit["status"], unit["n_active_excerpts"]) == ("too_few_active", 0)
    assert explained == [{"n": 0}]
    # 5 sources, 2 selections, 3 metrics
    assert len(scores) == 30
    assert {score["value"] for score in scores} == {None}
    assert {score["reason"] for score in scores} == {"active in 0 excerpts, fewer than 20"}


def test_a_units_statistics_are_those_of_its_token(planted: Path) -> None:
    """mlp.0:0 is at GELU(4) = 3.99993 on " river" and at GELU(-4) = -0.00007 elsewhere, so its share of active tokens
    is the share of " river" among all tokens, and its mean is that share times 3.99993, less 0.00007 of the rest."""
    with api.open_run(planted) as run:
        (unit,) = run.sql("SELECT * FROM units WHERE unit = 'mlp.0:0'").to_pylist()
        (tokens,) = run.sql(
            "SELECT count(*) AS n, count(*) FILTER (token = ' river') AS rivers "
            "FROM (SELECT unnest(tokens) AS token FROM excerpts)"
        ).to_pylist()
    share = tokens["rivers"] / tokens["n"]
    assert unit["n_tokens"] == tokens["n"] == EXCERPTS * 64
    assert unit["active_token_fraction"] == pytest.approx(share, abs=1e-12)
    assert unit["mean"] == pytest.approx(share * 3.99993 - (1 - share) * 0.00007, abs=1e-4)
    assert unit["highest"] == pytest.approx(3.99993, abs=1e-3)
