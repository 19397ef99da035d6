"""Two explainers that are known to differ, and two that are known not to, through the whole pipeline.

The neurons are made up and active on one word each. One explainer lists the words that were active; the worse one lists
a word that is on no text for every third neuron; the twin says the same as the first in another order of asking.
"""

from dataclasses import replace

import pytest

from localexplain.evaluate.cells import read_planned
from localexplain.evaluate.compare import make_pairs
from localexplain.evaluate.published import import_config
from localexplain.explain.lookup import LookupExplainer, name_tokens
from localexplain.pipeline.explain import explain
from localexplain.pipeline.imported import import_neurons
from localexplain.pipeline.models import ExplainerPlan, plan_simulator
from localexplain.pipeline.run import Run
from localexplain.pipeline.score import score
from localexplain.pipeline.simulate import simulate
from localexplain.store.store import open_for_writing
from localexplain.types import Identity
from tests.published_fixtures import make_neuron

N = 45


class ScriptedExplainer:
    """Lookup's explanations, but for every `wrong`-th neuron one that is about nothing there; 0 is none."""

    def __init__(self, name, wrong):
        self.identity = Identity(kind="scripted", name=name)
        self.wrong = wrong
        self.lookup = LookupExplainer()

    def explain(self, tasks):
        replies = self.lookup.explain(tasks)
        if not self.wrong:
            return replies
        astray = name_tokens([" the"])
        return [
            replace(reply, text=astray) if task.unit.index % self.wrong == 0 else reply
            for task, reply in zip(tasks, replies, strict=True)
        ]

    def close(self):
        pass


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """(a, b) -> the pair."""
    folder = tmp_path_factory.mktemp("run")
    config = import_config("gpt2-xl", 0)
    config = replace(
        config,
        simulate=replace(
            config.simulate, simulator="rule", controls=(), prompt=replace(config.simulate.prompt, mode="rule")
        ),
    )
    simulator = plan_simulator(config.simulate)
    cells = []
    with open_for_writing(folder) as store:
        run = Run(folder=folder, store=store)
        import_neurons(run, "gpt2-xl", import_config("gpt2-xl", 0), [make_neuron(3, i, seed=2) for i in range(N)])
        for name, wrong in (("good", 0), ("worse", 3), ("twin", 0)):
            explainer = ScriptedExplainer(name, wrong)
            plan = ExplainerPlan(identity=explainer.identity, samples=1, load=lambda made=explainer: made)
            explain(run, plan, config)
            simulate(run, plan, simulator, config)
            score(run, plan, simulator, config)
            cells.append(read_planned(run, config, plan, simulator, name, "rule"))
    return {(pair.a, pair.b): pair for pair in make_pairs(cells, "top_and_random", 0)}


def test_a_planted_difference_between_explainers_is_found(pairs):
    pair = pairs["good by rule", "worse by rule"]
    assert pair.difference.n + pair.difference.unscored == N
    assert pair.difference.low > 0
    assert pair.p_holm < 0.01
    # a third of the neurons lose about all of a score of 0.9: the mean difference is about 0.3
    assert 0.2 < pair.difference.mean < 0.4


def test_where_nothing_was_planted_nothing_is_found(pairs):
    pair = pairs["good by rule", "twin by rule"]
    assert pair.difference.mean == 0
    assert pair.p_holm == 1.0
