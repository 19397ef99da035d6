"""The recipe of the subject model: a run that was stopped gives the same weights, and its numbers are true."""

import dataclasses
import json
import math
import signal
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localexplain.errors import ConfigError, CorpusError, UserError
from localexplain.subject.corpus import Document
from localexplain.subject.model import load_subject
from localexplain.train.subject import (
    BLOCK_CHARACTERS,
    SubjectTraining,
    cut_blocks,
    learning_rate_at,
    ngram_losses_nats,
    sample_batch,
    split_blocks,
    train_subject,
)
from tests.cli_process import CliProcess, Ended, run_cli

CYCLE = ["one", "two", "three", "four", "five", "six", "seven"]
SETTINGS: dict[str, Any] = {
    "vocabulary": 300,
    "layers": 1,
    "width": 16,
    "heads": 2,
    "context_tokens": 16,
    "batch_windows": 8,
    "train_tokens": 8 * 16 * 150,
    "learning_rate": 1e-2,
    "warmup_steps": 10,
    "held_out_fraction": 0.3,
    "checkpoint_steps": 30,
}
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 documents that count to seven over and over, from different places on: the next word is certain."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [" ".join(CYCLE[(number + place) % 7] for place in range(300 + number)) for number in range(24)]
    (folder / "a.jsonl").write_text("".join(json.dumps({"body": row}) + "\n" for row in rows))
    return folder


def settings(texts: Path, out: Path, **changes: Any) -> SubjectTraining:
    return SubjectTraining(texts=str(texts), out=str(out), text_field="body", **(SETTINGS | changes))


