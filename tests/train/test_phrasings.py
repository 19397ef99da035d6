"""The templates that explanations are written from: their slots, and the frames put around them."""

import ast
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import localexplain.train
from localexplain.planted.concept import Concept, Pattern
from localexplain.train.dataset import FRAMED_SHARE, SENTENCE, ExampleSource, make_shard, word_pieces
from localexplain.train.drafts import Draft
from localexplain.train.examples import ExampleWriter
from localexplain.train.lists import read_list
from localexplain.train.passages import Passages
from localexplain.train.source import ConceptSource
from tests.train.tiny_vocabulary import TOKENIZER

# What those who call `ConceptSource.say` give, a set of slots for each way of calling; tables of shapes have none.
CALLERS = {
    "word": [{"word"}],
    "words": [{"list"}],
    "forms": [{"word", "list"}],
    "lexical": [{"name", "list"}],
    "definition": [{"definition"}],
    "suffix": [{"affix"}],
    "prefix": [{"affix"}],
    "starts_with": [{"letter"}],
    "after": [{"word"}],
    "before": [{"word"}],
    "inside": [{"name", "open", "close"}],
    "sign": [{"sign"}, {"sign", "name"}],
    "second": [{"first", "second"}],
    "union": [{"a", "b"}],
    "but_not": [{"a", "b"}],
    "language": [{"language"}],
    "keyword": [{"word"}],
    "keywords": [{"name", "list"}],
    "vague": [{"name"}],
    "phrases": [{"phrases"}],
    "until": [{"word"}],
    "any_time_after": [{"word"}],
    "sense": [{"word", "definition"}],
    "before_sign": [{"sign", "name"}],
    "after_sign": [{"sign", "name"}],
}
PHRASINGS = read_list("phrasings")
FRAMES = PHRASINGS["frames"]["templates"]
TABLES = {name: table["templates"] for name, table in PHRASINGS.items() if name != "shapes"}
TABLES |= {f"shapes.{name}": table["templates"] for name, table in PHRASINGS["shapes"].items()}


# the tables ----------------------------------------------------------------------------------------------------------


