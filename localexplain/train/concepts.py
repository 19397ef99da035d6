"""Concepts to train on, drawn at random: kinds, words and phrasings that the held-out bed does not have.

    source ──one function a kind──> Draft: a concept, its words, how a text is made to hold it

Weights say how often a kind is drawn. The first stage draws what is matched by exact words alone.
"""

from localexplain.train.kinds import composed, contexts, forms, phrases, places, sets, words
from localexplain.train.source import Draw

KINDS: dict[Draw, float] = {
    words.draw_word: 12.0,
    words.draw_words: 10.0,
    words.draw_forms: 6.0,
    sets.draw_wordnet: 20.0,
    sets.draw_own_sets: 14.0,
    sets.draw_synonyms: 6.0,
    words.draw_suffix: 5.0,
    words.draw_prefix: 4.0,
    forms.draw_letters: 7.0,
    forms.draw_digits: 10.0,
    places.draw_position: 12.0,
    places.draw_beside_sign: 6.0,
    phrases.draw_phrases: 7.0,
    phrases.draw_rest: 4.0,
    contexts.draw_after: 9.0,
    forms.draw_inside: 8.0,
    forms.draw_sign: 9.0,
    forms.draw_shapes: 14.0,
    contexts.draw_second: 5.0,
    sets.draw_sentiment: 8.0,
    contexts.draw_language: 4.0,
    contexts.draw_code: 10.0,
    contexts.draw_simile: 7.0,
    words.draw_negation: 5.0,
    composed.draw_union: 8.0,
    composed.draw_but_not: 14.0,
}
EASY: dict[Draw, float] = {
    words.draw_word: 6.0,
    words.draw_words: 4.0,
    words.draw_forms: 1.5,
    sets.draw_own_sets: 1.0,
    forms.draw_sign: 1.0,
    contexts.draw_after: 1.0,
}
