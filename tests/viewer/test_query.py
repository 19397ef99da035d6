"""Every state of a page is in its address: it comes back whole, and what is malformed is named."""

from dataclasses import fields
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.viewer.query import (
    HIGHEST_NUMBER,
    LONGEST_EXPLANATION,
    LONGEST_SEARCH,
    LONGEST_TEXT,
    BadAddress,
    ListState,
    PageState,
    SentenceState,
    UnitState,
    read_state,
)

STATES: tuple[type[PageState], ...] = (PageState, ListState, UnitState, SentenceState)
# An address is UTF-8, so it can say any text but half a character; NUL is refused, and "\r\n" is read as "\n".
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=LONGEST_SEARCH)
NUMBERS = st.floats(-1e9, 1e9) | st.floats(-1, 1) | st.integers(-100, 100).map(float)
PAGES = st.integers(1, HIGHEST_NUMBER)
LIST_STATES = st.builds(
    ListState,
    series=PAGES,
    q=TEXTS,
    where=st.sampled_from(["all", "explanations", "tokens"]),
    layer=st.none() | st.integers(0, HIGHEST_NUMBER),
    low=st.none() | NUMBERS,
    high=st.none() | NUMBERS,
    rare=st.none() | NUMBERS,
    frequent=st.none() | NUMBERS,
    explained=st.sampled_from(["all", "yes", "no"]),
    sort=st.sampled_from(["best", "worst", "unit", "frequent", "rare"]),
    page=PAGES,
)
VIEWS = st.sampled_from(["overlay", "beside"])
SCALES = st.sampled_from(["shared", "own"])
UNIT_STATES = st.builds(
    UnitState,
    series=PAGES,
    show=st.integers(0, HIGHEST_NUMBER),
    view=VIEWS,
    scale=SCALES,
    kinds=st.sampled_from(["all", "top", "strata", "random"]),
)
SENTENCE_STATES = st.builds(
    SentenceState, series=PAGES, text=TEXTS, explanation=TEXTS, show=st.integers(0, 9), view=VIEWS, scale=SCALES
)


