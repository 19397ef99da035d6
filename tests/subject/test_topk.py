import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import localexplain.subject.topk as topk
from localexplain.subject.topk import EMPTY_EXCERPT, MomentTree, TopExcerpts

UNITS, LENGTH = 7, 3
FEW = settings(deadline=None, max_examples=60)


def stream(n_excerpts, levels, seed, dtype=torch.float32):
    """Activations [excerpts, T, units], of a few levels, so that many maxima are equal."""
    numbers = np.random.default_rng(seed).integers(-levels, levels + 1, (n_excerpts, LENGTH, UNITS))
    return torch.from_numpy(numbers / 4).to(dtype)


def brute_force(activations, top_k):
    """unit -> [(maximum, excerpt id, activations)], best first, ties to the lower id."""
    best = []
    for unit in range(activations.shape[2]):
        rows = [(activations[i, :, unit].max().item(), i) for i in range(len(activations))]
        rows.sort(key=lambda row: (-row[0], row[1]))
        best.append([(value, i, activations[i, :, unit].tolist()) for value, i in rows[:top_k]])
    return best


def run(activations, top_k, first, sizes, state=None):
    """Takes in activations[first:] in batches of these sizes, again and again."""
    state = state or TopExcerpts.empty(UNITS, top_k, LENGTH, activations.dtype)
    place = 0
    while first < len(activations):
        batch = activations[first : first + sizes[place % len(sizes)]]
        state.update(batch.float().amax(1), first, batch)
        first += len(batch)
        place += 1
    return state


def part(activations, top_k, first, end, sizes):
    return run(activations[:end], top_k, first, sizes)


def listed(state):
    rows = zip(state.values.tolist(), state.excerpts.tolist(), state.ranked_payload().tolist(), strict=True)
    return [list(zip(*unit, strict=True)) for unit in rows]


def filled(state):
    return [[entry for entry in unit if entry[1] != EMPTY_EXCERPT] for unit in listed(state)]


def same_bits(left, right):
    return all(
        torch.equal(mine, theirs)
        for mine, theirs in (
            (left.values, right.values),
            (left.excerpts, right.excerpts),
            (left.ranked_payload(), right.ranked_payload()),
        )
    )


@FEW
@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(0, 6),
    st.integers(0, 10**6),
    st.lists(st.integers(1, 11), min_size=1, max_size=4),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_top_excerpts_are_those_of_a_sort(n_excerpts, top_k, levels, seed, sizes, dtype):
    activations = stream(n_excerpts, levels, seed, dtype)
    state = run(activations, top_k, 0, sizes)
    assert state.payload.dtype == dtype
    assert filled(state) == brute_force(activations, top_k)
    missing = max(0, top_k - n_excerpts)
    assert (state.excerpts == EMPTY_EXCERPT).sum(1).tolist() == [missing] * UNITS
    assert (state.values == -math.inf).sum(1).tolist() == [missing] * UNITS
    assert state.slots.sort(1).values.tolist() == [list(range(top_k))] * UNITS  # no slot is used twice or lost


@FEW
@given(
    st.integers(2, 40),
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(0, 10**6),
    st.lists(st.integers(1, 39), min_size=1, max_size=3),
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.randoms(),
)
def test_parts_merged_in_any_order_are_one_run(n_excerpts, top_k, levels, seed, cuts, sizes, random):
    activations = stream(n_excerpts, levels, seed)
    whole = run(activations, top_k, 0, [5])
    ends = sorted({*(cut % n_excerpts for cut in cuts), n_excerpts} - {0})
    parts = [part(activations, top_k, first, end, sizes) for first, end in zip([0, *ends[:-1]], ends, strict=True)]
    random.shuffle(parts)
    while len(parts) > 1:  # any two of them, so that merging is tried as associative too
        other = parts.pop(random.randrange(len(parts)))
        mine = parts.pop(random.randrange(len(parts)))
        parts.append(mine.merge(other))
    assert same_bits(parts[0], whole)


@FEW
@given(st.integers(3, 40), st.integers(1, 9), st.integers(0, 10**6), st.integers(1, 38), st.integers(1, 39))
def test_a_merged_state_takes_in_more(n_excerpts, top_k, seed, first_cut, second_cut):
    activations = stream(n_excerpts, 3, seed)
    a, b = sorted((min(first_cut, n_excerpts - 1), min(second_cut, n_excerpts)))
    merged = part(activations, top_k, 0, a, [4]).merge(part(activations, top_k, a, b, [3]))
    assert same_bits(run(activations, top_k, b, [2], merged), run(activations, top_k, 0, [6]))


def test_merging_leaves_both_states_as_they_were():
    activations = stream(20, 3, 0)
    left, right = part(activations, 4, 0, 12, [5]), part(activations, 4, 12, 20, [5])
    before = listed(left), listed(right)
    left.merge(right)
    assert (listed(left), listed(right)) == before


def test_copying_excerpt_by_excerpt_copies_the_same(monkeypatch):
    # Both ways of copying, on a stream of 300 excerpts in which nearly every batch replaces something.
    activations = stream(300, 40, 1)
    pairwise = run(activations, 8, 0, [32])
    monkeypatch.setattr(topk, "FEW_COPIES", 0)
    assert same_bits(run(activations, 8, 0, [32]), pairwise)
    assert filled(pairwise) == brute_force(activations, 8)


