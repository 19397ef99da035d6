"""Made-up neurons in the released form: folders that hold what the release holds, with texts and numbers of our own.

Each neuron is active on one word. Stored scores are the true correlations of the stored activations, so they verify.
"""

import json
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from localexplain.published.records import (
    PublishedExcerpt,
    PublishedExplanation,
    PublishedNeuron,
    PublishedSimulation,
)

Pair = tuple[int, int]  # layer, index

TOKENS_PER_EXCERPT = 64
TOP, RANDOM, STRATA, PER_STRATUM = 20, 20, 5, 10
VALID_TOP, VALID_RANDOM = slice(2, 20, 4), slice(1, 15, 3)  # the splits that the release scores on, five each
# fmt: off
WORDS = (  # one of them is what a neuron is active on
    " harbour", " kettle", " ladder", " orchard", " violin", " winter", " lantern", " saddle", " button",
    " copper", " thunder", " meadow", " pepper", " castle", " ribbon", " anchor", " marble", " candle", " basket",
    " whistle",
)
FILLERS = (  # nobody's word; some are as odd as byte tokens are
    " the", " a", " of", " and", " to", " in", " was", " it", " her", " his", " on", " with", " by", " at", " for",
    " from", " had", " not", " they", " we", " then", "s", "ing", ",", ".", "\n", "\n\n", "'", " \u201c", "\u2014",
    "\u00e9", "", "\U0001f600", "\ufffd", " \ufffd\ufffd", "\u2028", "\u65e5", "\u0000", "\\", '"',
    "<|endoftext|>",
)
# fmt: on


# the neurons ---------------------------------------------------------------------------------------------------------


def correlate(true: np.ndarray, expected: np.ndarray) -> float | None:
    """Pearson's correlation in float64; None where one of the two is constant."""
    true, expected = true.astype(np.float64), expected.astype(np.float64)
    if np.ptp(true) == 0 or np.ptp(expected) == 0:
        return None
    return float(np.corrcoef(true, expected)[0, 1])


def make_excerpt(rng: np.random.Generator, word: str, strength: float) -> PublishedExcerpt:
    """64 tokens; at strength 0 the word is not among them, and nothing is above 0."""
    tokens = [FILLERS[place] for place in rng.integers(len(FILLERS), size=TOKENS_PER_EXCERPT)]
    activations = -0.17 * rng.random(TOKENS_PER_EXCERPT)  # what GELU makes of a little below 0
    if strength > 0:
        for place in rng.choice(TOKENS_PER_EXCERPT, size=int(rng.integers(1, 5)), replace=False):
            tokens[place] = word
            activations[place] = strength * rng.uniform(0.7, 1.0)
    return PublishedExcerpt(tokens=tuple(tokens), activations=activations.astype(np.float32))


def make_simulation(
    rng: np.random.Generator, word: str, excerpt: PublishedExcerpt, *, constant: bool
) -> PublishedSimulation:
    """Expected activations from 0 to 10: high on the word, faint elsewhere; zeros where the word does not occur."""
    expected = np.zeros(TOKENS_PER_EXCERPT)
    if word in excerpt.tokens and not constant:
        hits = np.array([token == word for token in excerpt.tokens])
        expected = np.where(hits, rng.uniform(5, 10, TOKENS_PER_EXCERPT), rng.uniform(0, 2, TOKENS_PER_EXCERPT))
    expected = expected.astype(np.float32)
    return PublishedSimulation(
        tokens=excerpt.tokens,
        true=excerpt.activations,
        expected=expected,
        score=correlate(excerpt.activations, expected),
    )


def make_neuron(
    layer: int, index: int, *, seed: int, constant: bool = False, strata: bool = True, explained: bool = True
) -> PublishedNeuron:
    """A neuron with everything that the release has of one. `constant`: its simulation is 0 everywhere."""
    rng = np.random.default_rng([seed, layer, index])
    word = WORDS[rng.integers(len(WORDS))]
    top = sorted(
        (make_excerpt(rng, word, rng.uniform(4, 12)) for _ in range(TOP)), key=lambda item: -item.activations.max()
    )
    random = [make_excerpt(rng, word, 3.0 if rng.random() < 0.3 else 0.0) for _ in range(RANDOM)]
    simulations = tuple(
        make_simulation(rng, word, excerpt, constant=constant) for excerpt in (*top[VALID_TOP], *random[VALID_RANDOM])
    )
    return PublishedNeuron(
        layer=layer,
        index=index,
        mean=float(rng.uniform(-0.1, 0)),
        variance=float(rng.uniform(0.01, 1)),
        top=tuple(top),
        random=tuple(random),
        strata=tuple(
            tuple(make_excerpt(rng, word, float(stratum)) for _ in range(PER_STRATUM))
            for stratum in range(STRATA if strata else 0)
        ),
        explanation=PublishedExplanation(
            text=f"the word{word!r}, wherever it is named",
            simulations=simulations,
            score=correlate(
                np.concatenate([item.true for item in simulations]),
                np.concatenate([item.expected for item in simulations]),
            ),
        )
        if explained
        else None,
    )


# their files ---------------------------------------------------------------------------------------------------------


def number_or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def excerpt_data(excerpt: PublishedExcerpt) -> dict[str, Any]:
    return {
        "dataclass_name": "ActivationRecord",
        "tokens": list(excerpt.tokens),
        "activations": excerpt.activations.tolist(),
    }


def neuron_id_data(neuron: PublishedNeuron, *, old_names: bool) -> dict[str, Any]:
    names = ("layer", "idx") if old_names else ("layer_index", "neuron_index")
    return {"dataclass_name": "NeuronId", names[0]: neuron.layer, names[1]: neuron.index}


