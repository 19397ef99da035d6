"""The training set of an explainer: shards of examples, each made from its own number, so that any can be made anew.

    passages ─┐                                    stage "text"   running text alone
    concepts ─┼──episodes of examples──> shards    stage "easy"   exact words first: matching is learned in a jump there
    real units┘                                    stage "all"    every kind, real records, grids, judging, explaining
                                                   stage "grid"   the same, half of it grids

Source of the order of the stages: see docs/log.md, 2026-11-21.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int8

from localexplain.explain.lookup import name_tokens
from localexplain.explain.windows import active_words
from localexplain.planted.concept import CLEARLY, find_levels, plant, token_levels
from localexplain.train.concepts import EASY, KINDS
from localexplain.train.drafts import Draft, join_words, name_words, pick
from localexplain.train.examples import Example, ExampleWriter
from localexplain.train.passages import words_of
from localexplain.train.records import RealExcerpt, RealUnit, token_words
from localexplain.train.senses import mix_senses
from localexplain.train.source import ConceptSource, draw_from

Stage = Literal["text", "easy", "all", "grid"]
STAGES: tuple[Stage, ...] = ("text", "easy", "all", "grid")
Random = np.random.Generator
CutTokens = Callable[[str], Sequence[str]]

# What says of itself that it is about a neuron is not put into a frame that says so.
SENTENCE = re.compile(
    r"(?i)\W*(?:\w+s on|fires|active|responds|this one|this neuron|it |marks|recognises|sensitive|peaks|silent|picks|"
    r"lights|a neuron|detects|always)"
)
PIECES = re.compile(r"\s?\w+|\s?[^\w\s]+|\s+")
LONGEST_TOKENS = 64  # of an excerpt: the protocol's
TEXT_SHARE, REAL_SHARE, SENSE_SHARE = 0.08, 0.16, 0.1  # of the episodes of the stage "all"
GRID_SHARE, EMPTY_SHARE, WRONG_SHARE, VAGUE_SHARE = 0.12, 0.03, 0.06, 0.05  # of its simulations
GRID_STAGE_SHARE = 0.5  # likewise, in the stage "grid"
FRAMED_SHARE = 0.3  # of the explanations are put into a frame: "mainly ...", "a neuron for ..."
ANSWER_SHARE = 0.25  # of the simulations from what the explainer is taught to say
FIRING, SILENT = 3, 2  # simulated texts of an episode
SHOWN = 5  # excerpts that an explainer sees
LISTED = 5  # words that an explanation names
LOWEST_SEEN = 3  # level of a token that counts as active in what an explainer sees
TRIES = 12  # texts looked at for one that holds the concept, beyond those wanted
# The rest are choices, not measurements: a mix in which none of the two sorts is rare.
SUBJECT_CUT_SHARE = 0.65  # of the texts are cut by the subject's tokenizer, the others into words
WHOLE_SHARE = 0.35  # of the texts may have LONGEST_TOKENS, the others fewer, drawn from SHORT_TOKENS
SHORT_TOKENS = (14, 44)
FROM_START_SHARE = 0.5  # of the texts begin at their beginning: positions count from there
LOOKED_UP_SHARE = 0.6  # of the texts are found by a word of the concept
EDITED_SHARE = 0.85  # of the others are edited to hold it
REMEMBERED_SHARE, REMEMBERED = 0.6, 64  # of the silent texts from so many episodes before
MORE_SHARE, MORE_FIRING = 0.6, 2  # of the episodes show an explainer so many more texts
EXPLAINED_SHARE = 0.5  # of the episodes have an explanation to write
OTHER_SENSES, FILLERS = 2, 1  # at most, in a text of a sense
VAGUELY_ACTIVE = 0.6  # of a concept's tokens are active under a vague explanation


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A text as tokens [T], their true levels [T] and those with noise [T], all 0..10."""

    tokens: tuple[str, ...]
    levels: tuple[int, ...]
    noisy: tuple[int, ...]


