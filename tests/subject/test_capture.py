import math

import numpy as np
import pytest
import torch

from localexplain.errors import ConfigError, RunError, SubjectError
from localexplain.subject.capture import (
    FLOAT16_LARGEST,
    STATE_TENSORS,
    CaptureState,
    capture_batches,
    choose_random,
    column_ranges,
    load_state,
    n_batches,
    replay,
    save_state,
)
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.topk import EMPTY_EXCERPT
from tests.tiny_subjects import UNITS, random_pool, subject_of, tiny_model, tiny_subject

N_EXCERPTS, LENGTH, BATCH = 37, 8, 5  # the last batch holds two
CONFIG = CaptureConfig(top_k=6, random_excerpts=4, batch_excerpts=BATCH)
BATCHES = range(8)
POOL = random_pool(N_EXCERPTS, LENGTH)
EVERY = {layer: torch.arange(UNITS) for layer in range(3)}
SOME = {0: torch.tensor([3, 11, 39]), 2: torch.tensor([7])}
BOS = 0
CPU = torch.device("cpu")


def brute_force(subject, pool, bos=None, batch=BATCH):
    """layer -> all activations [excerpts, T, units] held in memory, from whole forward passes over the same batches."""
    kept = {site.layer: [] for site in subject.sites}
    handles = [
        site.projection.register_forward_pre_hook(
            lambda module, args, kept=kept[site.layer]: kept.append(args[0].clone())
        )
        for site in subject.sites
    ]
    with torch.inference_mode():
        for first in range(0, len(pool), batch):
            tokens = torch.tensor(pool.token_ids[first : first + batch], dtype=torch.long)
            if bos is not None:
                tokens = torch.cat([torch.full((len(tokens), 1), bos), tokens], 1)
            subject.base(input_ids=tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    return {layer: torch.cat(parts).clone() for layer, parts in kept.items()}


def capture(subject, units=EVERY, *, pool=POOL, bos=None, config=CONFIG, batches=BATCHES, **more):
    return capture_batches(subject, pool, units, bos, config, batches=batches, **more)


def bits(state):
    """All that a state holds, by name, as bytes; the top excerpts as they are ranked, not as they lie in memory."""
    held = {"seen": repr(state.seen)}
    for layer in state.layers:
        for name in ("units", *STATE_TENSORS):
            held[f"{layer.layer} {name}"] = getattr(layer, name)
        held[f"{layer.layer} top values"] = layer.top.values
        held[f"{layer.layer} top excerpts"] = layer.top.excerpts
        held[f"{layer.layer} top activations"] = layer.top.ranked_payload()
        for key, sums in layer.moments.nodes.items():
            held[f"{layer.layer} sums {key}"] = torch.from_numpy(sums)
        held[f"{layer.layer} total"] = torch.from_numpy(layer.moments.total())
    return {
        name: value if isinstance(value, str) else (value.dtype, value.contiguous().view(torch.uint8).numpy().tobytes())
        for name, value in held.items()
    }


@pytest.fixture(scope="module")
def gpt2():
    return tiny_subject("gpt2")


# against a pass that holds everything --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "neox_parallel"])
@pytest.mark.parametrize("bos", [None, BOS])
@pytest.mark.parametrize("units", [EVERY, SOME], ids=["every unit", "some units"])
def test_capture_is_the_brute_force_pass(family, dtype, bos, units):
    subject = subject_of(tiny_model(family).to(getattr(torch, dtype)))
    config = CaptureConfig(top_k=6, random_excerpts=4, batch_excerpts=BATCH, dtype=dtype)
    maxima = {}
    state = capture(
        subject, units, bos=bos, config=config, write_maxima=lambda first, rows: maxima.update({first: rows.copy()})
    )
    held = brute_force(subject, POOL, bos)
    sample = sorted(range(N_EXCERPTS), key=lambda excerpt: int(POOL.hashes[excerpt]))[: 4 + 6]
    assert [layer.layer for layer in state.layers] == sorted(units)
    assert state.seen == [(0, 8)]
    columns = []
    for layer in state.layers:
        all_of_it = held[layer.layer] if bos is None else held[layer.layer][:, 1:]
        activations = all_of_it[..., units[layer.layer]]
        assert activations.shape[1] == LENGTH
        best = activations.float().amax(1)
        columns.append(best)
        for unit in range(len(layer.units)):
            ranked = sorted(range(N_EXCERPTS), key=lambda excerpt: (-best[excerpt, unit].item(), excerpt))[:6]
            assert layer.top.excerpts[unit].tolist() == ranked
            assert layer.top.values[unit].tolist() == best[ranked, unit].tolist()
            assert torch.equal(layer.top.ranked_payload()[unit], activations[ranked, :, unit])
        assert layer.random.dtype == activations.dtype
        assert torch.equal(layer.random, activations[sample].permute(2, 0, 1))
        assert layer.random_seen.all()
        assert torch.equal(layer.positive, (activations > 0).sum((0, 1)))
        assert torch.equal(layer.active, (best > 0).sum(0))
        assert torch.equal(layer.highest, best.amax(0))
        assert torch.equal(layer.lowest, activations.float().amin((0, 1)))
        check_sums(layer.moments.total(), activations)
    assert list(maxima) == list(range(0, N_EXCERPTS, BATCH))
    assert np.array_equal(np.concatenate(list(maxima.values())), torch.cat(columns, 1).half().numpy())


def check_sums(total, activations):
    """Against exact sums; within a batch float32 is summed, so 40 roundings of 6e-8 at most."""
    flat = activations.double().flatten(0, 1).numpy()
    wanted = [math.fsum(column) for column in flat.T] + [math.fsum(column * column) for column in flat.T]
    size = [math.fsum(abs(column)) for column in flat.T] + [math.fsum(column * column) for column in flat.T]
    assert np.all(np.abs(total - wanted) <= 3e-6 * np.array(size))


def test_the_shared_sample_is_the_lowest_hashes_in_their_order():
    wanted = sorted(range(N_EXCERPTS), key=lambda excerpt: int(POOL.hashes[excerpt]))
    assert choose_random(POOL, CONFIG).tolist() == wanted[:10]
    assert choose_random(POOL, CaptureConfig(top_k=30, random_excerpts=30)).tolist() == wanted  # all there are


def test_a_pool_smaller_than_what_is_kept(gpt2):
    pool = random_pool(3, LENGTH)
    state = capture(gpt2, pool=pool, batches=range(1))
    held = brute_force(gpt2, pool)
    assert n_batches(3, CONFIG) == 1
    for layer in state.layers:
        assert layer.random_seen.tolist() == [True] * 3 + [False] * 7
        assert torch.equal(layer.random[:, :3], held[layer.layer][choose_random(pool, CONFIG)].permute(2, 0, 1))
        assert not layer.random[:, 3:].any()
        assert (layer.top.excerpts[:, 3:] == EMPTY_EXCERPT).all()
        assert (layer.top.excerpts[:, :3].sort(1).values == torch.arange(3)).all()


@pytest.mark.parametrize(("n_excerpts", "batches"), [(1, 1), (4, 1), (5, 1), (6, 2), (10, 2), (11, 3)])
def test_number_of_batches(n_excerpts, batches):
    assert n_batches(n_excerpts, CONFIG) == batches


def test_columns_are_the_units_layer_after_layer():
    units = {2: torch.arange(4), 0: torch.arange(3)}
    assert column_ranges(units) == {0: slice(0, 3), 2: slice(3, 7)}


def test_maxima_beyond_16_bit_are_clipped():
    subject = tiny_subject("llama")
    for site in subject.sites:
        site.input_projection.weight *= 1e6
    rows = []
    state = capture(subject, write_maxima=lambda first, found: rows.append(found.copy()))
    maxima = np.concatenate(rows)
    assert np.isfinite(maxima).all()
    assert maxima.max() == FLOAT16_LARGEST
    assert max(layer.highest.max() for layer in state.layers) > 2 * FLOAT16_LARGEST  # kept whole elsewhere


def test_bos_changes_what_is_read_and_is_never_recorded():
    # As real models have it, units that are by far the most active on the first position: here ten of layer 0.
    subject = tiny_subject("gpt2")
    direction = torch.randn(subject.base.wpe.weight.shape[1], generator=torch.Generator().manual_seed(1))
    subject.base.wpe.weight[0] = 50 * direction
    subject.base.h[0].mlp.c_fc.weight[:, :10] = 5 * direction[:, None]
    without, with_bos, with_other = (capture(subject, bos=bos) for bos in (None, BOS, 5))
    assert len({repr(bits(state)) for state in (without, with_bos, with_other)}) == 3
    held = brute_force(subject, POOL, BOS)
    for layer in with_bos.layers:
        at_bos, elsewhere = held[layer.layer][:, 0], held[layer.layer][:, 1:]
        assert layer.layer or (at_bos.amin(0) > 2 * elsewhere.amax((0, 1)))[:10].all()
        assert torch.equal(layer.highest, elsewhere.amax((0, 1)))
        assert torch.equal(layer.positive, (elsewhere > 0).sum((0, 1)))
        assert layer.top.payload.shape[2] == LENGTH


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_activations_that_are_no_numbers_stop_the_capture(value):
    # The old fault: nan is above no maximum, so the excerpt was passed over, and every mean became nan.
    subject = tiny_subject("llama")

    def spoil(module, args):
        if (args[0].shape[0], args[0].shape[1]) == (2, LENGTH):  # the last batch alone
            args[0][1, 3, 7] = value

    subject.sites[1].projection.register_forward_pre_hook(spoil)
    with pytest.raises(SubjectError, match="layer 1 has activations that are not finite, excerpts 35 to 36") as error:
        capture(subject)
    assert "\n" not in str(error.value)


def test_each_batch_is_announced_with_the_state_so_far(gpt2):
    seen = []
    capture(gpt2, SOME, batches=range(2, 6), after_batch=lambda state, batch: seen.append((batch, list(state.seen))))
    assert seen == [(3, [(2, 3)]), (4, [(2, 4)]), (5, [(2, 5)]), (6, [(2, 6)])]


def test_no_hook_is_left_behind():
    subject = tiny_subject()

    def fail(state, batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(subject, after_batch=fail)
    capture(subject)
    replay(subject, POOL, SOME, None, {0: np.array([[1], [2], [3]]), 2: np.array([[-1]])}, CONFIG)
    assert not any(module._forward_pre_hooks for module in subject.base.modules())


# cut, merged, saved, resumed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_cut_in_two_anywhere_and_merged_is_one_run(family, dtype):
    subject = subject_of(tiny_model(family).to(getattr(torch, dtype)))
    config = CaptureConfig(top_k=6, random_excerpts=4, batch_excerpts=BATCH, dtype=dtype)
    whole = bits(capture(subject, config=config))
    for cut in range(1, 8):
        left = capture(subject, config=config, batches=range(cut))
        right = capture(subject, config=config, batches=range(cut, 8))
        assert bits(left.merge(right)) == whole
        assert bits(right.merge(left)) == whole


def test_any_parts_merged_in_any_order_are_one_run(gpt2):
    whole = bits(capture(gpt2, SOME))
    one, two, three, four = (
        capture(gpt2, SOME, batches=part) for part in (range(3), range(3, 4), range(4, 6), range(6, 8))
    )
    assert bits(one.merge(two).merge(three).merge(four)) == whole
    assert bits(four.merge(two).merge(one.merge(three))) == whole
    assert one.merge(three).seen == [(0, 3), (4, 6)]
    assert four.merge(one).merge(three).seen == [(0, 3), (4, 8)]


def test_maxima_of_parts_are_those_of_one_run(gpt2):
    whole, parts = {}, {}
    capture(gpt2, write_maxima=lambda first, rows: whole.update({first: rows.tobytes()}))
    for part in (range(5, 8), range(5)):
        capture(gpt2, batches=part, write_maxima=lambda first, rows: parts.update({first: rows.tobytes()}))
    assert whole == parts


def test_a_batch_seen_twice_is_refused(gpt2):
    left, right = capture(gpt2, SOME, batches=range(4)), capture(gpt2, SOME, batches=range(3, 8))
    with pytest.raises(ValueError, match="both runs saw batch 3"):
        left.merge(right)
    with pytest.raises(ValueError, match="both runs saw batch 0"):
        left.merge(left)


def test_merging_leaves_both_states_as_they_were(gpt2):
    left, right = capture(gpt2, SOME, batches=range(4)), capture(gpt2, SOME, batches=range(4, 8))
    before = bits(left), bits(right)
    left.merge(right)
    assert (bits(left), bits(right)) == before


@pytest.mark.parametrize("seen", range(1, 8))
def test_resumed_from_a_file_is_one_run(gpt2, tmp_path, seen):
    path = tmp_path / "state.pt"
    early = capture(gpt2, batches=range(seen))
    save_state(early, path)
    loaded = load_state(path, CPU)
    assert bits(loaded) == bits(early)
    assert bits(capture(gpt2, batches=range(seen, 8), state=loaded)) == bits(capture(gpt2))


def test_a_merged_state_is_saved_and_goes_on(gpt2, tmp_path):
    merged = capture(gpt2, batches=range(3)).merge(capture(gpt2, batches=range(3, 5)))
    save_state(merged, tmp_path / "state.pt")
    resumed = capture(gpt2, batches=range(5, 8), state=load_state(tmp_path / "state.pt", CPU))
    assert bits(resumed) == bits(capture(gpt2))


def test_saving_replaces_the_old_state_and_leaves_nothing_else(gpt2, tmp_path):
    path = tmp_path / "state.pt"
    save_state(capture(gpt2, SOME, batches=range(1)), path)
    save_state(capture(gpt2, SOME, batches=range(2)), path)
    assert load_state(path, CPU).seen == [(0, 2)]
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


def test_a_state_half_written_does_not_touch_the_old_one(gpt2, tmp_path):
    path = tmp_path / "state.pt"
    good = capture(gpt2, SOME, batches=range(1))
    save_state(good, path)
    broken = CaptureState(good.layers, [(0, 1)])
    broken.seen.append(lambda: None)  # cannot be saved: fails in the middle of writing
    with pytest.raises(Exception, match="pickle"):
        save_state(broken, path)
    assert bits(load_state(path, CPU)) == bits(good)


@pytest.mark.parametrize("kept", [0, 1, 10, 500, 0.3, 0.7, 0.99])
def test_a_state_cut_short_is_refused(gpt2, tmp_path, kept):
    path = tmp_path / "state.pt"
    save_state(capture(gpt2, SOME, batches=range(2)), path)
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(RunError, match=f"^{path}: the saved state of the capture is damaged; delete it") as error:
        load_state(path, CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"not a state", b"\x80\x02}q\x00.", b"PK\x03\x04" + b"\x00" * 99, b"\x00" * 4096])
def test_what_is_no_state_is_refused(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(RunError, match="the saved state of the capture is damaged"):
        load_state(tmp_path / "state.pt", CPU)


def test_another_file_of_torch_is_refused(tmp_path):
    for content in ({"model": torch.zeros(3)}, [1, 2], torch.zeros(3)):
        torch.save(content, tmp_path / "state.pt")
        with pytest.raises(RunError, match="the saved state of the capture is damaged"):
            load_state(tmp_path / "state.pt", CPU)


# replay --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("bos", [None, BOS])
def test_replay_is_the_brute_force_pass(family, bos):
    subject = tiny_subject(family)
    numbers = np.random.default_rng(0)
    wanted = {
        0: np.array([[36, 0, 4], [4, -1, -1], [20, 21, 36]]),  # one excerpt for several units, in any order, and gaps
        2: numbers.permutation(N_EXCERPTS)[None, :9],
    }
    progress = []
    found = replay(subject, POOL, SOME, bos, wanted, CONFIG, progress.append)
    held = brute_force(subject, POOL, bos)
    for layer, ids in wanted.items():
        assert found[layer].dtype == np.float32
        assert found[layer].shape == (*ids.shape, LENGTH)
        for unit, row in enumerate(ids):
            for example, excerpt in enumerate(row):
                if excerpt < 0:
                    assert not found[layer][unit, example].any()
                    continue
                activations = held[layer][excerpt, :, SOME[layer][unit]]
                activations = activations if bos is None else activations[1:]
                assert found[layer][unit, example] == pytest.approx(activations.numpy(), abs=1e-4)
    union = {int(excerpt) for ids in wanted.values() for excerpt in ids.ravel()} - {-1}
    assert sum(progress) == len(union)
    assert max(progress) == BATCH  # only the union is run, in batches as large as those of the pass


def test_replay_of_nothing():
    subject = tiny_subject()
    ran = []
    subject.base.register_forward_pre_hook(lambda module, args: ran.append(1))
    found = replay(subject, POOL, {1: torch.tensor([0, 1])}, None, {1: np.full((2, 3), EMPTY_EXCERPT)}, CONFIG)
    assert found[1].shape == (2, 3, LENGTH)
    assert not found[1].any()
    assert ran == []


# settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("top_k", 0),
        ("batch_excerpts", 0),
        ("checkpoint_batches", -1),
        ("random_excerpts", -1),
        ("stratum_excerpts", -5),
    ],
)
def test_a_setting_out_of_range(key, value):
    # The old fault: an IndexError, a division by zero, a negative shape.
    with pytest.raises(ConfigError, match=f"capture.{key} = {value}: must"):
        CaptureConfig(**{key: value})


def test_without_a_random_sample_or_strata():
    assert CaptureConfig(random_excerpts=0, stratum_excerpts=0).random_pool_excerpts == 20
