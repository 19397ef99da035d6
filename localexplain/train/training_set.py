"""The training set of an explainer on disk: made once, resumable, shared by all sizes.

    texts ──begin_data──> tokenizer, token stream, passages, real units ──write_shard, by number──> shards

A shard depends on its own number and the settings alone, so several processes make them in any order.
"""

import hashlib
import json
import math
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from localexplain.errors import CorpusError, UserError
from localexplain.files import write_whole
from localexplain.planted.bed import read_bed
from localexplain.planted.puzzles import read_puzzles
from localexplain.resources import model_folder
from localexplain.subject.corpus import Document, read_documents
from localexplain.train.dataset import STAGES, Stage
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.subject import cut_blocks, encode_stream, split_blocks, train_tokenizer

UNSEEN_SHARE = 0.01  # of the blocks of text, kept out by hash
FEWEST_PASSAGES = 100
NUMBERED = 128  # numbers up to it are single tokens, the levels 0 to 10 among them, which must be
NUMBER_LINES = 400  # how often the tokenizer's training text counts up to it
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json")  # of a model to start from
DATA_FIELDS = (
    "start", "subject", "text_field", "vocabulary", "text_tokens", "easy_tokens", "distinct_tokens", "shard_tokens",
    "real_excerpts", "seed",
)  # fmt: skip


def held_out_words() -> frozenset[str]:
    """The words of the bed's concepts and of the puzzles' active tokens, lower case: words of three letters or more,
    and phrases of two words."""
    words = {word.lower() for item in read_bed() for word in item.concept.words}
    for puzzle in read_puzzles():
        for sentence in puzzle.sentences:
            active = zip(sentence.tokens, sentence.activations.tolist(), strict=True)
            words |= {token.strip().lower() for token, level in active if level > 0}
    phrases = {pair for item in read_bed() for pair in bed_phrases(item.concept.explanations)}
    return frozenset(word for word in words if len(word) > 2 and word.isalpha()) | phrases


def bed_phrases(explanations: Sequence[str]) -> set[str]:
    """The quoted phrases of two words in a concept's explanations.

    >>> bed_phrases(['the words "as if"', 'as if'])
    {'as if'}
    """
    quoted = [match.lower() for text in explanations for match in re.findall(r'"([^"]+)"', text)]
    return {phrase for phrase in quoted if len(phrase.split()) == 2}


def held_out_texts() -> list[str]:
    texts = [text for item in read_bed() for text in item.texts]
    return texts + ["".join(sentence.tokens) for puzzle in read_puzzles() for sentence in puzzle.sentences]


def hash_held_out() -> str:
    """A hash of the held-out words and texts: what a training set was kept clear of."""
    parts = json.dumps([sorted(held_out_words()), sorted(held_out_texts())])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def describe_data(settings: ExplainerTraining) -> dict[str, Any]:
    own = {name: getattr(settings, name) for name in DATA_FIELDS}
    own["start"] = hash_tokenizer(settings)
    return own | {"texts": Path(settings.texts).name, "held_out": hash_held_out()}


def hash_tokenizer(settings: ExplainerTraining) -> str:
    """Of the model to start from, whatever its size: those that share it share a training set. "" for none.

    Raises UserError where there is no such model.
    """
    if not settings.start:
        return ""
    folder = model_folder(settings.start)
    if not all((folder / name).is_file() for name in MODEL_FILES):
        raise UserError(f"{folder}: no model to start from; name one of this recipe, or its folder")
    return hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()[:16]


def shard_numbers(settings: ExplainerTraining, stage: Stage) -> range:
    tokens = {
        "text": settings.text_tokens,
        "easy": settings.easy_tokens,
        "all": settings.distinct_tokens if settings.all_tokens else 0,
        "grid": settings.grid_tokens,
    }[stage]
    return range(math.ceil(tokens / settings.shard_tokens))


def shard_path(settings: ExplainerTraining, stage: Stage, number: int) -> Path:
    """In the data folder; what the start model taught is in the model's own."""
    folder = Path(settings.out) / "taught" if stage == "grid" else settings.data_folder
    return folder / f"{stage}-{number:03d}.npz"


def read_texts(settings: ExplainerTraining) -> tuple[list[Document], list[Any]]:
    """The documents, glosses of synsets among them, and the synsets."""
    from localexplain.train.wordnet import read_synsets

    folder = Path(settings.texts)
    path = folder / "wordnet.jsonl"
    synsets = read_synsets(path) if path.is_file() else []
    documents = [
        document
        for document in read_documents(folder, f"{settings.text_field},definition" if synsets else settings.text_field)
        if not document.document_id.startswith("wordnet.jsonl")
    ]
    return documents, synsets


def gloss(synset: Any) -> str:
    return f"{', '.join(synset.words)}: {synset.definition}. {'. '.join(synset.examples)}"