def parameters_of(link: str) -> dict[str, str]:
    """What a server reads from the query string; a link names nothing twice."""
    pairs = parse_qsl(link, keep_blank_values=True, strict_parsing=bool(link), errors="strict")
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def refused(kind: type[PageState], **parameters: str) -> str:
    """The message, one line of it, that a reader is told."""
    with pytest.raises(BadAddress) as raised:
        read_state(kind, parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# what comes back ------------------------------------------------------------------------------------------------------


@given(LIST_STATES | UNIT_STATES | SENTENCE_STATES)
def test_a_states_link_reads_back_as_the_state(state: PageState) -> None:
    found = read_state(type(state), parameters_of(state.link()))
    assert found == state
    # Equal floats could still be shown otherwise: 0.0 and -0.0 alone differ in their texts.
    assert found.link() == state.link()


@given(LIST_STATES, NUMBERS)
def test_a_link_with_changes_differs_in_these_alone(state: ListState, low: float) -> None:
    found = read_state(ListState, parameters_of(state.link(low=low, page=1)))
    changed = {item.name: getattr(found, item.name) for item in fields(found)}
    kept = {item.name: getattr(state, item.name) for item in fields(state)}
    assert changed == kept | {"low": low, "page": 1}


@given(st.floats(-1e9, 1e9))
def test_a_score_keeps_all_its_digits(low: float) -> None:
    """A limit cut to six digits would leave out the unit whose score was copied into it."""
    assert read_state(ListState, parameters_of(ListState(low=low).link())).low == low


@pytest.mark.parametrize("kind", STATES)
def test_no_parameters_are_the_defaults_and_defaults_are_no_parameters(kind: type[PageState]) -> None:
    assert read_state(kind, {}) == kind()
    assert kind().link() == ""


def test_a_list_state_by_hand() -> None:
    parameters = {
        "series": "2",
        "q": " sea & 100% <b>",
        "where": "tokens",
        "layer": "0",
        "low": "-.5",
        "high": "1e-1",
        "rare": "0",
        "frequent": "12.5",
        "explained": "no",
        "sort": "rare",
        "page": "3",
    }
    state = read_state(ListState, parameters)
    assert state == ListState(
        series=2,
        q=" sea & 100% <b>",
        where="tokens",
        layer=0,
        low=-0.5,
        high=0.1,
        rare=0.0,
        frequent=12.5,
        explained="no",
        sort="rare",
        page=3,
    )
    # 0 is not "none given": a filter on layer 0, or on a score of 0, stays in the address.
    assert state.link() == (
        "series=2&q=+sea+%26+100%25+%3Cb%3E&where=tokens&layer=0&low=-0.5&high=0.1&rare=0&frequent=12.5"
        "&explained=no&sort=rare&page=3"
    )


def test_unit_and_sentence_states_by_hand() -> None:
    """A form sends a line's end as two characters; the text that was typed has one."""
    unit = read_state(UnitState, {"show": "2", "view": "beside", "scale": "own", "kinds": "strata"})
    assert unit == UnitState(series=1, show=2, view="beside", scale="own", kinds="strata")
    assert unit.link(view="overlay", show=0) == "scale=own&kinds=strata"
    sentence = read_state(SentenceState, {"text": "a\r\nb\tc\r", "explanation": "日本 'n' \"q\"", "series": "007"})
    assert sentence == SentenceState(series=7, text="a\nb\tc\r", explanation="日本 'n' \"q\"")


@pytest.mark.parametrize("name", ["q", "layer", "low", "high", "rare", "frequent"])
def test_a_field_that_a_form_sends_empty_is_not_given(name: str) -> None:
    assert read_state(ListState, {name: ""}) == ListState()


# what does not --------------------------------------------------------------------------------------------------------


WHOLE = ["", "-1", "1.5", "1e3", "+1", " 1", "0x1", "1_000", "\u0663", "\u00b2", "9" * 12, "9" * 5000, "1000000001"]
CASES: list[tuple[type[PageState], str, list[str]]] = [
    (PageState, "series", [*WHOLE, "0"]),
    (ListState, "page", [*WHOLE, "0", "one"]),
    (ListState, "layer", [text for text in WHOLE if text]),
    (UnitState, "show", WHOLE),
    (SentenceState, "show", WHOLE),
    (ListState, "low", ["nan", "inf", "-inf", "1e999", "1e10", "0,5", "high", "0.5; DROP TABLE units", "0x1p3"]),
    (ListState, "high", ["NaN", "Infinity", "--1", "."]),
    (ListState, "rare", ["-1e10", "5%"]),
    (ListState, "frequent", ["1e10", "all"]),
    (ListState, "where", ["", "All", "explanation", "all "]),
    (ListState, "explained", ["", "maybe", "YES"]),
    (ListState, "sort", ["", "value DESC", "bEst"]),
    (UnitState, "view", ["", "side", "overlay\x00"]),
    (UnitState, "scale", ["", "None"]),
    (UnitState, "kinds", ["", "stratum", "top,random"]),
    (SentenceState, "view", ["beside "]),
]


@pytest.mark.parametrize(
    ("kind", "name", "text"), [(kind, name, text) for kind, name, texts in CASES for text in texts]
)
def test_a_malformed_value_is_named(kind: type[PageState], name: str, text: str) -> None:
    message = refused(kind, **{name: text})
    assert message.startswith(f"{name}={text[:40]}: must be ")
    assert len(message) < 200


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("name", ["sorted", "Q", "series ", "", "__class__", "link", "token", "x" * 500])
def test_an_unknown_parameter_is_named_beside_those_there_are(kind: type[PageState], name: str) -> None:
    message = refused(kind, **{name: "1"})
    assert message.startswith(f"{name[:40]}: no such parameter here; there are series")
    assert all(item.name in message for item in fields(kind))


def test_a_parameter_of_one_page_is_unknown_on_another() -> None:
    assert refused(UnitState, q="sea").startswith("q: no such parameter")
    assert refused(ListState, view="beside").startswith("view: no such parameter")


@pytest.mark.parametrize(
    ("kind", "name", "longest", "said"),
    [
        (ListState, "q", LONGEST_SEARCH, "q: 201 characters are too many; give at most 200"),
        (SentenceState, "text", LONGEST_TEXT, "text: 4,001 characters are too many; give at most 4,000"),
        (
            SentenceState,
            "explanation",
            LONGEST_EXPLANATION,
            "explanation: 1,001 characters are too many; give at most 1,",
        ),
    ],
)
def test_a_text_may_have_so_many_characters_and_no_more(
    kind: type[PageState], name: str, longest: int, said: str
) -> None:
    text = "日" * longest  # characters, not bytes
    assert getattr(read_state(kind, {name: text}), name) == text
    assert refused(kind, **{name: text + "本"}).startswith(said)


@pytest.mark.parametrize(("kind", "name"), [(ListState, "q"), (SentenceState, "text"), (SentenceState, "explanation")])
@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "sea \udfff", "\ude00\ud83d"])
def test_halves_of_characters_and_nul_are_no_text(kind: type[PageState], name: str, text: str) -> None:
    assert refused(kind, **{name: text}) == f"{name}: holds characters that are no text; leave them out"


@given(st.sampled_from(STATES), st.data())
def test_whatever_is_asked_there_is_a_state_or_the_parameter_is_named(
    kind: type[PageState], data: st.DataObject
) -> None:
    names = [item.name for item in fields(kind)]
    asked = data.draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=9), st.text(max_size=300), max_size=3))
    found, message = None, ""
    try:
        found = read_state(kind, asked)
    except BadAddress as error:
        message = str(error)
    if found is None:
        assert any(message.startswith(name[:40]) for name in asked)
        assert len(message) < 200
    else:
        assert set(asked) <= set(names)
        assert read_state(kind, parameters_of(found.link())) == found
