"""Judges on planted units: one that knows the truth, its opposite, one that always agrees, one that fails."""

import math
import re

import pytest

from localexplain.engines.scripted import ScriptedEngine, ScriptedTokenizer
from localexplain.errors import EngineError
from localexplain.evaluate.planted import measure_judge
from localexplain.judge.judge import Judge, JudgeConfig
from tests.evaluate.planted_units import WORDS, noisy_units, told


class YesNoTokenizer(ScriptedTokenizer):
    """The scripted tokenizer with " no" and " yes" as one token each, which a judge needs."""

    ANSWERS = ((" no", "\ue000"), (" yes", "\ue001"))

    def encode_starts(self, text):
        for answer, mark in self.ANSWERS:
            text = re.sub(rf"{answer}\b", mark, text)
        return super().encode_starts(text)

    def decode(self, token_ids):
        text = super().decode(token_ids)
        for answer, mark in self.ANSWERS:
            text = text.replace(mark, answer)
        return text


class YesNoEngine(ScriptedEngine):
    """`believes`: (explanation, excerpt) -> p(yes), or None for a request that fails."""

    def __init__(self, believes):
        super().__init__(label_logprobs=self.script, has_chat_template=False)
        self._tokenizer = YesNoTokenizer(has_chat_template=False)
        self.believes = believes

    def script(self, prefix, before, cell):
        explanation = prefix.rstrip("\n").split("responds to: ")[-1]
        excerpt = before.removeprefix("Excerpt: ").removesuffix("\nDoes the excerpt fit?")
        yes = self.believes(explanation, excerpt)
        if yes is None:
            raise EngineError("it was told to fail")
        return [math.log(1 - yes), math.log(yes)]


def judged(believes, units):
    return measure_judge(Judge(YesNoEngine(believes), JudgeConfig()), units)


def knows(explanation, excerpt):
    return 0.75 if any(word in explanation and f" {word}" in excerpt for word in WORDS) else 0.25


def test_a_judge_that_knows_is_right_and_its_opposite_is_wrong():
    units = noisy_units()
    assert judged(knows, units) == [1.0] * 8
    assert judged(lambda explanation, excerpt: 1 - knows(explanation, excerpt), units) == [0.0] * 8


def test_one_that_always_says_yes_is_right_on_the_share_that_fits():
    # six own texts and six silent ones
    assert judged(lambda explanation, excerpt: 0.9, noisy_units()) == [0.5] * 8


def test_accuracy_by_hand():
    # Activations 9 and 5 fit, 4.9 and 0 do not. It says yes to a and c: right, wrong, wrong, right for "x"; for "y" it
    # says yes to all: right, right, wrong, wrong. 4 of 8.
    unit = told([[0, 9], [5, 1], [4.9, 0], [0, 0]], ("x", "y"))
    assert judged(lambda e, excerpt: 0.9 if e == "y" or excerpt[0] in "ac" else 0.1, [unit]) == [0.5]
    # yes to the two that fit and to no other is right everywhere
    unit = told([[0, 9], [5, 1], [4.9, 0], [0, 0]])
    assert judged(lambda e, excerpt: 0.9 if excerpt[0] in "ab" else 0.1, [unit]) == [1.0]


def test_an_answer_that_failed_is_left_out_and_no_answer_is_no_zero():
    # It fails on a and is right on b, wrong on c and d: 1 of 3
    units = [told([[0, 9], [0, 9], [0, 9], [0, 0]]), told([[0, 9]], ("mute",))]
    fails = {"a": None, "b": 0.9, "c": 0.1, "d": 0.9}
    found = judged(lambda e, excerpt: None if e == "mute" else fails[excerpt[0]], units)
    assert found == [pytest.approx(1 / 3), None]