def calls_of_say():
    """(table, slots) of every call in the code that names its table outright."""
    for path in Path(localexplain.train.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "say":
                table = node.args[0]
                if isinstance(table, ast.Constant):
                    yield table.value, {keyword.arg for keyword in node.keywords}


def test_the_callers_give_what_stands_above():
    found = list(calls_of_say())
    assert len(found) > 15
    for table, slots in found:
        assert slots in (CALLERS[table] if not table.startswith("shapes.") else [set()]), table


def test_every_table_is_asked_for():
    assert {name for name in TABLES if not name.startswith("shapes.")} == {*CALLERS, "frames"}


@pytest.mark.parametrize("table", sorted(TABLES))
def test_templates_use_the_slots_that_are_given_and_are_no_two_the_same(table):
    ways = {"frames": [{"core"}]}.get(table, CALLERS.get(table, [set()]))
    given = set.union(*ways)
    for template in TABLES[table]:
        slots = set(re.findall(r"{(\w*)}", template))
        assert slots <= given, template
        # nothing but the slots is in braces, and what is written has none left
        assert template.format(**dict.fromkeys(given, "x")) == re.sub(r"{\w+}", "x", template)
        assert template == template.strip()
        assert template
    for way in ways:  # whoever calls finds a template that fits, and several
        fitting = [text for text in TABLES[table] if set(re.findall(r"{(\w+)}", text)) <= way]
        assert len(fitting) > 5
    plain = Counter(" ".join(template.lower().split()) for template in TABLES[table])
    assert [template for template, count in plain.items() if count > 1] == []


# frames --------------------------------------------------------------------------------------------------------------


def test_the_first_frame_is_none_and_each_holds_the_explanation_once():
    assert FRAMES[0] == "{core}"
    assert [frame for frame in FRAMES if frame.count("{core}") != 1] == []


@pytest.mark.parametrize(
    ("text", "is_sentence"),
    [
        ("fires on the word cat", True),
        ("Fires whenever a cat is named", True),
        ("this one picks out the word cat", True),
        ('"It is the cat"', True),
        ("it lights up on cats", True),
        ("a neuron for cats", True),
        ("always the word cat", True),
        ("peaks at cats", True),
        ("looks on while cats sleep", True),  # any verb with "on" behind it
        ("the word cat", False),
        ("item after item", False),
        ("words like cat", False),
        ("the word that fires on", False),
        ("italic words", False),
    ],
)
def test_what_says_that_it_is_about_a_neuron(text, is_sentence):
    assert bool(SENTENCE.match(text)) == is_sentence


def a_source():
    sentence = "The lizard lay near the old wagon, and nobody saw a tortoise or a cart in the garden of the house."
    writer = RememberingWriter(TOKENIZER)
    return ExampleSource(ConceptSource(Passages.of([sentence] * 40), [], ()), writer, word_pieces, []), writer


class RememberingWriter(ExampleWriter):
    """It remembers the explanations that simulations are written from."""

    def __init__(self, tokenizer):
        super().__init__(tokenizer)
        self.said = []

    def simulate(self, explanation, tokens, levels, fits=None):
        self.said.append(explanation)
        return super().simulate(explanation, tokens, levels, fits)


def draft_of(*explanations):
    return Draft(concept=Concept(kind="word", name="x", explanations=explanations, patterns=(Pattern(find="x"),)))


def framed(source, stage, *explanations, n=4000):
    random = np.random.default_rng(0)
    draft = draft_of(*explanations)
    return Counter(source._explanation(draft, stage, random) for _ in range(n))


def test_a_share_of_the_explanations_is_put_into_frames():
    """Every frame comes, about as often as the others; the first, which is none, is not told from what was left."""
    source, _ = a_source()
    found = framed(source, "all", "the word cat")
    assert set(found) == {frame.replace("{core}", "the word cat") for frame in FRAMES}
    changed = 1 - found["the word cat"] / 4000
    wanted = FRAMED_SHARE * (1 - 1 / len(FRAMES))
    assert abs(changed - wanted) < 5 * (wanted * (1 - wanted) / 4000) ** 0.5
    # each of the other 63 comes 19 times on average
    assert max(count for text, count in found.items() if text != "the word cat") < 50


def test_no_frame_where_words_are_learned_first():
    source, _ = a_source()
    assert framed(source, "easy", "the word cat") == {"the word cat": 4000}


def test_sentences_stay_as_they_are():
    source, _ = a_source()
    sentences = ("fires on the word cat", "this one is for cats", "Active on cats")
    assert set(framed(source, "all", *sentences)) == set(sentences)


def test_an_explanation_that_holds_a_slot_is_put_in_as_it_is():
    source, _ = a_source()
    found = framed(source, "all", "the text {core} in {braces}")
    assert set(found) == {frame.replace("{core}", "the text {core} in {braces}") for frame in FRAMES}


def starts():
    """What stands before the explanation in the frames that no template of another table begins with."""
    own = [text.lower() for name, templates in TABLES.items() if name != "frames" for text in templates]
    fronts = {frame.partition("{core}")[0].lower() for frame in FRAMES} - {""}
    return tuple(front for front in fronts if not any(text.startswith(front) for text in own))


def test_the_last_stage_has_frames_and_the_easy_one_has_none():
    """In whole shards: about a quarter of what is planted, less the sentences."""
    assert len(starts()) > 20
    shares = {}
    for stage in ("easy", "all"):
        source, writer = a_source()
        make_shard(source, stage, 0, 25_000, seed=1)
        assert len(writer.said) > 150
        shares[stage] = sum(text.lower().startswith(starts()) for text in writer.said) / len(writer.said)
    assert shares["easy"] == 0
    assert 0.05 < shares["all"] < FRAMED_SHARE