def train_cli(texts: Path, out: Path) -> list[object]:
    flags = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    return ["train", "subject", "--texts", texts, "--out", out, "--text-field", "body", *flags, "--json"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    folder: Path
    card: dict[str, Any]


@pytest.fixture(scope="module")
def trained(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained in one go, in a process of its own like those that are stopped."""
    root = tmp_path_factory.mktemp("trained")
    done = run_cli(*train_cli(texts, root / "out"), scratch=root)
    assert done.exit_code == 0, done.stderr
    return Trained(folder=root / "out", card=json.loads(done.stdout))


# stopped and resumed --------------------------------------------------------------------------------------------------


def stop_at_first_checkpoint(texts: Path, out: Path, scratch: Path) -> Ended:
    process = CliProcess(train_cli(texts, out), scratch)
    process.wait_for((out / "checkpoint.pt").exists)
    process.send(signal.SIGKILL)
    return process.end()


def test_a_full_disk_and_a_kill_change_no_bit(texts: Path, trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "out"
    full = run_cli(*train_cli(texts, out), scratch=tmp_path, file_bytes=20_000)
    assert full.exit_code == 2
    line = full.stderr.splitlines()[-1]
    assert line.startswith("localexplain: no room left on the disk")
    assert str(out / "checkpoint.pt") in line
    assert "Traceback" not in full.stderr
    assert not (out / "checkpoint.pt").exists()

    killed = stop_at_first_checkpoint(texts, out, tmp_path)
    assert killed.exit_code == -signal.SIGKILL
    assert not (out / WEIGHTS).exists()

    done = run_cli(*train_cli(texts, out), scratch=tmp_path)
    assert done.exit_code == 0
    resumed = [line for line in done.stderr.splitlines() if line.startswith("resumed at step")]
    assert len(resumed) == 1
    assert 30 <= int(resumed[0].split()[3]) < 150
    assert (out / WEIGHTS).read_bytes() == (trained.folder / WEIGHTS).read_bytes()
    assert (out / "tokenizer.json").read_bytes() == (trained.folder / "tokenizer.json").read_bytes()
    assert json.loads(done.stdout) == trained.card
    assert not list(out.glob("*.pt")) + list(out.glob("*.partial"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_finished_folder_is_left_as_it_is(texts: Path, trained: Trained) -> None:
    before = contents(trained.folder)
    lines: list[str] = []
    assert train_subject(settings(texts, trained.folder), lines.append) == trained.card
    assert lines == [f"{trained.folder}: trained already"]
    assert contents(trained.folder) == before


def test_other_settings_on_a_finished_folder_are_refused(texts: Path, trained: Trained) -> None:
    before = contents(trained.folder)
    with pytest.raises(UserError, match="other settings; use another folder"):
        train_subject(settings(texts, trained.folder, seed=2), print)
    assert contents(trained.folder) == before


def test_other_settings_on_a_folder_that_is_begun_are_refused(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert stop_at_first_checkpoint(texts, out, tmp_path).exit_code == -signal.SIGKILL
    before = contents(out)
    for change in ({"seed": 2}, {"learning_rate": 2e-2}, {"train_tokens": 8 * 16 * 200}):
        with pytest.raises(UserError, match="begun with other settings"):
            train_subject(settings(texts, out, **change), lambda line: None)
    assert contents(out) == before


# what came out --------------------------------------------------------------------------------------------------------


def test_the_folder_is_a_subject(trained: Trained) -> None:
    subject = load_subject(trained.folder)
    assert [site.n_units for site in subject.sites] == [64]  # GPT-2's MLP is four times as wide as the model
    assert subject.context_tokens == 16
    assert subject.vocabulary == 300
    assert subject.tokenizer.bos_token_id == 0
    ids = subject.tokenizer("one two three", add_special_tokens=False)["input_ids"]
    assert [subject.texts[token] for token in ids] == ["one", " two", " three"]


def test_the_card_says_what_was_done(texts: Path, trained: Trained) -> None:
    card = trained.card
    assert json.loads((trained.folder / "card.json").read_text()) == card
    # 300 x 16 + 16 x 16 embeddings; a block: norms 2 x 32, attention 16 x 48 + 48 + 16 x 16 + 16, MLP 16 x 64 + 64
    # + 64 x 16 + 16; the last norm 32
    assert card["parameters"] == 4800 + 256 + 64 + 768 + 48 + 256 + 16 + 1024 + 64 + 1024 + 16 + 32
    assert card["training_tokens_seen"] == 8 * 16 * 150
    assert 0 < card["held_out_tokens"] < card["training_tokens_distinct"]
    assert (card["settings"]["texts"], card["settings"]["out"]) == (texts.name, "out")  # no path of this machine
    assert {key: card["settings"][key] for key in SETTINGS} == SETTINGS


def test_the_model_learns_what_is_certain(trained: Trained) -> None:
    """Seven words equally often: a unigram model is near ln 7 = 1.95 nats; a bigram model is near 0, for each word has
    one follower, and so is the transformer."""
    card = trained.card
    assert card["unigram_loss_nats"] == pytest.approx(math.log(7), abs=0.4)
    assert card["bigram_loss_nats"] < 0.2
    assert card["held_out_loss_nats"] < 0.5 * card["unigram_loss_nats"]


# baselines ------------------------------------------------------------------------------------------------------------


def stream(ids: list[int]) -> np.ndarray:
    return np.array(ids, dtype=np.uint16)


def loss_of(train: list[int], window: list[int], vocabulary: int) -> dict[str, float]:
    return ngram_losses_nats(stream(train), np.array([window], dtype=np.int64), vocabulary)


def test_baselines_are_those_counted_by_hand() -> None:
    """Stream 0 1 0 1 0 2 over three tokens. Add-one counts are 4, 3, 2 of 9. Of the five pairs three begin with 0
    (1 twice, 2 once: two followers) and two with 1 (0 twice: one follower); 2 begins none.

    p(1|0) = (2 + 2 x 3/9) / (3 + 2) = 8/15     p(0|1) = (2 + 1 x 4/9) / (2 + 1) = 22/27
    p(2|1) = (0 + 1 x 2/9) / (2 + 1) = 2/27     p(0|2) = p(0) = 4/9
    """
    train = [0, 1, 0, 1, 0, 2]
    found = loss_of(train, [0, 1, 0], 3)
    assert found["unigram_loss_nats"] == pytest.approx(-(math.log(3 / 9) + math.log(4 / 9)) / 2)
    assert found["bigram_loss_nats"] == pytest.approx(-(math.log(8 / 15) + math.log(22 / 27)) / 2)
    assert loss_of(train, [1, 2], 3)["bigram_loss_nats"] == pytest.approx(-math.log(2 / 27))
    assert loss_of(train, [2, 0], 3)["bigram_loss_nats"] == pytest.approx(-math.log(4 / 9))


TOKENS = st.integers(0, 5)


@given(train=st.lists(TOKENS, min_size=2, max_size=40), window=st.lists(TOKENS, min_size=2, max_size=10))
def test_baselines_are_those_of_a_plain_count(train: list[int], window: list[int]) -> None:
    counts = Counter(train)
    followers: dict[int, Counter[int]] = defaultdict(Counter)
    for first, second in pairwise(train):
        followers[first][second] += 1
    unigram = {token: (counts[token] + 1) / (len(train) + 6) for token in range(6)}
    losses = []
    for first, second in pairwise(window):
        after = followers[first]
        kinds, total = len(after), after.total()
        share = (after[second] + kinds * unigram[second]) / (total + kinds) if total else unigram[second]
        losses.append(-math.log(share))
    found = loss_of(train, window, 6)
    assert found["bigram_loss_nats"] == pytest.approx(np.mean(losses))
    assert found["unigram_loss_nats"] == pytest.approx(np.mean([-math.log(unigram[token]) for token in window[1:]]))


@given(train=st.lists(TOKENS, min_size=2, max_size=40), first=TOKENS)
def test_a_bigram_s_followers_sum_to_one(train: list[int], first: int) -> None:
    shares = [math.exp(-loss_of(train, [first, second], 6)["bigram_loss_nats"]) for second in range(6)]
    assert sum(shares) == pytest.approx(1)


# data -----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=50).map(lambda line: line * 300), max_size=8))
def test_blocks_are_the_document_and_long_enough(lines: list[str]) -> None:
    text = "\n".join(lines)
    blocks = list(cut_blocks(Document(document_id="a", text=text)))
    assert "".join(blocks) == text
    assert all(len(block) >= BLOCK_CHARACTERS for block in blocks[:-1])
    # without its last line a block would be too short
    assert all(len("".join(block.splitlines(keepends=True)[:-1])) < BLOCK_CHARACTERS for block in blocks)


def test_where_a_block_goes_does_not_hang_on_the_others() -> None:
    blocks = [f"block {number}" for number in range(200)]
    train, held_out = split_blocks(blocks, 0.2, seed=1)
    assert sorted(train + held_out) == sorted(blocks)
    assert 20 <= len(held_out) <= 60  # 40 expected; 3.5 standard deviations either way
    fewer_train, fewer_held_out = split_blocks(blocks[::2], 0.2, seed=1)
    assert set(fewer_train) <= set(train)
    assert set(fewer_held_out) <= set(held_out)
    assert split_blocks(blocks, 0.2, seed=2)[1] != held_out


def test_a_step_s_batch_is_drawn_from_seed_and_step_alone(texts: Path) -> None:
    config = settings(texts, texts)
    ids = stream(list(range(500)))
    batch = sample_batch(ids, 7, config)
    assert batch.shape == (8, 17)
    assert (np.diff(batch, axis=1) == 1).all()  # windows of the stream, in its order
    assert (sample_batch(ids, 7, config) == batch).all()
    assert (sample_batch(ids, 8, config) != batch).any()
    assert (sample_batch(ids, 7, dataclasses.replace(config, seed=2)) != batch).any()


def test_the_learning_rate_rises_and_falls_to_a_tenth(texts: Path) -> None:
    config = settings(texts, texts, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate_at(step, 150, config) for step in range(151)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[150] == pytest.approx(0.1)


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        *(({name: 0}, name) for name in ("layers", "width", "heads", "context_tokens", "batch_windows")),
        *(({name: 0}, name) for name in ("train_tokens", "checkpoint_steps", "held_out_fraction")),
        *(({name: -1}, name) for name in ("learning_rate", "warmup_steps", "weight_decay", "seed")),
        ({"held_out_fraction": 1.0}, "held_out_fraction"),
        ({"vocabulary": 256}, "vocabulary"),
        ({"vocabulary": 65537}, "vocabulary"),
        ({"heads": 3}, "heads"),
    ],
)
def test_a_setting_out_of_range_is_named(changes: dict[str, Any], named: str, texts: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        settings(texts, texts, **changes)


def test_too_little_text_is_named(tmp_path: Path) -> None:
    for name, text in (("none", " "), ("one", "one block alone cannot be split")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(text)
        with pytest.raises(CorpusError, match=f"{name}: too little text"):
            train_subject(settings(tmp_path / name, tmp_path / "out"), print)


def test_an_out_folder_that_cannot_be_is_named(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file: cannot be made a folder"):
        train_subject(settings(texts, tmp_path / "file"), print)