def test_payload_stays_where_it_was_written():
    # What the slots are for: a rank that moves down costs an index, not a copy.
    state = TopExcerpts.empty(1, 3, 1, torch.float32)
    for excerpt, value in enumerate([1.0, 2.0, 3.0]):
        state.update(torch.tensor([[value]]), excerpt, torch.tensor([[[value]]]))
    placed = state.payload.clone()
    state.update(torch.tensor([[2.5]]), 3, torch.tensor([[[2.5]]]))  # 1.0 leaves; 3.0 and 2.0 must not move
    assert (state.payload == placed).sum() == 2
    assert state.ranked_payload().flatten().tolist() == [3.0, 2.5, 2.0]
    assert state.excerpts.tolist() == [[2, 3, 1]]


# sums ----------------------------------------------------------------------------------------------------------------


def sums_of(n_batches, seed):
    """Sums of very different sizes, where the order of additions shows in the last bits."""
    numbers = np.random.default_rng(seed)
    return numbers.standard_normal((n_batches, 3)) * 10.0 ** numbers.integers(-8, 9, (n_batches, 3))


def tree_of(sums, batches):
    tree = MomentTree({})
    for batch in batches:
        tree.add(batch, sums[batch])
    return tree


@FEW
@given(st.integers(1, 200), st.integers(0, 10**6), st.integers(1, 6), st.booleans(), st.randoms())
def test_any_partition_gives_the_same_bits(n_batches, seed, n_parts, contiguous, random):
    sums = sums_of(n_batches, seed)
    batches = list(range(n_batches))
    if contiguous:
        cuts = sorted(random.randrange(n_batches + 1) for _ in range(n_parts - 1))
        parts = [batches[a:b] for a, b in zip([0, *cuts], [*cuts, n_batches], strict=True)]
    else:
        owner = [random.randrange(n_parts) for _ in batches]
        parts = [[batch for batch in batches if owner[batch] == part] for part in range(n_parts)]
    trees = [tree_of(sums, part) for part in parts]
    random.shuffle(trees)
    merged = trees[0]
    for tree in trees[1:]:
        merged = merged.merge(tree)
    whole = tree_of(sums, batches)
    assert merged.total().tobytes() == whole.total().tobytes()
    assert sorted(merged.nodes) == sorted(whole.nodes)


def test_a_running_sum_would_not_give_the_same_bits():
    # The sums above do show the order: otherwise the test of partitions would show nothing.
    sums = sums_of(100, 0)
    left, right = sums[:37].sum(0), sums[37:].sum(0)
    assert (left + right).tobytes() != np.cumsum(sums, axis=0)[-1].tobytes()


@FEW
@given(st.integers(1, 300), st.integers(0, 10**6))
def test_the_total_is_the_exact_sum(n_batches, seed):
    sums = sums_of(n_batches, seed)
    exact = np.array([math.fsum(column) for column in sums.T])
    size = np.array([math.fsum(map(abs, column)) for column in sums.T])
    assert np.all(np.abs(tree_of(sums, range(n_batches)).total() - exact) <= 1e-12 * size)


@given(st.integers(1, 3000), st.integers(0, 5000))
def test_nodes_grow_with_the_logarithm(n_batches, first):
    # From batch 0: one node for each 1 in the binary number. From anywhere: two a level at most.
    tree, elsewhere = MomentTree({}), MomentTree({})
    for batch in range(n_batches):
        tree.add(batch, np.zeros(1))
        elsewhere.add(first + batch, np.zeros(1))
        if batch % 97 == 0 or batch == n_batches - 1:
            assert len(tree.nodes) == (batch + 1).bit_count()
            assert len(elsewhere.nodes) <= 2 * (batch + 1).bit_length()


def test_nodes_hold_the_batches_they_say():
    # Batches 0 to 6, each adding one bit: 0-3, 4-5, 6.
    tree = MomentTree({})
    for batch in range(7):
        tree.add(batch, np.array([2.0**batch]))
    assert {key: value.item() for key, value in tree.nodes.items()} == {(2, 0): 15, (1, 2): 48, (0, 6): 64}
    assert tree.total().tolist() == [127]


def test_totals_and_merges_leave_the_tree_as_it_was():
    sums = sums_of(11, 0)
    tree, other = tree_of(sums, range(6)), tree_of(sums, range(6, 11))
    before = {key: value.copy() for key, value in tree.nodes.items()}
    first = tree.total()
    first += 1
    tree.merge(other)
    assert sorted(tree.nodes) == sorted(before)
    assert all(np.array_equal(tree.nodes[key], before[key]) for key in before)
    assert tree.total().tobytes() == tree.total().tobytes() != first.tobytes()


@pytest.mark.parametrize("n_batches", [1, 2, 3, 1000])
def test_the_sums_given_are_not_changed(n_batches):
    sums = sums_of(n_batches, 0)
    before = sums.copy()
    tree_of(sums, range(n_batches)).total()
    assert np.array_equal(sums, before)
