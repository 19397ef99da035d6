"""Planted units, noisy or exact, and simulators for them: one that knows the truth, one deaf to the explanation."""

import re

import numpy as np

from localexplain.evaluate.units import PlantedUnit, plant_units
from localexplain.planted.bed import BedConcept
from localexplain.planted.concept import Concept, Noise, Pattern, PlantedText, find_levels, plant_text, token_levels
from localexplain.types import Identity, SimulateReply

QUIET = Noise(dimmed=1.0, background=0.0, distractors=0.0)
WORDS = ("cat", "oak", "rain", "tea", "bell", "moon", "rope", "salt")


# units ---------------------------------------------------------------------------------------------------------------


def cut(text):
    return tuple(re.findall(r"\s*\S+", text))


def concept(word, *, explanations=3, kind=""):
    phrases = ("the word {}", "{}, wherever it stands", "only {} and nothing else")
    return Concept(
        kind=kind or word,
        name=word,
        explanations=tuple(phrase.format(word) for phrase in phrases[:explanations]),
        patterns=(Pattern(find=rf"\b{word}\b"),),
    )


def text(words, activations):
    return PlantedText(tokens=tuple(words), activations=np.array(activations, dtype=np.float32))


def noisy_units(words=WORDS, seed=0):
    """A unit for each word, as the bench makes them."""
    bed = [
        BedConcept(
            concept=concept(word),
            texts=tuple(f"story {n} tells of the {word} and of a {word} again" for n in range(11)),
        )
        for word in words
    ]
    return plant_units(bed, cut, seed)


def quiet_units(words=WORDS, **settings):
    """Likewise, the activations exactly the concept's levels."""
    random = np.random.default_rng(0)
    units = []
    for place, word in enumerate(words):
        made = concept(word, **settings)
        own = [plant_text(made, cut(f"text {n} of the {word} here"), random, QUIET) for n in range(6)]
        other = plant_text(made, cut(f"and this is of the {words[place - 1]}"), random, QUIET)
        units.append(PlantedUnit(concept=made, shown=tuple(own[:5]), scored=(own[5], other)))
    return units


def told(activations, explanations=("x",)):
    """A unit by hand: one text for each list of activations, its tokens a0 a1 ..., b0 b1 ..."""
    scored = tuple(
        text([f"{letter}{place}" for place in range(len(values))], values)
        for letter, values in zip("abcdefgh", activations, strict=False)
    )
    made = Concept(kind="told", name="told", explanations=explanations, patterns=())
    return PlantedUnit(concept=made, shown=(), scored=scored)


# simulators ----------------------------------------------------------------------------------------------------------


class Simple:
    """A simulator whose prediction is `predict`; None is a failed simulation. It remembers its tasks, call by call."""

    def __init__(self, predict, masses=None):
        self.predict = predict
        self.masses = masses
        self.calls = []

    @property
    def identity(self):
        return Identity(kind="made", name=type(self).__name__)

    @property
    def mode(self):
        return "expected"

    def simulate(self, tasks):
        self.calls.append(list(tasks))
        return [self.reply(task) for task in tasks]

    def reply(self, task):
        values = self.predict(task.explanation, task.tokens)
        if values is None:
            return SimulateReply(expected=None, error="it was told to fail")
        mass = self.masses(task.explanation, task.tokens) if self.masses else None
        return SimulateReply(expected=np.array(values, dtype=np.float32), label_mass=mass)

    def close(self):
        """Nothing is held."""


def oracle(units):
    """Knows which concept an explanation is of, and what its levels are; of any other explanation, nothing."""
    known = {phrase: unit.concept for unit in units for phrase in unit.concept.explanations}

    def predict(explanation, tokens):
        if explanation not in known:
            return [0.0] * len(tokens)
        return token_levels(find_levels(known[explanation], "".join(tokens)), tokens)

    return Simple(predict)


def deaf():
    """Predicts from the tokens alone, with an irregular number for each."""
    return Simple(lambda explanation, tokens: [(sum(map(ord, token)) * 7919 % 1000) / 100 for token in tokens])
