"""Expected numbers are those of small_store.py."""

import pytest

from localexplain.errors import RunError, UserError
from localexplain.report.unit import UnitRecord, choose_records, judge, read_unit, refuse_unit
from localexplain.store.store import Store
from tests.report.small_store import CONSTANT, TOO_FEW

CAPTURED = [
    {"basis": "mlp", "layer": 0, "n": 2, "first_index": 0, "last_index": 1},
    {"basis": "mlp", "layer": 1, "n": 3, "first_index": 0, "last_index": 5},
]


def test_statistics_explanations_and_failures(store: Store) -> None:
    report = read_unit(store, "mlp.0:1")
    assert (report.unit, report.layer, report.status) == ("mlp.0:1", 0, "ok")
    assert (report.mean, report.standard_deviation, report.lowest, report.highest) == (0.5, 1.5, -2.0, 4.0)
    assert (report.n_tokens, report.active_token_fraction, report.n_active_excerpts) == (20, 0.35, 3)
    assert [(item.number, item.explainer.name, item.sample, item.text) for item in report.explanations] == [
        (1, "namer", 0, "days of the week"),
        (2, "namer", 1, "names of <b>days</b> [bold]"),
        (3, "writer", 0, "a week's days"),
    ]
    assert report.failures == ()
    failed = read_unit(store, "mlp.1:3")
    assert [(failure.stage, failure.excerpt_id, failure.reason) for failure in failed.failures] == [
        ("explain", None, "no [b] answer")
    ]
    assert (failed.status, failed.explanations, failed.records) == ("too_few_active", (), ())


def test_records_with_their_simulations(store: Store) -> None:
    records = read_unit(store, "mlp.0:0").records
    assert [(record.kind, record.rank, record.stratum, record.split) for record in records] == [
        ("top", 0, None, "train"),
        ("top", 1, None, "valid"),
        ("stratum", 0, 2, None),
        ("random", 0, None, "valid"),
    ]
    assert records[0].tokens == ("It", " rain", "\n", "<script>", "  ")
    assert records[0].activations == pytest.approx((-1.0, 4.0, 0.0, 2.0, 0.39))
    assert (records[0].document_id, records[1].offset_tokens) == ("a <b> file.txt", 5)
    assert [[(item.explanation_key, item.mode) for item in record.simulated] for record in records] == [
        [],
        [("n0", "rule"), ("w0", "expected")],
        [],
        [("n0", "rule")],
    ]
    assert records[1].simulated[1].expected == pytest.approx((5.5, 0.9, 1.0, 0.0, 9.9))


def test_each_explanation_stands_beside_its_own_controls(store: Store) -> None:
    by_text = {
        (judgement.explanation.text, judgement.simulator.name): judgement
        for judgement in judge(read_unit(store, "mlp.0:0"))
        if judgement.explanation
    }
    assert list(by_text) == [("the token ' rain'", "rule"), ("weather & storms", "model")]

    def correlations(judgement_key: tuple[str, str]) -> dict[str, float | str | None]:
        judgement = by_text[judgement_key]
        return {
            score.source: score.value if score.reason is None else score.reason
            for score in (*judgement.scores, *judgement.controls)
            if (score.metric, score.selection) == ("correlation", "top_and_random")
        }

    assert correlations(("the token ' rain'", "rule")) == {
        "explanation": 0.8, "lookup": 0.9, "linear": 0.3, "shuffled": 0.01, "empty": CONSTANT,
    }  # fmt: skip
    # another mode: its own empty control, no shuffled one
    assert correlations(("weather & storms", "model")) == {
        "explanation": -0.1, "lookup": 0.9, "linear": 0.3, "empty": 0.04,
    }  # fmt: skip
    shuffled = [score for score in by_text["the token ' rain'", "rule"].controls if score.source == "shuffled"]
    assert {(score.other_unit, score.other_text) for score in shuffled} == {("mlp.0:1", "days of the week")}
    variances = [
        score.value for score in by_text["the token ' rain'", "rule"].scores if score.metric == "explained_variance"
    ]
    assert variances == [0.25, 0.25]


def test_a_sample_has_the_stand_in_of_its_own_sample(store: Store) -> None:
    first, second, _ = judge(read_unit(store, "mlp.0:1"))
    assert first.explanation is not None
    assert second.explanation is not None
    assert (first.explanation.sample, second.explanation.sample) == (0, 1)
    assert "shuffled" in {score.source for score in first.controls}
    assert "shuffled" not in {score.source for score in second.controls}


def test_a_unit_without_explanation_says_why(store: Store) -> None:
    (judgement,) = judge(read_unit(store, "mlp.1:3"))
    assert (judgement.explanation, judgement.explainer.name) == (None, "namer")
    assert {score.reason for score in (*judgement.scores, *judgement.controls) if score.metric == "correlation"} == {
        TOO_FEW,
        CONSTANT,  # random only
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rain", "'rain' is no unit of this run"),
        ("attn.0:1", "write a basis"),
        ("mlp.2:0", "layers go from 0 to 1"),
        ("mlp.1:8", "layer 1 has units 0 to 7"),
        ("mlp.1:4", "holds 3 units of layer 1, from 0 to 5"),
        ("mlp.0:3", "holds 2 units of layer 0, from 0 to 1"),
    ],
)
def test_unknown_units_name_the_range(store: Store, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_unit(store, text)


def test_a_layer_that_was_not_captured() -> None:
    with pytest.raises(UserError, match="holds layers 0, 1"):
        refuse_unit("mlp.2:0", CAPTURED, [4, 8, 8])
    with pytest.raises(RunError, match="no units yet"):
        refuse_unit("mlp.2:0", [], [])


def test_leading_zeros_name_the_same_unit(store: Store) -> None:
    assert read_unit(store, "mlp.01:005").unit == "mlp.1:5"


def make_record(kind: str, rank: int, split: str | None, is_simulated: bool, store: Store) -> UnitRecord:
    simulated = read_unit(store, "mlp.0:0").records[1].simulated if is_simulated else ()
    return UnitRecord(
        excerpt_id=rank, kind=kind, rank=rank, stratum=None, split=split, document_id="d", offset_tokens=0,
        tokens=(), activations=(), simulated=simulated,
    )  # fmt: skip


def test_the_records_shown_are_the_peak_and_those_that_are_scored(store: Store) -> None:
    splits = ("train", "calibration", "valid", "test")
    top = [make_record("top", rank, splits[rank % 4], rank % 4 in (1, 2), store) for rank in range(12)]
    random = [make_record("random", rank, splits[1 + rank % 3], rank % 3 == 1, store) for rank in range(6)]
    strata = [make_record("stratum", 0, None, False, store)]
    shown = choose_records([*top, *random, *strata], 4, 3)
    # top: the peak, then the valid ranks 2, 6, 10; random: the valid ranks 1, 4, then the first of the rest
    assert [(record.kind, record.rank) for record in shown] == [
        ("top", 0), ("top", 2), ("top", 6), ("top", 10), ("random", 0), ("random", 1), ("random", 4),
    ]  # fmt: skip
