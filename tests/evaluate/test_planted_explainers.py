"""Explainers on planted units: what they are shown, what they name, and how that scores."""

from localexplain.engines.scripted import ScriptedEngine
from localexplain.errors import EngineError
from localexplain.evaluate.planted import explain_units, measure_explanations
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer
from localexplain.explain.lookup import LookupExplainer
from localexplain.simulate.rule import RuleSimulator
from localexplain.types import Identity
from tests.evaluate.planted_units import WORDS, noisy_units


def test_lookup_explains_each_unit_from_what_it_is_shown():
    units = noisy_units()
    explanations = explain_units(LookupExplainer(), units, seed=0)
    assert explanations == [f"the token ' {word}'" for word in WORDS]


def test_what_lookup_names_scores_under_the_rule_and_has_lift():
    units = noisy_units()
    result = measure_explanations(RuleSimulator(), units, explain_units(LookupExplainer(), units, seed=0), seed=0)
    assert all(0.9 < score < 1 for score in result.true)
    assert all(score is None or score < 0.1 for score in result.shuffled)
    assert result.explanations == [f"the token ' {word}'" for word in WORDS]


def test_an_explainer_that_fails_leaves_units_without_explanation_and_score():
    units = noisy_units()

    def script(prompt):
        if "\n rain\t" in prompt:
            raise EngineError("out of memory")
        return " the token ' " + next(word for word in WORDS if f"\n {word}\t" in prompt) + "'"

    engine = ScriptedEngine(generate=script, has_chat_template=False)
    explainer = LanguageModelExplainer(engine, ExplainConfig(temperature=0.0, few_shot=0))
    explanations = explain_units(explainer, units, seed=0)
    assert explanations == [None if word == "rain" else f"the token ' {word}'" for word in WORDS]
    result = measure_explanations(RuleSimulator(), units, explanations, seed=0)
    assert [score is None for score in result.true] == [word == "rain" for word in WORDS]
    assert result.shuffled[WORDS.index("rain")] is None
    assert result.lift[WORDS.index("rain")] is None


def test_an_explainer_is_given_the_shown_texts_alone():
    seen = []

    class Listening:
        identity = Identity(kind="made", name="listening")

        def explain(self, tasks):
            seen.extend(tasks)
            return LookupExplainer().explain(tasks)

        def close(self):
            """Nothing is held."""

    units = noisy_units()
    explain_units(Listening(), units, seed=7)
    assert len(seen) == 8
    assert len({task.unit for task in seen}) == 8
    for unit, task in zip(units, seen, strict=True):
        assert [record.tokens for record in task.records] == [planted.tokens for planted in unit.shown]
        assert {record.split for record in task.records} == {"train"}
        assert task.seed == 7
