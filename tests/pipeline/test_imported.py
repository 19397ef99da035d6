"""A release in a run's store: what is where, what comes out again, and that doing it twice is doing it once."""

from dataclasses import replace

import numpy as np
import pytest

from localexplain.errors import RunError
from localexplain.evaluate.published import import_config, score_published, verify
from localexplain.pipeline import imported
from localexplain.pipeline.imported import import_neurons, published_explainer
from localexplain.pipeline.reading import read_records
from localexplain.pipeline.run import Run, model_key
from localexplain.published.records import LeftOut
from localexplain.store.store import open_for_writing
from tests.published_fixtures import make_neuron

CONFIG = import_config("gpt2-xl", 0)
PLACES = [(0, 5), (0, 900), (3, 17), (47, 6399)]
TABLES = ("captures", "excerpts", "units", "records", "explanations", "simulations", "published", "left_out")


@pytest.fixture
def run(tmp_path):
    with open_for_writing(tmp_path) as store:
        yield Run(folder=tmp_path, store=store)


def neurons(places=PLACES, **changes):
    return [make_neuron(layer, index, seed=1, **changes) for layer, index in places]


def contents(run):
    """Every row of every table."""
    return {name: run.store.sql(f"SELECT * FROM {name} ORDER BY ALL").to_pylist() for name in TABLES}


def test_scores_of_the_imported_simulations_are_those_of_the_release(run):
    made = [*neurons(), make_neuron(5, 1, seed=1, constant=True)]
    import_neurons(run, "gpt2-xl", CONFIG, made)
    cell = score_published(run, "gpt2-xl", CONFIG)
    stored = {f"mlp.{neuron.layer}:{neuron.index}": neuron.explanation.score for neuron in made}
    found = dict(zip(cell.units, cell.values["explanation"]["top_and_random"], strict=True))
    assert found.keys() == stored.keys()
    assert found["mlp.5:1"] is stored["mlp.5:1"] is None  # a constant simulation
    for unit, score in found.items():
        if score is not None:
            assert score == pytest.approx(stored[unit], abs=1e-6)
    assert cell.layers == (0, 0, 3, 47, 5)


def test_records_are_the_release_s_and_the_valid_ones_are_those_that_were_simulated(run):
    (neuron,) = neurons([(3, 17)])
    import_neurons(run, "gpt2-xl", CONFIG, [neuron])
    records = read_records(run, [0], ["none", "train", "calibration", "valid", "test"])[0]
    released = {excerpt.tokens: excerpt.activations for excerpt in (*neuron.top, *neuron.random)}
    for record in records:
        if record.kind != "stratum":
            np.testing.assert_array_equal(record.activations, released[record.tokens])
    simulated = {simulation.tokens for simulation in neuron.explanation.simulations}
    assert {record.tokens for record in records if record.split == "valid"} == simulated
    # the release explains from every fourth top excerpt; none of what is scored may be shown
    train = [record for record in records if record.split == "train"]
    assert [record.tokens for record in train] == [excerpt.tokens for excerpt in neuron.top[::4]]
    assert sum(record.kind == "stratum" for record in records) == sum(map(len, neuron.strata))
    # equal texts have equal ids, different ones different
    ids = {}
    for record in records:
        for token, number in zip(record.tokens, record.token_ids, strict=True):
            assert ids.setdefault(token, number) == number
    assert len(set(ids.values())) == len(ids)


def test_importing_again_changes_nothing_and_more_neurons_are_added(run):
    import_neurons(run, "gpt2-xl", CONFIG, neurons(PLACES[:2]))
    before = contents(run)
    import_neurons(run, "gpt2-xl", CONFIG, neurons(PLACES[:2]))
    assert contents(run) == before
    import_neurons(run, "gpt2-xl", CONFIG, neurons())
    after = contents(run)
    assert len(after["units"]) == 4
    for name in ("units", "records", "simulations"):
        assert all(row in after[name] for row in before[name])


def test_a_stopped_import_goes_on_where_it_stopped(run, monkeypatch):
    monkeypatch.setattr(imported, "NEURONS_PER_CHUNK", 1)

    class StoppedError(Exception):
        pass

    def stream():
        yield from neurons(PLACES[:2])
        raise StoppedError

    with pytest.raises(StoppedError):
        import_neurons(run, "gpt2-xl", CONFIG, stream())
    kept = [row["unit"] for row in contents(run)["units"]]
    assert kept == ["mlp.0:5", "mlp.0:900"]
    import_neurons(run, "gpt2-xl", CONFIG, neurons())
    whole = contents(run)
    assert [row["unit"] for row in whole["units"]] == ["mlp.0:5", "mlp.0:900", "mlp.3:17", "mlp.47:6399"]
    assert run.store.check() == []