def neuron_data(neuron: PublishedNeuron, *, old_names: bool = False) -> dict[str, Any]:
    """What the neuron's file holds, as JSON would decode it."""
    strata = [[excerpt_data(excerpt) for excerpt in stratum] for stratum in neuron.strata]
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": neuron_id_data(neuron, old_names=old_names),
        "random_sample": [excerpt_data(excerpt) for excerpt in neuron.random],
        "random_sample_by_quantile": strata or None,
        "quantile_boundaries": [0.5, 0.9, 0.99, 0.999] if strata else None,
        "mean": neuron.mean,
        "variance": neuron.variance,
        "skewness": 2.5,
        "kurtosis": math.nan,
        "most_positive_activation_records": [excerpt_data(excerpt) for excerpt in neuron.top],
    }


def simulation_data(simulation: PublishedSimulation, *, old_names: bool) -> dict[str, Any]:
    expected = simulation.expected.tolist()
    sequence = {
        "dataclass_name": "SequenceSimulation",
        "tokens": list(simulation.tokens),
        "expected_activations": expected,
        "unit" if old_names else "activation_scale": "simulated_normalized_activations",
        "distribution_values": [[0, 10] for _ in expected],
        "distribution_probabilities": [[1 - value / 10, value / 10] for value in expected],
        "uncalibrated_simulation": None,
    }
    return {
        "dataclass_name": "ScoredSequenceSimulation",
        "sequence_simulation" if old_names else "simulation": sequence,
        "true_activations": simulation.true.tolist(),
        "ev_correlation_score": number_or_nan(simulation.score),
        "rsquared_score": None,
        "absolute_dev_explained_score": None,
    }


def explanation_data(neuron: PublishedNeuron, *, old_names: bool = False) -> dict[str, Any]:
    """What the file of the neuron's explanation holds, as JSON would decode it; a second explanation is not for use."""
    explanation = neuron.explanation
    assert explanation is not None
    text = "explanation_or_baseline" if old_names else "explanation"
    simulations = [simulation_data(item, old_names=old_names) for item in explanation.simulations]
    scored = {
        "dataclass_name": "ScoredExplanationOrBaseline" if old_names else "ScoredExplanation",
        text: " " + explanation.text,
        "scored_simulation": {
            "dataclass_name": "ScoredSimulation",
            "scored_sequence_simulations": simulations,
            "ev_correlation_score": number_or_nan(explanation.score),
            "rsquared_score": None,
            "absolute_dev_explained_score": None,
        },
    }
    second = scored | {text: " something else", "scored_simulation": {}}
    listed = "scored_explanation_or_baseline_list" if old_names else "scored_explanations"
    return {
        "dataclass_name": "NeuronSimulationResults",
        "neuron_id": neuron_id_data(neuron, old_names=old_names),
        listed: [scored, second],
    }


def drop_class_names(data: Any) -> Any:
    """The same without any `dataclass_name`, as some tools write the files."""
    if isinstance(data, dict):
        return {name: drop_class_names(value) for name, value in data.items() if name != "dataclass_name"}
    return [drop_class_names(value) for value in data] if isinstance(data, list) else data


def neuron_path(folder: Path, layer: int, index: int) -> Path:
    return folder / "collated-activations" / str(layer) / f"{index}.json"


def explanation_path(folder: Path, layer: int, index: int) -> Path:
    return folder / "explanations" / str(layer) / f"{index}.jsonl"


def write_json(path: Path, data: Any, *, ascii_only: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json.dumps(data, ensure_ascii=ascii_only).encode())


def write_release(
    folder: Path,
    neurons: Iterable[Pair],
    *,
    old_names: bool = False,
    seed: int = 0,
    constant: Collection[Pair] = (),
    without_strata: Collection[Pair] = (),
    without_explanation: Collection[Pair] = (),
    class_names: bool = True,
    ascii_only: bool = True,
) -> list[PublishedNeuron]:
    """Writes the files of `neurons`, each (layer, index); comes back with what they say, in the same order.

    constant             those whose simulation is 0 everywhere, so that their stored scores are NaN
    without_strata       those whose quantile samples are null
    without_explanation  those without an explanation file
    """
    made = []
    for layer, index in neurons:
        pair = (layer, index)
        neuron = make_neuron(
            layer,
            index,
            seed=seed,
            constant=pair in constant,
            strata=pair not in without_strata,
            explained=pair not in without_explanation,
        )
        files = {neuron_path(folder, layer, index): neuron_data(neuron, old_names=old_names)}
        if neuron.explanation is not None:
            files[explanation_path(folder, layer, index)] = explanation_data(neuron, old_names=old_names)
        for path, data in files.items():
            write_json(path, data if class_names else drop_class_names(data), ascii_only=ascii_only)
        made.append(neuron)
    return made


# comparing -----------------------------------------------------------------------------------------------------------


def plain(neuron: PublishedNeuron | PublishedExplanation | Any) -> Any:
    """A record as nested lists and dicts, NaN as a word: two records say the same where these are equal."""
    if hasattr(neuron, "__dataclass_fields__"):
        return {name: plain(getattr(neuron, name)) for name in neuron.__dataclass_fields__}
    if isinstance(neuron, np.ndarray):
        return [str(neuron.dtype), *neuron.tolist()]
    if isinstance(neuron, tuple):
        return [plain(item) for item in neuron]
    return "nan" if isinstance(neuron, float) and math.isnan(neuron) else neuron
