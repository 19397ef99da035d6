"""Reads a folder of the released neurons: one record for each neuron, and one for each file that cannot be used.

    FOLDER/collated-activations/LAYER/NEURON.json ──┐
    FOLDER/explanations/LAYER/NEURON.jsonl ─────────┴──read_neurons──> PublishedNeuron | LeftOut, by layer and neuron

The released folder's other parts (related tokens, related neurons) are not looked at.
"""

import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localexplain.errors import UserError
from localexplain.published.layout import LayoutError, check_in_release, parse_explanation, parse_neuron
from localexplain.published.records import LAYERS, NEURONS, LeftOut, PublishedExplanation, PublishedNeuron, Release

ACTIVATIONS = "collated-activations"
EXPLANATIONS = "explanations"
SUFFIX = {ACTIVATIONS: ".json", EXPLANATIONS: ".jsonl"}
NUMBER = "(0|[1-9][0-9]*)"  # as the release writes it: "7", never "007"

ReleaseChoice = Literal["gpt2-xl", "gpt2-small", "auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronFiles:
    """The two files of a neuron; None is a file that is not there."""

    layer: int
    index: int
    activations: Path | None
    explanation: Path | None


# which files there are -----------------------------------------------------------------------------------------------


def list_names(folder: Path) -> list[str]:
    """Raises UserError for a folder that cannot be listed."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); make it readable") from error


def find_files(folder: Path, part: str) -> dict[tuple[int, int], Path]:
    """The files of one part of the release, by (layer, neuron index), whatever is in them; names of another form are
    no part of it."""
    found: dict[tuple[int, int], Path] = {}
    root = folder / part
    for layer in list_names(root) if os.path.isdir(root) else []:  # Path.is_dir raises where it may not look
        if not re.fullmatch(NUMBER, layer) or not os.path.isdir(root / layer):
            continue
        for name in list_names(root / layer):
            match = re.fullmatch(NUMBER + re.escape(SUFFIX[part]), name)
            if match:
                found[int(layer), int(match[1])] = root / layer / name
    return found


def list_neurons(folder: Path) -> list[NeuronFiles]:
    """Every neuron that the folder has a file of, by layer and index.

    Raises UserError for a folder that holds none, and for one that cannot be listed.
    """
    activations, explanations = find_files(folder, ACTIVATIONS), find_files(folder, EXPLANATIONS)
    if not activations and not explanations:
        raise UserError(
            f"{folder}: no {ACTIVATIONS}/LAYER/NEURON{SUFFIX[ACTIVATIONS]} in it; "
            f"give the folder that holds {ACTIVATIONS}/ and {EXPLANATIONS}/"
        )
    return [
        NeuronFiles(layer=key[0], index=key[1], activations=activations.get(key), explanation=explanations.get(key))
        for key in sorted(activations.keys() | explanations.keys())
    ]


def detect_release(folder: Path, release: ReleaseChoice = "auto") -> Release:
    """The release that `release` names; for "auto", the one that the neurons' places show.

    Only GPT-2 XL has a layer beyond 11 or a neuron beyond 3071; a part of it without one looks like GPT-2 small.

    Raises UserError where they show nothing.
    """
    if release != "auto":
        return release
    if any(
        files.layer >= LAYERS["gpt2-small"] or files.index >= NEURONS["gpt2-small"] for files in list_neurons(folder)
    ):
        return "gpt2-xl"
    raise UserError(
        f"{folder}: its neurons may be of gpt2-xl or of gpt2-small (no layer is beyond {LAYERS['gpt2-small'] - 1}, "
        f"no neuron beyond {NEURONS['gpt2-small'] - 1}); say which release it is"
    )


# one file ------------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Raises LayoutError for what is no text file, OSError for what cannot be read."""
    if not path.is_file():  # a folder, or a pipe that would never end
        raise LayoutError("not a file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LayoutError(f"not UTF-8 text (at byte {error.start}); copy it again") from None
    if not text.strip():
        raise LayoutError("empty; copy it again")
    return text


def find_first_line(text: str) -> str:
    """The first line that is not blank. Lines end at a line feed only: a token may hold other line separators."""
    return next(line for line in text.split("\n") if line.strip())


def decode_json(text: str) -> object:
    """NaN and infinities are numbers, as the released files write them. Raises LayoutError for what is not JSON."""
    try:
        data: object = json.loads(text)
    except RecursionError:
        raise LayoutError("not JSON of this layout: nested too deeply") from None
    except ValueError as error:  # also a whole number of thousands of digits
        raise LayoutError(f"not JSON ({error}); if it is cut short, copy it again") from None
    return data


def read_explanation(path: Path, *, layer: int, index: int) -> PublishedExplanation:
    return parse_explanation(decode_json(find_first_line(read_text(path))), layer=layer, index=index)


def read_activations(
    path: Path, explanation: PublishedExplanation | None, *, release: Release, layer: int, index: int
) -> PublishedNeuron:
    return parse_neuron(decode_json(read_text(path)), explanation, release=release, layer=layer, index=index)


# all of them ---------------------------------------------------------------------------------------------------------


def leave_out(part: str, files: NeuronFiles, error: OSError | LayoutError | str) -> LeftOut:
    """The record of a file that cannot be used; its path is within the folder."""
    reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
    return LeftOut(path=f"{part}/{files.layer}/{files.index}{SUFFIX[part]}", reason=reason)


def read_neuron(files: NeuronFiles, release: Release) -> Iterator[PublishedNeuron | LeftOut]:
    """What cannot be used of the neuron's files, then the neuron, if its activations can be."""
    place = {"layer": files.layer, "index": files.index}
    explanation: PublishedExplanation | None = None
    try:
        check_in_release(release, **place)
    except LayoutError as error:
        yield leave_out(ACTIVATIONS if files.activations else EXPLANATIONS, files, error)
        return
    if files.activations is None:
        there = "only its explanation is" if files.explanation else "nor is its explanation"
        yield leave_out(ACTIVATIONS, files, f"not there; {there}")
        return
    if files.explanation is None:
        yield leave_out(EXPLANATIONS, files, "not there; only the neuron's activations are")
    else:
        try:
            explanation = read_explanation(files.explanation, **place)
        except (OSError, LayoutError) as error:
            yield leave_out(EXPLANATIONS, files, error)
    try:
        yield read_activations(files.activations, explanation, release=release, **place)
    except (OSError, LayoutError) as error:
        yield leave_out(ACTIVATIONS, files, error)


def read_neurons(
    folder: Path, release: Release, wanted: Collection[tuple[int, int]] | None
) -> Iterator[PublishedNeuron | LeftOut]:
    """The neurons of `wanted`, as (layer, index), or all for None, by layer and index, one at a time.

    A file that cannot be used, or is not there, yields a LeftOut and stops nothing. A neuron whose explanation is the
    one at fault follows its LeftOut, without an explanation; one whose activations are at fault does not come.

    Raises UserError at once for a folder that is not of the released layout.
    """
    found = {(files.layer, files.index): files for files in list_neurons(folder)}
    chosen = [
        found.get(key) or NeuronFiles(layer=key[0], index=key[1], activations=None, explanation=None)
        for key in sorted(found if wanted is None else set(wanted))
    ]
    return (item for files in chosen for item in read_neuron(files, release))