def shortened(excerpt):
    return replace(excerpt, tokens=excerpt.tokens[:-1], activations=excerpt.activations[:-1])


def doubled(excerpt):
    return replace(excerpt, activations=excerpt.activations * 2)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda n: replace(n, top=(shortened(n.top[0]),)),
            "63 tokens",
        ),
        (lambda n: replace(n, top=()), "no top excerpts"),
        (lambda n: replace(n, random=()), "does not hold"),
        (lambda n: replace(n, top=tuple(map(doubled, n.top))), "other true activations"),
        (lambda n: replace(n, strata=n.strata * 2), "quantile samples"),
    ],
)  # fmt: skip
def test_a_neuron_that_does_not_fit_is_left_out_with_its_reason(run, spoil, reason):
    good, bad = neurons(PLACES[:2])
    left_out = import_neurons(run, "gpt2-xl", CONFIG, [spoil(bad), good])
    assert [item.path for item in left_out] == ["0/900"]
    assert reason in left_out[0].reason
    rows = contents(run)
    assert [row["unit"] for row in rows["units"]] == ["mlp.0:5"]
    assert rows["left_out"] == [{"path": "0/900", "reason": left_out[0].reason}]


def test_a_file_that_was_at_fault_is_counted_once(run):
    # the reader tells of the file, then gives the neuron without its explanation
    good, bare = neurons(PLACES[:1])[0], make_neuron(0, 900, seed=1, explained=False)
    told = LeftOut(path="explanations/0/900.jsonl", reason="not JSON")
    assert import_neurons(run, "gpt2-xl", CONFIG, [told, bare, good]) == [told]
    assert len(contents(run)["units"]) == 1


def test_xl_and_small_are_never_in_one_run(run):
    import_neurons(run, "gpt2-xl", CONFIG, neurons(PLACES[:1]))
    with pytest.raises(RunError, match="another release"):
        import_neurons(run, "gpt2-small", import_config("gpt2-small", 0), neurons(PLACES[:1]))


def test_an_excerpt_that_stands_twice_is_stored_once(run):
    (neuron,) = neurons(PLACES[:1])
    doubled = replace(neuron, random=(*neuron.random, neuron.top[1]))
    import_neurons(run, "gpt2-xl", CONFIG, [doubled])
    assert contents(run)["published"][0]["n_dropped"] == 1
    records = contents(run)["records"]
    scored = [(row["unit_id"], row["excerpt_id"]) for row in records if row["kind"] != "stratum"]
    assert len(set(scored)) == len(scored)


def test_moments_are_the_release_s_or_those_of_its_random_excerpts(run):
    told, untold = neurons(PLACES[:2])
    untold = replace(untold, mean=float("nan"), variance=float("nan"))
    import_neurons(run, "gpt2-xl", CONFIG, [told, untold])
    rows = contents(run)["units"]
    assert (rows[0]["mean"], rows[0]["variance"]) == (told.mean, told.variance)
    values = np.concatenate([excerpt.activations for excerpt in untold.random]).astype(np.float64)
    assert rows[1]["mean"] == pytest.approx(values.mean())
    assert rows[1]["variance"] == pytest.approx(values.var())


def test_a_score_that_is_not_that_of_its_simulations_is_found(run):
    first, second = neurons(PLACES[:2])
    wrong = replace(second, explanation=replace(second.explanation, score=second.explanation.score - 0.25))
    import_neurons(run, "gpt2-xl", CONFIG, [first, wrong])
    found = verify(run)
    assert (found.n, found.undefined, found.one_sided, found.differing) == (2, 0, 0, 1)
    assert found.worst == "mlp.0:900"
    assert found.largest == pytest.approx(0.25)


def test_scores_of_one_side_alone_are_counted(run):
    constant = make_neuron(0, 5, seed=1, constant=True)
    missing = neurons(PLACES[1:2])[0]
    missing = replace(missing, explanation=replace(missing.explanation, score=None))
    import_neurons(run, "gpt2-xl", CONFIG, [constant, missing])
    found = verify(run)
    assert (found.n, found.undefined, found.one_sided, found.largest, found.worst) == (0, 1, 1, None, None)


def test_the_published_explainer_is_no_model_that_could_be_loaded(run):
    plan = published_explainer("gpt2-xl")
    with pytest.raises(RunError, match="not at hand"):
        plan.load()
    import_neurons(run, "gpt2-xl", CONFIG, neurons(PLACES[:1]))
    keys = run.store.sql("SELECT model_key FROM models WHERE kind = 'published'").column(0).to_pylist()
    assert model_key(plan.identity) in keys
