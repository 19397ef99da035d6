"""What a synthetic store is made of: texts, keys, and units whose activations and simulations are drawn, not computed.

A unit is active on a twentieth of the vocabulary, drawn for it. Some texts are hostile on purpose: what shows them must
show them as text. Everything follows from the seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from localexplain.keys import key_of
from localexplain.subject.select import RANDOM_SPLITS, STRATUM_ENDS, TOP_SPLITS

N_EXCERPTS, LENGTH_TOKENS, N_DOCUMENTS = 20_000, 64, 400
UNITS_A_CHUNK = 3200  # with 12 records each 10 MB of activations, and about ten times that while they are made
FEWEST_RECORDS = 12  # 7 top and 5 random ones: 2 of each are valid
SECOND_EVERY = 16
TOO_FEW_FRACTION, CONSTANT_FRACTION = 0.02, 0.01
WORDS_MODULUS, ACTIVE_RESIDUES = 251, 12  # a token is a unit's when its scrambled id has one of the first residues

STAGES = ("records", "explanations", "simulations", "scores")  # each draws from its own random numbers

# texts ---------------------------------------------------------------------------------------------------------------

ODD_TOKENS = (
    " ", "   ", "\n", "\n\n", "\t", "<script>alert(1)</script>", "🙂", "👩‍🚀", "&amp;", '"', "' onload='", "日本", "�"
)  # fmt: skip
ONSETS = ("b", "br", "d", "f", "gl", "k", "l", "m", "n", "p", "pr", "r", "s", "st", "t", "tr", "v", "w", "z", "sh")
RHYMES = ("a", "ane", "ark", "e", "el", "en", "ick", "ill", "in", "o", "ond", "or", "u", "um", "ush", "y", "ow", "ast")
KINDS = (
    "words about", "names of", "verbs for", "mentions of", "numbers beside", "questions about", "the start of a",
    "adjectives for", "lists of", "dates near", "praise of", "complaints about", "quotations on", "the end of a",
    "comparisons with", "code that handles", "titles of", "the second token of a", "pronouns that stand for",
)  # fmt: skip
THINGS = (
    "rain", "harbour", "court case", "river", "recipe", "violin", "train", "election", "lighthouse", "garden", "bank",
    "school", "war", "moon", "horse", "bread", "bridge", "illness", "market", "poem", "football match", "language",
    "kitchen", "mountain", "letter", "king", "engine", "wedding", "snow", "museum", "<script>alert(1)</script>",
    "tax & debt", "island", "teacher", "voyage", "bird", "winter", "street", "machine", "child", "colour", "painter",
)  # fmt: skip
QUALITIES = (
    "old", "foreign", "small", "well-known", "imagined", "wet", "distant", "expensive", "noisy", "northern", "broken",
    "famous", "quiet", "lost", "new", "wooden", "public", "private", "ancient", "modern", "red", "empty", "long",
)  # fmt: skip
PLACES = (
    "at the start of a sentence", "after a comma", "in legal texts", "in dialogue", "in headlines", "before a number",
    "in lists", "in old stories", "after 'the'", "in instructions", "near a name", "in the past tense", "in capitals",
    "within brackets", "in film reviews", "in letters", "after a question", "in weather reports", "in Python code",
    "in sermons", "in prices", "near a colour", "at the end of a line", "in translations", "in diaries", "after 'not'",
)  # fmt: skip


def vocabulary() -> tuple[str, ...]:
    """Token texts: the odd ones, then made-up words with and without a space before them."""
    words = [onset + rhyme for onset in ONSETS for rhyme in RHYMES]
    return (*ODD_TOKENS, ".", ",", *(f" {word}" for word in words), *words)


def sentences(random: np.random.Generator, n: int) -> pa.Array:
    """[n] explanations by template: 20 million different ones, so that few of 307,200 are equal."""
    lists = (KINDS, QUALITIES, THINGS, ("or",), THINGS, PLACES)
    parts = [pa.array(words).take(pa.array(random.integers(0, len(words), n))) for words in lists]
    return pc.binary_join_element_wise(*parts, " ")


def hex_keys(table: str, numbers: np.ndarray) -> pa.Array:
    """[n] keys of 32 hexadecimal digits, in no order, different for different numbers and tables."""
    odd = np.uint64(0x9E3779B97F4A7C15)
    numbers = numbers.astype(np.uint64)
    scrambled = (numbers + np.uint64(int(key_of(table)[:15], 16))) * odd
    scrambled ^= scrambled >> np.uint64(29)
    halves = np.stack([scrambled * odd, numbers], axis=1)
    digits = (halves[:, :, None] >> np.arange(60, -1, -4, dtype=np.uint64)) & np.uint64(15)
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[digits.astype(np.uint8)]
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(letters.tobytes()))


def repeated(value: str | None, n: int) -> pa.Array:
    return pa.nulls(n, pa.string()) if value is None else pa.array([value]).take(pa.array(np.zeros(n, dtype=np.int32)))


# what is made ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Records of each unit by kind; per_stratum of each of the five strata."""

    top: int
    random: int
    per_stratum: int

    @property
    def valid(self) -> np.ndarray:
        """Columns of a unit's records that are valid: top ones, then random ones."""
        splits = [TOP_SPLITS[rank % len(TOP_SPLITS)] for rank in range(self.top)]
        splits += [RANDOM_SPLITS[rank % len(RANDOM_SPLITS)] for rank in range(self.random)]
        return np.flatnonzero(np.array(splits) == "valid")


