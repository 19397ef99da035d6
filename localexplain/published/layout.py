"""The released files' layout: from a file's decoded JSON to our records. Pure.

    neuron file ───────parse_neuron───────> PublishedNeuron
    explanation file ──parse_explanation──> PublishedExplanation, a part of it

Older files name some fields otherwise; each reading function lists the name in use first. What no record needs
(skewness, the simulator's distributions, uncalibrated simulations, `dataclass_name`) is never looked at.

Source: the dataclasses released with Bills et al. 2023 and, for the older names, those of the transformer debugger.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from localexplain.published.records import (
    LAYERS,
    NEURONS,
    PublishedExcerpt,
    PublishedExplanation,
    PublishedNeuron,
    PublishedSimulation,
    Release,
)

LARGEST = 1e30  # an activation beyond it is no number of a model; NaN is beyond it too
SHOWN_CHARACTERS = 40  # of a wrong value, in a message
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class LayoutError(ValueError):
    """A file is not of the released layout. `str(error)` is one line: where in the object, and what is wrong there."""


# values, and where they are ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A decoded JSON value and its path inside the file, e.g. "random_sample[3].tokens"; "" for the whole file."""

    value: object
    path: str = ""


def describe(value: object) -> str:
    """A JSON value in a few words. Lists and objects are only named: they may be large, and nested deeply."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        return repr(value[:SHOWN_CHARACTERS])
    return "null" if value is None else repr(value)[:SHOWN_CHARACTERS]


def find_child(node: Node, *names: str) -> Node | None:
    """The field of an object under the first of `names` that it has; None where it has none of them, or null."""
    if not isinstance(node.value, dict):
        raise LayoutError(f"{node.path or 'the file'}: {describe(node.value)}, not an object")
    for name in names:
        if node.value.get(name) is not None:
            return Node(value=node.value[name], path=f"{node.path}.{name}" if node.path else name)
    return None


def child(node: Node, *names: str) -> Node:
    """Like `find_child`, for a field that must be there."""
    found = find_child(node, *names)
    if found is None:
        raise LayoutError(f"{node.path or 'the file'}: no {' or '.join(names)}")
    return found


def items(node: Node) -> list[Node]:
    """The elements of a list, each with its own path."""
    if not isinstance(node.value, list):
        raise LayoutError(f"{node.path}: {describe(node.value)}, not a list")
    return [Node(value=value, path=f"{node.path}[{place}]") for place, value in enumerate(node.value)]


# plain values --------------------------------------------------------------------------------------------------------


def parse_whole(node: Node) -> int:
    """A whole number. Older files wrote the layer as a string."""
    value = node.value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < SHOWN_CHARACTERS:
        return int(value)
    if type(value) is not int:  # exactly: true and false are ints to Python
        raise LayoutError(f"{node.path}: {describe(value)}, not a whole number")
    return value


def parse_number(node: Node | None) -> float | None:
    """A number; None where it is missing, null, NaN or infinite."""
    if node is None:
        return None
    if type(node.value) is not float and type(node.value) is not int:
        raise LayoutError(f"{node.path}: {describe(node.value)}, not a number")
    try:
        value = float(node.value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def mend(text: str) -> str:
    """`text` with each half of a surrogate pair replaced: JSON can write one, UTF-8 and so any store cannot."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def parse_text(node: Node) -> str:
    """A text without the white space at its ends, never empty."""
    if not isinstance(node.value, str):
        raise LayoutError(f"{node.path}: {describe(node.value)}, not a text")
    text = mend(node.value).strip()
    if not text:
        raise LayoutError(f"{node.path}: empty")
    return text


def parse_tokens(node: Node) -> tuple[str, ...]:
    """The tokens of an excerpt, at least one; a token may be empty."""
    if not isinstance(node.value, list) or not node.value:
        raise LayoutError(f"{node.path}: {describe(node.value)}, not a list of tokens")
    try:
        "".join(node.value).encode()  # one pass in C that finds both faults
    except TypeError:
        place, wrong = next((place, value) for place, value in enumerate(node.value) if not isinstance(value, str))
        raise LayoutError(f"{node.path}[{place}]: {describe(wrong)}, not a token") from None
    except UnicodeEncodeError:
        return tuple(mend(token) for token in node.value)
    return tuple(node.value)


def parse_activations(node: Node, n_tokens: int) -> Float32[np.ndarray, " T"]:
    """One finite number for each of `n_tokens` tokens; negative ones are as good as others."""
    values = node.value
    if not isinstance(values, list):
        raise LayoutError(f"{node.path}: {describe(values)}, not a list of numbers")
    if not set(map(type, values)) <= {float, int}:
        place, wrong = next((place, value) for place, value in enumerate(values) if type(value) not in (float, int))
        raise LayoutError(f"{node.path}[{place}]: {describe(wrong)}, not a number")
    if len(values) != n_tokens:
        raise LayoutError(f"{node.path}: {len(values)} numbers for {n_tokens} tokens")
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        raise LayoutError(f"{node.path}: a number too large for an activation") from None
    wrong_places = np.flatnonzero(~(np.abs(numbers) <= LARGEST))
    if wrong_places.size:
        raise LayoutError(f"{node.path}[{wrong_places[0]}]: {numbers[wrong_places[0]]} is no activation")
    return numbers.astype(np.float32)


