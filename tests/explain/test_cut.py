import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.explain.cut import cut_explanation

OPENING = "This neuron responds to"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (" words about rain.", "words about rain"),
        (" words about rain", "words about rain"),
        # the forced beginning, said again
        ("This neuron responds to words about rain.", "words about rain"),
        ("this neuron responds to: words about rain", "words about rain"),
        # the first line, the first sentence
        (" words about rain.\n\nNeuron 5\n<excerpt>", "words about rain"),
        ("\n  \n words about rain", "words about rain"),
        (" words about rain. It also likes snow.", "words about rain"),
        (" words about rain! Snow too.", "words about rain!"),
        # what looks like the end of a sentence and is none
        (" names after a title such as Mr. Smith. Also Dr. Jones.", "names after a title such as Mr. Smith"),
        (" initials, as in J. Smith, or e.g. Paris", "initials, as in J. Smith, or e.g. Paris"),
        (" decimal numbers such as 3.14 or v1.2", "decimal numbers such as 3.14 or v1.2"),
        (" words before an ellipsis...", "words before an ellipsis..."),
        (" the full stop that ends 'etc.'", "the full stop that ends 'etc.'"),
        (" words\tabout\x00rain", "words about rain"),
        # quotation marks around the whole, and only those
        ('"words about rain."', "words about rain"),
        (" \u201cwords about rain\u201d.", "words about rain"),
        ("**words about rain**", "words about rain"),
        (" 'rain' and 'snow'", "'rain' and 'snow'"),
        (' "rain" and "snow"', '"rain" and "snow"'),
        (" the tokens ' movie' and ' film'", "the tokens ' movie' and ' film'"),
        (' "This neuron responds to words about rain."', "words about rain"),
        # thinking
        ("<think>\nIt is. Rain?\n</think>\n\nwords about rain.", "words about rain"),
        ("Perhaps rain.\n</think>\nwords about rain.", "words about rain"),
        ("words about rain <think>or snow", "words about rain"),
        # nothing
        ("", ""),
        (" \n\t ", ""),
        ("...", ""),
        ('""', ""),
        ("<think>rain, surely, or", ""),
        ("This neuron responds to", ""),
    ],
)
def test_by_hand(raw, text):
    assert cut_explanation(raw, OPENING, was_cut=False) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (" words about ships and the harb", "words about ships"),  # the half word and what led to it
        (" words about ships, storms, (harb", "words about ships, storms"),
        (" words about rain. It also lik", "words about rain"),  # the cut fell after the first sentence
        (" words about rain.\nNeuron", "words about rain"),
        (" words about rain\nNeuron", "words about rain"),
        (" words about rain.", "words about rain"),
        (" rain", "rain"),  # one word, perhaps half: better than nothing
        ("<think>rain, surely, or", ""),
    ],
)
def test_ran_out_of_tokens(raw, text):
    assert cut_explanation(raw, OPENING, was_cut=True) == text


@given(st.text(max_size=60), st.booleans())
def test_anything_gives_one_line_without_thinking(raw, was_cut):
    text = cut_explanation(raw, OPENING, was_cut=was_cut)
    assert text == text.strip()
    assert len(text.splitlines()) <= 1
    assert "\x00" not in text
    assert not text or any(character.isalnum() for character in text)


@given(st.text("ab .!?\"'<>/think\n", max_size=60))
def test_thinking_never_stays(raw):
    text = cut_explanation(f"<think>{raw.replace('</think>', '')}</think>{raw}", OPENING, was_cut=False)
    assert "<think>" not in text
    assert "</think>" not in text
