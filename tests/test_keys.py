import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localexplain.keys import canonical_json, key_of
from localexplain.types import Identity

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    numbers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner


@settings(deadline=None)
@given(JSON)
def test_canonical_json_reads_back(value):
    assert json.loads(canonical_json(value)) == value


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.integers(), min_size=2), st.randoms())
def test_the_order_of_a_mapping_does_not_count(mapping, random):
    items = list(mapping.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(mapping)
    assert key_of(dict(items)) == key_of(mapping)


@settings(deadline=None)
@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4))
def test_keys_are_equal_exactly_where_the_parts_are(left, right):
    # Compared as JSON, where true is not 1 and 1.0 is not 1.
    assert (key_of(*left) == key_of(*right)) == (list(map(canonical_json, left)) == list(map(canonical_json, right)))


def test_parts_do_not_run_into_each_other():
    keys = {key_of("a", "b"), key_of("a\nb"), key_of(["a", "b"]), key_of("ab"), key_of("a", "b", ""), key_of('a"\n"b')}
    assert len(keys) == 6


def test_a_dataclass_is_its_fields_at_any_depth():
    value = Outer(name="x", inner=Inner(numbers=(1, 2)))
    assert canonical_json(value) == '{"inner":{"numbers":[1,2]},"name":"x"}'
    assert key_of(value) != key_of(Outer(name="x", inner=Inner(numbers=(1, 3))))
    assert key_of(value) != key_of(Outer(name="y", inner=Inner(numbers=(1, 2))))


def test_keys_stay_what_they_are_from_release_to_release():
    # blake2b with a digest of 16 bytes, over `"capture"` newline `{"name":"é","seed":0}` in UTF-8; a changed key would
    # make every stored run a stranger.
    #   printf '"capture"\n{"name":"é","seed":0}' | b2sum -l 128
    assert key_of("capture", {"seed": 0, "name": "é"}) == "a990aebbbd7b84a5f5e57a86cb93d209"
    assert len(key_of()) == 32


def test_an_identity_that_differs_in_one_detail_has_another_key():
    one = Identity(kind="subject", name="m", details=(("dtype", "float32"),))
    assert key_of(one) == key_of(Identity(kind="subject", name="m", details=(("dtype", "float32"),)))
    assert key_of(one) != key_of(Identity(kind="subject", name="m", details=(("dtype", "float16"),)))


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError):
        key_of({1, 2})
    with pytest.raises(TypeError):
        key_of(Outer)