def lay_out(n_records: int) -> Layout:
    """The kinds of n_records, strata among them from 22 on. Raises ValueError for fewer than FEWEST_RECORDS."""
    if n_records < FEWEST_RECORDS:
        raise ValueError(f"{n_records} records a unit: at least {FEWEST_RECORDS} are needed for 4 valid ones")
    per_stratum = (n_records - FEWEST_RECORDS) // 10
    rest = n_records - per_stratum * len(STRATUM_ENDS)
    return Layout(top=rest - rest * 5 // 12, random=rest * 5 // 12, per_stratum=per_stratum)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """What all stages share. All but token_ids [excerpts, T] are [units].

    active       excerpts that the unit is active in; fewer than layout.top is too few
    quality      how well the unit can be explained, 0 to 1; 0 gives a constant simulation
    """

    n_layers: int
    units_per_layer: int
    layout: Layout
    seed: int
    token_ids: np.ndarray
    active: np.ndarray
    quality: np.ndarray

    def random(self, stage: str, *about: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, STAGES.index(stage), *about])

    def is_ok(self, ids: np.ndarray) -> np.ndarray:
        return np.asarray(self.active[ids] >= self.layout.top)

    def is_given(self, ids: np.ndarray, explainer: int) -> np.ndarray:
        """Whether an explainer is asked about units."""
        return np.asarray(ids % SECOND_EVERY == 0) if explainer else np.ones(len(ids), dtype=bool)

    def chunks(self) -> Iterator[np.ndarray]:
        """Unit ids in runs of one layer."""
        for layer in range(self.n_layers):
            start = layer * self.units_per_layer
            for first in range(0, self.units_per_layer, UNITS_A_CHUNK):
                yield np.arange(start + first, start + min(first + UNITS_A_CHUNK, self.units_per_layer))


def make_world(n_layers: int, units_per_layer: int, layout: Layout, seed: int) -> World:
    random = np.random.default_rng(seed)
    n_units, n_texts = n_layers * units_per_layer, len(vocabulary())
    # A square makes low ids frequent, as words are.
    token_ids = (random.random((N_EXCERPTS, LENGTH_TOKENS)) ** 2 * n_texts).astype(np.int32)
    too_few = random.random(n_units) < TOO_FEW_FRACTION
    active = np.where(too_few, random.integers(0, layout.top, n_units), random.integers(400, N_EXCERPTS, n_units))
    depth = np.repeat(np.linspace(0.75, 0.25, n_layers), units_per_layer)  # late layers are explained worse
    quality = (random.beta(2, 4, n_units) * 2 * depth).clip(0.01, 0.95)
    quality[random.random(n_units) < CONSTANT_FRACTION] = 0
    return World(
        n_layers=n_layers,
        units_per_layer=units_per_layer,
        layout=layout,
        seed=seed,
        token_ids=token_ids,
        active=active,
        quality=quality,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A chunk's records: excerpt ids [units, records] and activations [units, records, T], top ones by rank, random
    ones, then strata."""

    excerpts: np.ndarray
    activations: np.ndarray


def draw_records(world: World, ids: np.ndarray) -> Drawn:
    """The records of whole chunks of units; the same whenever it is asked."""
    random, layout = world.random("records", int(ids[0])), world.layout
    n_records = layout.top + layout.random + len(STRATUM_ENDS) * layout.per_stratum
    start = random.integers(0, N_EXCERPTS, (len(ids), 1))
    step = random.integers(1, N_EXCERPTS // n_records, (len(ids), 1))
    excerpts = (start + step * np.arange(n_records)) % N_EXCERPTS  # no excerpt twice: the steps end before they meet
    factor, shift = random.integers(1, WORDS_MODULUS, (2, len(ids), 1, 1)).astype(np.int32)
    is_loud = (world.token_ids[excerpts] * factor + shift) % WORDS_MODULUS < ACTIVE_RESIDUES
    noise = random.random(is_loud.shape, dtype=np.float32)
    level = random.gamma(3.0, 1.0, (len(ids), 1, 1)).astype(np.float32)
    activations = np.where(is_loud, (noise + 0.25) * level, noise * np.float32(-0.17))
    first_top = np.argsort(-activations[:, : layout.top].max(axis=2), axis=1)
    top = np.take_along_axis(activations[:, : layout.top], first_top[:, :, None], axis=1)
    excerpts[:, : layout.top] = np.take_along_axis(excerpts[:, : layout.top], first_top, axis=1)
    activations[:, : layout.top] = top
    return Drawn(excerpts=excerpts, activations=activations.astype(np.float16).astype(np.float32))


def expected_activations(world: World, ids: np.ndarray, true: np.ndarray, explainer: int) -> np.ndarray:
    """What is simulated of records [units, records, T], 0 to 10: the activations, in noise where quality is low."""
    random = world.random("simulations", explainer, int(ids[0]))
    quality = world.quality[ids][:, None, None].astype(np.float32)
    scaled = true.clip(0) * (10 / np.maximum(true.max(axis=(1, 2), keepdims=True), 1e-6))
    noise = random.random(true.shape, dtype=np.float32)
    noise *= noise * noise * 10
    blurred = np.where(quality > 0, quality * scaled + (1 - quality) * noise, 0)
    return blurred.clip(0, 10).astype(np.float16).astype(np.float32)


def correlate(true: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """[units] Pearson correlation over all of a unit's tokens; NaN where it is simulated as constant."""
    a, b = (x.reshape(len(x), x.shape[1] * x.shape[2]).astype(np.float64) for x in (true, expected))
    a -= a.mean(axis=1, keepdims=True)
    b -= b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.where(norm > 0, (a * b).sum(axis=1) / np.where(norm > 0, norm, 1), np.nan)