def word_pieces(text: str) -> tuple[str, ...]:
    """Words with the space before them, signs, white space: the tokens of no model in particular."""
    return tuple(PIECES.findall(text))


class ExampleSource:
    """Draws episodes: a concept or a real unit, and the examples made from it.

    cut    tokens of a text by a subject's own tokenizer; joined they are the text
    """

    def __init__(
        self, concepts: ConceptSource, writer: ExampleWriter, cut: CutTokens, real_units: Sequence[RealUnit]
    ) -> None:
        self._concepts = concepts
        self._writer = writer
        self._cut = cut
        self._real = real_units
        self._before: list[tuple[str, Draft]] = []  # texts of the last episodes: the silent comparison

    def forget(self) -> None:
        """Begins anew, so that a shard does not depend on the one made before it."""
        self._before.clear()

    def episodes(self, stage: Stage, random: Random) -> Iterator[list[Example]]:
        """Without end."""
        while True:
            chance = random.random()
            is_mixed = stage in ("all", "grid")
            if stage == "text" or (is_mixed and chance < TEXT_SHARE):
                yield [self._text(random)]
            elif is_mixed and self._real and chance < TEXT_SHARE + REAL_SHARE:
                yield self._real_episode(self._real[int(random.integers(len(self._real)))], stage, random)
            elif is_mixed and self._concepts.senses and chance < TEXT_SHARE + REAL_SHARE + SENSE_SHARE:
                yield self._sense_episode(random)
            else:
                yield self._planted_episode(stage, random)

    def _text(self, random: Random) -> Example:
        return self._writer.text(" ".join(self._concepts.passages.draw(random) for _ in range(3)))

    # texts

    def _tokens(self, text: str, random: Random, from_start: bool = False) -> tuple[str, ...]:
        """The text's tokens, at most LONGEST_TOKENS, from a random place on where chance has it."""
        tokens = tuple(self._cut(text)) if random.random() < SUBJECT_CUT_SHARE else word_pieces(text)
        most = LONGEST_TOKENS if random.random() < WHOLE_SHARE else int(random.integers(*SHORT_TOKENS))
        if from_start or random.random() < FROM_START_SHARE:
            return tokens[:most]
        start = int(random.integers(max(1, len(tokens) - most + 1)))
        return tokens[start : start + most]

    def _levels(self, draft: Draft, tokens: Sequence[str], random: Random) -> Cut:
        return self._with_noise(tokens, find_levels(draft.concept, "".join(tokens)), random)

    def _with_noise(self, tokens: Sequence[str], of_characters: Int8[np.ndarray, " characters"], random: Random) -> Cut:
        levels = token_levels(of_characters, tokens)
        noisy = np.rint(plant(levels, random)).astype(int)
        return Cut(tuple(tokens), tuple(levels.tolist()), tuple(noisy.tolist()))

    def _candidate(self, draft: Draft, random: Random) -> str:
        """A text that is likely to hold the concept."""
        passages = self._concepts.passages
        if draft.look_up and random.random() < (LOOKED_UP_SHARE if draft.edit is not None else 1.0):
            found = passages.draw_with(pick(draft.look_up, random), random)
            if found is not None:
                return found
        text = passages.draw(random)
        return draft.edit(text, random) if draft.edit is not None and random.random() < EDITED_SHARE else text

    def _firing(self, draft: Draft, n: int, random: Random) -> list[Cut]:
        found: list[Cut] = []
        for _ in range(TRIES + n):
            if len(found) == n:
                break
            tokens = self._tokens(self._candidate(draft, random), random, draft.whole)
            cut = self._levels(draft, tokens, random)
            if any(cut.levels):
                found.append(cut)
        return found

    def _silent_text(self, random: Random) -> str:
        if self._before and random.random() < REMEMBERED_SHARE:
            text, _ = self._before[int(random.integers(len(self._before)))]
            return text
        return self._concepts.passages.draw(random)

    # episodes

    def _planted_episode(self, stage: Stage, random: Random) -> list[Example]:
        draft = draw_from(self._concepts, random, EASY if stage == "easy" else KINDS)
        firing = self._firing(draft, FIRING + (MORE_FIRING if random.random() < MORE_SHARE else 0), random)
        if len(firing) < 2:
            return []
        silent = [self._levels(draft, self._tokens(self._silent_text(random), random), random) for _ in range(SILENT)]
        examples: list[Example] = []
        for cut in (*firing[:FIRING], *silent[: 1 + int(random.random() < MORE_SHARE)]):
            said = random.random() < ANSWER_SHARE
            explanation = self._answer(draft, firing) if said else self._explanation(draft, stage, random)
            examples.append(self._simulated(draft, explanation, cut, stage, random))
        if random.random() < EXPLAINED_SHARE:
            examples.append(self._explained(draft, firing))
        self._remember("".join(firing[0].tokens), draft)
        return examples

    def _explanation(self, draft: Draft, stage: Stage, random: Random) -> str:
        explanation = pick(draft.concept.explanations, random)
        if stage == "easy" or random.random() >= FRAMED_SHARE or SENTENCE.match(explanation):
            return explanation
        return pick(self._concepts.phrasings["frames"]["templates"], random).replace("{core}", explanation)

    def _remember(self, text: str, draft: Draft) -> None:
        self._before.append((text, draft))
        del self._before[:-REMEMBERED]

    def _simulated(self, draft: Draft, explanation: str, cut: Cut, stage: Stage, random: Random) -> Example:
        fits = any(level >= CLEARLY for level in cut.levels)
        if stage == "easy":
            return self._writer.simulate(explanation, cut.tokens, cut.levels, fits)  # clean, for the jump's sake
        chance = random.random()
        grid_share = GRID_STAGE_SHARE if stage == "grid" else GRID_SHARE
        if chance < grid_share:
            short = int(random.integers(4, LONGEST_TOKENS + 1))
            return self._writer.grid(explanation, cut.tokens[:short], cut.noisy[:short])
        chance = (chance - grid_share) / (1 - grid_share) * (1 - GRID_SHARE)  # the others' shares stay as they are
        if chance < EMPTY_SHARE:
            return self._writer.simulate("", cut.tokens, cut.noisy)
        chance -= EMPTY_SHARE
        if chance < WRONG_SHARE and self._before:
            _, other = self._before[int(random.integers(len(self._before)))]
            truly = self._levels(other, cut.tokens, random)
            return self._writer.simulate(
                pick(other.concept.explanations, random),
                cut.tokens,
                cut.noisy,
                any(level >= CLEARLY for level in truly.levels),
            )
        chance -= WRONG_SHARE
        if chance < VAGUE_SHARE:
            vague = self._concepts.say("vague", random, 2, name=draft.concept.name.lower())[1]
            kept = tuple(level if random.random() < VAGUELY_ACTIVE else 0 for level in cut.noisy)
            return self._writer.simulate(vague, cut.tokens, kept, fits)
        return self._writer.simulate(explanation, cut.tokens, cut.noisy, fits)

    def _answer(self, draft: Draft, firing: Sequence[Cut]) -> str:
        """What an explainer should say: the concept's first phrasing, without quotation marks, or the one that names
        the words that were active."""
        seen = (
            active_words([(cut.tokens, cut.levels) for cut in firing[:SHOWN]], CLEARLY, LISTED) if draft.shown else []
        )
        words = list(dict.fromkeys(word for text in seen for word in words_of(text) if len(word) > 2))
        if not words:
            return draft.concept.explanations[0].replace('"', "")
        return draft.shown.format(list=name_words(words[:LISTED]))

    def _explained(self, draft: Draft, firing: Sequence[Cut]) -> Example:
        return self._writer.explain([(cut.tokens, cut.noisy) for cut in firing[:SHOWN]], self._answer(draft, firing))

    def _example_sentence(self, random: Random) -> str:
        senses = self._concepts.senses[int(random.integers(len(self._concepts.senses)))]
        return pick(senses[int(random.integers(len(senses)))].examples, random)

    def _sense_episode(self, random: Random) -> list[Example]:
        """A word in one sense among its others."""
        senses = self._concepts.senses[int(random.integers(len(self._concepts.senses)))]
        order = [senses[int(place)] for place in random.permutation(len(senses))]
        sense, others = order[0], order[1:]
        examples: list[Example] = []
        for active in (True, True, False):
            chosen = others[: 1 + int(random.integers(OTHER_SENSES))]
            fillers = [self._example_sentence(random) for _ in range(int(random.integers(FILLERS + 1)))]
            text, of_characters = mix_senses(sense, chosen, fillers, active, random)
            tokens = tuple(self._cut(text)) if random.random() < SUBJECT_CUT_SHARE else word_pieces(text)
            cut = self._with_noise(tokens, of_characters, random)
            cut = Cut(cut.tokens[:LONGEST_TOKENS], cut.levels[:LONGEST_TOKENS], cut.noisy[:LONGEST_TOKENS])
            explanation = self._concepts.say("sense", random, 2, word=sense.word, definition=sense.definition)[1]
            fits = any(level >= CLEARLY for level in cut.levels)
            examples.append(self._writer.simulate(explanation, cut.tokens, cut.noisy, fits))
        return examples

    def _real_episode(self, unit: RealUnit, stage: Stage, random: Random) -> list[Example]:
        chosen = [unit.top[int(place)] for place in random.permutation(len(unit.top))[:SHOWN]]
        seen = self._seen_words(unit, chosen)
        words = list(unit.words)
        plain = join_words(words, random)
        if unit.listing == "words":
            said = [
                f"the words {name_words(names)}" if len(names) > 1 else f"the word {names[0]}"
                for names in (words, seen)
                if names
            ]
            explanations = [
                *said,
                *self._concepts.say("words", random, 4, list=plain),
                name_tokens([f" {word}" for word in words[:LISTED]]),
            ]
        else:
            said = [f"the word right after {' or '.join(names[:4])}" for names in (words, seen) if names]
            explanations = [*said, *self._concepts.say("after", random, 4, word=plain)]
        examples = [
            self._real_simulated(pick(explanations, random), excerpt, stage, random)
            for excerpt in (*chosen[:2], unit.random[int(random.integers(len(unit.random)))])
        ]
        if seen:
            examples.append(self._writer.explain([(excerpt.tokens, excerpt.levels) for excerpt in chosen], said[-1]))
        return examples

    def _seen_words(self, unit: RealUnit, shown: Sequence[RealExcerpt]) -> list[str]:
        """The words of the unit's listing that an explainer could name, because they are active in what it sees."""
        which = 0 if unit.listing == "words" else 1
        active = {
            pair[which]
            for excerpt in shown
            for pair, level in zip(token_words(excerpt.tokens), excerpt.levels, strict=True)
            if level >= LOWEST_SEEN
        }
        return [word for word in unit.words if word in active]

    def _real_simulated(self, explanation: str, excerpt: RealExcerpt, stage: Stage, random: Random) -> Example:
        if random.random() < (GRID_STAGE_SHARE if stage == "grid" else GRID_SHARE):
            return self._writer.grid(explanation, excerpt.tokens, excerpt.levels)
        if random.random() < EMPTY_SHARE:
            return self._writer.simulate("", excerpt.tokens, excerpt.levels)
        return self._writer.simulate(explanation, excerpt.tokens, excerpt.levels)


def make_shard(source: ExampleSource, stage: Stage, number: int, n_tokens: int, seed: int) -> list[Example]:
    """At least `n_tokens` tokens of examples; the same for the same (stage, number, seed) and source."""
    random = np.random.default_rng((seed, STAGES.index(stage), number))
    source.forget()
    found: list[Example] = []
    size = 0
    for examples in source.episodes(stage, random):
        found += examples
        size += sum(len(example.ids) for example in examples)
        if size >= n_tokens:
            return found
    raise AssertionError("episodes never end")