def make_tokenizer(settings: ExplainerTraining, blocks: Sequence[str], glosses: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer in which levels, small numbers and the words of the prompts are single tokens."""
    counting = " ".join(str(number) for number in range(NUMBERED + 1))
    labels = "".join(f"\n{number}:{number % 11}" for number in range(NUMBERED + 1))
    form = "\nactive: \nneuron: \nlevels: \nfits: yes no"
    return train_tokenizer([*blocks, *glosses, *([counting, labels, form] * NUMBER_LINES)], settings.vocabulary)


def copy_tokenizer(model: Path, folder: Path) -> Any:
    """The model's tokenizer, its files copied as they are: written anew they would say how they were loaded."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(model / name, folder / name)
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def prepare_data(settings: ExplainerTraining, report: Callable[[str], None] = print) -> Path:
    """Makes, or goes on making, the training set; returns its folder.

    Raises UserError when the folder holds one made with other settings, or there is no model where one is to be started
    from; CorpusError for texts that are too short.
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    folder = settings.data_folder
    described = describe_data(settings)
    about = folder / "data.json"
    if about.exists() and json.loads(about.read_text(encoding="utf-8")) != described:
        raise UserError(f"{folder}: holds a training set made with other settings; use another folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not about.exists():
        begin_data(settings, folder, report)
        write_whole(about, json.dumps(described, indent=2) + "\n")
    wanted = [
        (settings, stage, number)
        for stage in STAGES
        for number in shard_numbers(settings, stage)
        if not shard_path(settings, stage, number).exists()
    ]
    if not wanted:
        return folder
    report(f"making {len(wanted)} shards of examples in {settings.processes} processes")
    with ProcessPoolExecutor(settings.processes, mp_context=get_context("spawn")) as pool:
        for number, line in enumerate(pool.map(write_shard, wanted), start=1):
            report(f"{line} ({number} of {len(wanted)})")
    return folder


def begin_data(settings: ExplainerTraining, folder: Path, report: Callable[[str], None]) -> None:
    """Tokenizer, token stream, passages and real units: what every shard is made from."""
    from localexplain.train.passages import cut_passages, without_shared
    from localexplain.train.records import capture_units

    documents, synsets = read_texts(settings)
    held_out = held_out_texts()
    synsets = [replace(synset, examples=tuple(without_shared(synset.examples, held_out))) for synset in synsets]
    glosses = without_shared([gloss(synset) for synset in synsets], held_out)
    blocks = [block for document in documents for block in cut_blocks(document)]
    train_blocks, _ = split_blocks(blocks, UNSEEN_SHARE, settings.seed)
    train_blocks = without_shared(train_blocks, held_out)
    random = np.random.default_rng(settings.seed)
    passages = [passage for block in train_blocks for passage in cut_passages(block, random)]
    examples = [text for synset in synsets for text in synset.examples]
    passages += [". ".join(examples[start : start + 3]) for start in range(0, len(examples) - 2, 3)]
    if len(passages) < FEWEST_PASSAGES:
        raise CorpusError(f"{settings.texts}: {len(passages)} passages are too few to train on; give more text")
    kept = without_shared(passages, held_out)
    report(f"{len(kept):,} passages, {len(synsets):,} synsets, kept clear of {len(held_out):,} held-out texts")
    if settings.start:
        tokenizer = copy_tokenizer(model_folder(settings.start), folder / "tokenizer")
    else:
        tokenizer = make_tokenizer(settings, train_blocks, glosses)
        tokenizer.save_pretrained(folder / "tokenizer")
    np.save(folder / "stream.npy", encode_stream([*train_blocks, *glosses], tokenizer))
    units = []
    if settings.subject:
        subject = model_folder(settings.subject)
        train_documents = [Document(document_id=str(n), text=block) for n, block in enumerate(train_blocks)]
        units = capture_units(subject, train_documents, settings.real_excerpts, settings.seed, held_out_words())
        report(f"{len(units):,} real units of {subject.name} that a listing of words fits")
    with (folder / "source.partial").open("wb") as file:
        pickle.dump({"passages": kept, "synsets": synsets, "units": units}, file)
    os.replace(folder / "source.partial", folder / "source.pickle")


@lru_cache(maxsize=1)
def load_source(folder: Path, subject: str, teacher: str) -> Any:
    """What `begin_data` wrote, ready to make shards: loaded once in a process. `teacher`: the model whose expected
    values the grids are of; "" for the true levels."""
    from localexplain.engines.tokenizer import HuggingFaceTokenizer
    from localexplain.train.dataset import ExampleSource, word_pieces
    from localexplain.train.examples import ExampleWriter
    from localexplain.train.passages import Passages
    from localexplain.train.source import ConceptSource
    from localexplain.train.taught import TaughtWriter, load_teacher

    with (folder / "source.pickle").open("rb") as file:
        source = pickle.load(file)
    concepts = ConceptSource(Passages.of(source["passages"]), source["synsets"], held_out_words())
    tokenizer = HuggingFaceTokenizer.load(folder / "tokenizer")
    writer = TaughtWriter(tokenizer, load_teacher(model_folder(teacher))) if teacher else ExampleWriter(tokenizer)
    cut = HuggingFaceTokenizer.load(model_folder(subject)).cut if subject else word_pieces
    return ExampleSource(concepts, writer, cut, source["units"])


def write_shard(item: tuple[ExplainerTraining, Stage, int]) -> str:
    """Makes one shard; whole or not at all. Returns what was made, in words."""
    from localexplain.train.dataset import make_shard
    from localexplain.train.examples import pack

    settings, stage, number = item
    began = time.monotonic()
    source = load_source(settings.data_folder, settings.subject, settings.start if stage == "grid" else "")
    examples = make_shard(source, stage, number, settings.shard_tokens, settings.seed)
    path = shard_path(settings, stage, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".partial.npz")
    np.savez(scratch, allow_pickle=False, **pack(examples))
    os.replace(scratch, path)
    return f"{path.name}: {len(examples):,} examples in {time.monotonic() - began:.0f} s"