# which neuron --------------------------------------------------------------------------------------------------------


def check_in_release(release: Release, *, layer: int, index: int) -> None:
    """Raises LayoutError for a neuron that the release's subject does not have."""
    if layer >= LAYERS[release]:
        raise LayoutError(f"layer {layer} is beyond {release}, whose layers are 0 to {LAYERS[release] - 1}")
    if index >= NEURONS[release]:
        raise LayoutError(f"neuron {index} is beyond {release}, whose neurons are 0 to {NEURONS[release] - 1}")


def check_neuron_id(file: Node, *, layer: int, index: int) -> None:
    """Raises LayoutError where the file is about another neuron than its place in the folder says."""
    neuron_id = child(file, "neuron_id")
    found_layer = parse_whole(child(neuron_id, "layer_index", "layer"))
    found_index = parse_whole(child(neuron_id, "neuron_index", "idx"))
    if (found_layer, found_index) != (layer, index):
        raise LayoutError(
            f"neuron_id: layer {found_layer}, neuron {found_index}, in the file of layer {layer}, neuron {index}"
        )


# the explanation file ------------------------------------------------------------------------------------------------


def parse_simulation(node: Node) -> PublishedSimulation:
    simulation = child(node, "simulation", "sequence_simulation")
    tokens = parse_tokens(child(simulation, "tokens"))
    return PublishedSimulation(
        tokens=tokens,
        true=parse_activations(child(node, "true_activations"), len(tokens)),
        expected=parse_activations(child(simulation, "expected_activations"), len(tokens)),
        score=parse_number(find_child(node, "ev_correlation_score")),
    )


def check_one_scale(simulations: list[Node]) -> None:
    """Raises LayoutError where the expected activations are on two scales: one correlation over all would mean nothing.
    A file that names no scale is taken at its word."""
    found: dict[object, str] = {}
    for node in simulations:
        scale = find_child(child(node, "simulation", "sequence_simulation"), "activation_scale", "unit")
        if scale is not None:
            found.setdefault(describe(scale.value), scale.path)
    if len(found) > 1:
        *_, second = found
        raise LayoutError(f"{found[second]}: {second}, where others are {next(iter(found))}")


def parse_explanation(data: object, *, layer: int, index: int) -> PublishedExplanation:
    """The first scored explanation of an explanation file: that is the one the published scores are of.

    layer, index  the neuron that the file's place in the folder names

    Raises LayoutError for anything that is not of the layout, an empty text, and a list without an element.
    """
    file = Node(value=data)
    check_neuron_id(file, layer=layer, index=index)
    listed = child(file, "scored_explanations", "scored_explanation_or_baseline_list")
    scored = items(listed)
    if not scored:
        raise LayoutError(f"{listed.path}: no scored explanation")
    result = child(scored[0], "scored_simulation")
    sequences = child(result, "scored_sequence_simulations")
    simulations = items(sequences)
    if not simulations:
        raise LayoutError(f"{sequences.path}: no simulation")
    check_one_scale(simulations)
    return PublishedExplanation(
        text=parse_text(child(scored[0], "explanation", "explanation_or_baseline")),
        simulations=tuple(parse_simulation(node) for node in simulations),
        score=parse_number(find_child(result, "ev_correlation_score")),
    )


# the neuron file -----------------------------------------------------------------------------------------------------


def parse_excerpt(node: Node) -> PublishedExcerpt:
    tokens = parse_tokens(child(node, "tokens"))
    return PublishedExcerpt(tokens=tokens, activations=parse_activations(child(node, "activations"), len(tokens)))


def parse_excerpts(node: Node) -> tuple[PublishedExcerpt, ...]:
    return tuple(parse_excerpt(item) for item in items(node))


def parse_moment(node: Node | None) -> float:
    """A moment of the activations; NaN where the file has none, as the released code has it."""
    value = parse_number(node)
    return math.nan if value is None else value


def parse_neuron(
    data: object, explanation: PublishedExplanation | None, *, release: Release, layer: int, index: int
) -> PublishedNeuron:
    """The neuron of a neuron file, `explanation` put into it.

    layer, index  the neuron that the file's place in the folder names

    Excerpts keep the file's order, by which the splits are dealt. A random sample and a stratum may be empty, the top
    excerpts may not. As many strata as the file has: five, or () where it has null. A mean or variance that the file
    does not have, or that is not finite, is NaN.

    Raises LayoutError for anything that is not of the layout, and for a neuron that the release does not have.
    """
    check_in_release(release, layer=layer, index=index)
    file = Node(value=data)
    check_neuron_id(file, layer=layer, index=index)
    top = child(file, "most_positive_activation_records")
    strata = find_child(file, "random_sample_by_quantile")
    neuron = PublishedNeuron(
        layer=layer,
        index=index,
        mean=parse_moment(find_child(file, "mean")),
        variance=parse_moment(find_child(file, "variance")),
        top=parse_excerpts(top),
        random=parse_excerpts(child(file, "random_sample")),
        strata=() if strata is None else tuple(parse_excerpts(stratum) for stratum in items(strata)),
        explanation=explanation,
    )
    if not neuron.top:
        raise LayoutError(f"{top.path}: no excerpt")
    return neuron
