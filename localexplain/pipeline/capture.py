"""Stage 1: texts and subject model -> excerpts, units with statistics, records.

A run folder has one capture. Its key is a hash of the subject's files, the texts' files and the settings; the same
call again does nothing, another one is refused.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float16, Float32, Int64

from localexplain.carry.manifest import FileEntry
from localexplain.errors import RunError, UserError
from localexplain.keys import canonical_json, key_of
from localexplain.modelfiles import hash_model_folder, hash_once
from localexplain.pipeline.capture_rows import excerpt_rows, in_unit_order, kind_rows, pick_excerpts, unit_rows
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.reading import CAPTURE_STATE_FILE, find_capture, require_capture
from localexplain.pipeline.run import Run, store_model, timed_stage
from localexplain.pipeline.used import UsedModel, list_differences, used_model
from localexplain.resources import resource
from localexplain.store.rows import matrix
from localexplain.store.store import explain_failure
from localexplain.subject.capture_config import CaptureConfig
from localexplain.subject.corpus import CorpusConfig, Document, ExcerptPool, corpus_files, cut_excerpts, read_documents
from localexplain.subject.select import RANDOM_SPLITS, STRATUM_ENDS, TOP_SPLITS, choose_units, select_strata
from localexplain.types import Unit

if TYPE_CHECKING:
    import torch

    from localexplain.subject.capture import CaptureState
    from localexplain.subject.model import Subject

MAXIMA_FILE = "maxima.f16"  # [excerpts, units] float16, row by row; kept, for exact quantiles and histograms
RECORDS_PER_COMMIT = 200_000  # rows of 64 tokens, about 50 MB
STRATA_CELLS = 4_000_000  # excerpts x units ranked at a time, so that the memory does not grow with the texts


def corpus_path(config: CorpusConfig) -> Path:
    return resource("eval", "demo-texts") if config.path == "demo" else Path(config.path)


def hash_corpus(path: Path) -> str:
    """One hash over the names and the contents of the text files."""
    root = path if path.is_dir() else path.parent
    files = corpus_files(path)
    hashes = hash_once(files)
    return key_of([(file.relative_to(root).as_posix(), hashes[file]) for file in files])


def describe_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that determine the capture, by name; where it runs and where the texts lie are not among them."""
    corpus = asdict(config.corpus)
    corpus.pop("path")
    capture = asdict(config.capture)
    for shell in ("device", "checkpoint_batches"):
        capture.pop(shell)
    return {"corpus settings": corpus, "capture settings": capture, "seed": config.seed}


def describe_capture(config: RunConfig) -> dict[str, Any]:
    """All that determines the capture, by name."""
    folder = used_model(config.subject, "subject").folder
    files = {"subject": hash_model_folder(folder), "texts": hash_corpus(corpus_path(config.corpus))}
    return files | describe_settings(config)


def check_same(found: dict[str, Any], wanted: dict[str, Any], folder: Path, subject_files: str = "") -> None:
    """Raises RunError, naming what differs, when the folder's capture is another one. `subject_files` says which of the
    subject's files do, "" where nobody knows."""
    stored = json.loads(found["config"])
    differing = [name for name in wanted if stored[name] != json.loads(canonical_json(wanted[name]))]
    if not differing:
        return
    words = [f"{name} ({subject_files})" if name == "subject" and subject_files else name for name in differing]
    raise RunError(f"{folder}: this run was made with another {' and another '.join(words)}; use a new run folder")


def differing_files(run: Run, found: dict[str, Any], used: UsedModel) -> str:
    """Which of the subject's files are others than those of the capture, in words; "" where the run does not know."""
    before = run.store.query("model_files", model_key=found["model_key"]).to_pylist()
    return list_differences([FileEntry(**row) for row in before], used.files) if before else ""


def check_settings(run: Run, config: RunConfig) -> None:
    """For the stages after the capture, which go on without its texts. Raises RunError when it is not finished, or was
    made with other settings than these."""
    check_same(require_capture(run), describe_settings(config), run.folder)


# excerpts ------------------------------------------------------------------------------------------------------------


def read_pool(run: Run) -> ExcerptPool:
    """The pool as the store holds it; documents are not needed any more."""
    rows = run.store.sql("SELECT hash, token_ids, offset_tokens FROM excerpts ORDER BY excerpt_id")
    n = rows.num_rows
    return ExcerptPool(
        token_ids=matrix(rows.column("token_ids"), "int32"),
        document=np.zeros(n, dtype=np.int32),
        offset=rows.column("offset_tokens").to_numpy(),
        hashes=rows.column("hash").to_numpy(),
        document_ids=("",),
        n_duplicates=0,
    )


def begin_capture(run: Run, config: RunConfig, subject: "Subject", used: UsedModel, described: dict[str, Any]) -> None:
    """Cuts the texts and stores the excerpts and the capture's row, together."""
    from localexplain.subject.model import bos_token, encode_text

    bos = bos_token(subject, config.corpus.bos)
    room = subject.context_tokens - (bos is not None)
    if config.corpus.length_tokens > room:
        raise UserError(f"corpus.length_tokens is {config.corpus.length_tokens}, but the subject reads at most {room}")
    run.watcher.begin("texts", None, "documents")

    def documents() -> Iterator[Document]:
        for document in read_documents(corpus_path(config.corpus), config.corpus.text_field):
            run.watcher.advance(1)
            yield document

    pool = cut_excerpts(
        documents(),
        lambda text: encode_text(subject, text),
        length_tokens=config.corpus.length_tokens,
        max_excerpts=config.corpus.max_excerpts,
        seed=config.seed,
    )
    run.watcher.end()
    with run.store.transaction():
        row = {
            "capture_key": key_of(described),
            "model_key": store_model(run.store, replace(subject.identity, name=used.name), used),
            "corpus": canonical_json(config.corpus),
            "config": canonical_json(described),
            "seed": config.seed,
            "length_tokens": config.corpus.length_tokens,
            "bos_token": bos,
            "n_documents": len(pool.document_ids),
            "n_excerpts": len(pool),
            "n_duplicates": pool.n_duplicates,
            "layer_sizes": [site.n_units for site in subject.sites],
        }
        run.store.insert("captures", pa.Table.from_pylist([row]))
        run.store.insert("excerpts", excerpt_rows(pool, subject.texts))


# the pass ------------------------------------------------------------------------------------------------------------


def group_units(units: list[Unit]) -> "dict[int, torch.Tensor]":
    """layer -> indices of its units, in order."""
    import torch

    layers = sorted({unit.layer for unit in units})
    return {layer: torch.tensor([unit.index for unit in units if unit.layer == layer]) for layer in layers}


@contextmanager
def maxima_file(folder: Path) -> Iterator[Any]:
    """The file of maxima, open for writing anywhere, kept if it is there. Raises StoreFull when there is no room for
    what is written inside the block, there or elsewhere in the folder."""
    path = folder / MAXIMA_FILE
    try:
        path.touch()
        with path.open("r+b") as file:
            yield file
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch puts its own over the system's
        if not isinstance(cause, OSError):
            raise
        raise explain_failure(cause, folder) from error


def run_pass(
    run: Run,
    subject: "Subject",
    pool: ExcerptPool,
    units: "dict[int, torch.Tensor]",
    bos: int | None,
    config: CaptureConfig,
) -> "CaptureState":
    """The streaming pass, from the saved state if there is one; the state is saved every few batches and at the end."""
    from localexplain.subject.capture import capture_batches, load_state, n_batches, save_state

    total = n_batches(len(pool), config)
    path = run.folder / CAPTURE_STATE_FILE
    state = load_state(path, subject.device) if path.exists() else None
    first = 0 if state is None else state.seen[-1][1]
    columns = sum(len(indices) for indices in units.values())
    run.watcher.begin("capture", len(pool), "excerpts")
    run.watcher.advance(min(len(pool), first * config.batch_excerpts))
    with maxima_file(run.folder) as file:

        def write_maxima(first_excerpt: int, rows: "Float16[np.ndarray, 'batch units']") -> None:
            file.seek(first_excerpt * columns * 2)
            file.write(rows.tobytes())

        def after_batch(now: "CaptureState", seen: int) -> None:
            run.watcher.advance(min(config.batch_excerpts, len(pool) - (seen - 1) * config.batch_excerpts))
            if seen % config.checkpoint_batches == 0 or seen == total or run.stop.requested:
                file.flush()
                save_state(now, path)
                run.pause()

        state = capture_batches(
            subject,
            pool,
            units,
            bos,
            config,
            batches=range(first, total),
            state=state,
            write_maxima=write_maxima,
            after_batch=after_batch,
        )
    run.watcher.end()
    return state


def choose_strata(
    run: Run, pool: ExcerptPool, taken: dict[int, "Int64[np.ndarray, 'units some']"], n_each: int
) -> dict[int, "Int64[np.ndarray, 'units examples']"]:
    """layer -> excerpt ids of its units' strata, [units, strata * n_each], read from the file of maxima."""
    n_columns = sum(len(rows) for rows in taken.values())
    maxima = np.memmap(run.folder / MAXIMA_FILE, dtype=np.float16, mode="r", shape=(len(pool), n_columns))
    width = max(1, STRATA_CELLS // len(pool))
    chosen: dict[int, Int64[np.ndarray, "units examples"]] = {}
    start = 0
    for layer, rows in taken.items():
        parts = [
            select_strata(
                np.asarray(maxima[:, start + first : start + min(first + width, len(rows))]).astype(np.float32),
                pool.hashes,
                rows[first : first + width],
                n_each,
            )
            for first in range(0, len(rows), width)
        ]
        chosen[layer] = np.concatenate(parts).reshape(len(rows), -1)
        start += len(rows)
    return chosen


# units and records ---------------------------------------------------------------------------------------------------


def finish_capture(
    run: Run, subject: "Subject", pool: ExcerptPool, state: "CaptureState", bos: int | None, config: CaptureConfig
) -> None:
    """Selects, replays and stores units and records, some units of a layer at a time; goes on after a kill."""
    from localexplain.subject.capture import choose_random, replay

    length = pool.token_ids.shape[1]
    picked = pick_excerpts(state, choose_random(pool, config), config.random_excerpts)
    strata: dict[int, Int64[np.ndarray, "units examples"]] = {}
    replayed: dict[int, Float32[np.ndarray, "units examples T"]] = {}
    if config.stratum_excerpts:
        taken = {layer: np.concatenate([ids.top, ids.random], axis=1) for layer, ids in picked.items()}
        strata = choose_strata(run, pool, taken, config.stratum_excerpts)
        units = {layer.layer: layer.units for layer in state.layers}
        replayed = replay(subject, pool, units, bos, strata, config)
    per_unit = config.top_k + config.random_excerpts + len(STRATUM_ENDS) * config.stratum_excerpts
    step = max(1, RECORDS_PER_COMMIT // per_unit)
    first_id = 0
    stored = run.store.sql("SELECT count(*) FROM units").column(0)[0].as_py()
    run.watcher.begin("records", sum(len(layer.units) for layer in state.layers), "units")
    for layer in state.layers:
        ids = picked[layer.layer]
        top = layer.top.ranked_payload().float().cpu().numpy()
        random = layer.random.float().cpu().numpy()
        rows = unit_rows(layer, first_id, len(pool), length, config.top_k)
        for first in range(0, len(layer.units), step):
            if first_id + first < stored:  # a unit and its records are stored together, in this order
                continue
            part = slice(first, first + step)
            some_random = np.take_along_axis(random[part], ids.random_places[part].clip(0)[:, :, None], axis=1)
            parts = [
                kind_rows("top", ids.top[part], top[part], first_id + first, TOP_SPLITS),
                kind_rows("random", ids.random[part], some_random, first_id + first, RANDOM_SPLITS),
            ]
            if config.stratum_excerpts:
                shown = strata[layer.layer][part], replayed[layer.layer][part]
                parts.append(kind_rows("stratum", *shown, first_id + first, (None,), config.stratum_excerpts))
            with run.store.transaction():
                run.store.insert("units", rows.slice(first, step))
                run.store.insert("records", in_unit_order(parts))
            run.watcher.advance(len(rows.slice(first, step)))
            run.pause()
        first_id += len(layer.units)
    run.watcher.end()


def is_finished(run: Run, n_units: int) -> bool:
    """Whether every unit of the capture is stored."""
    return bool(run.store.sql("SELECT count(*) FROM units").column(0)[0].as_py() == n_units)


def wanted_units(layer_sizes: dict[int, int], config: RunConfig) -> list[Unit]:
    """The units that the capture's choice names. Raises UserError: malformed, out of range."""
    every = [Unit(basis="mlp", layer=layer, index=i) for layer, size in layer_sizes.items() for i in range(size)]
    return choose_units(config.capture.units, every, layer_sizes, config.seed)


def capture(run: Run, config: RunConfig) -> None:
    """Does what is missing of the capture.

    Raises RunError when the folder holds another capture, CorpusError, SubjectError and UserError as their modules say.
    """
    used = used_model(config.subject, "subject")
    described = describe_capture(config)
    found = find_capture(run)
    if found is not None:
        check_same(found, described, run.folder, differing_files(run, found, used))
        if is_finished(run, len(wanted_units(dict(enumerate(found["layer_sizes"])), config))):
            (run.folder / CAPTURE_STATE_FILE).unlink(missing_ok=True)  # a kill may have come between the two
            return
    with timed_stage(run, "capture", config) as work:
        from localexplain.subject.model import load_subject

        subject = load_subject(used.folder, config.capture.dtype, config.capture.device)
        if found is None:
            sizes = {site.layer: site.n_units for site in subject.sites}
            wanted_units(sizes, config)  # a wrong choice is refused before any work
            begin_capture(run, config, subject, used, described)
            found = find_capture(run)
            assert found is not None
        units = wanted_units(dict(enumerate(found["layer_sizes"])), config)
        pool = read_pool(run)
        work.n_items = len(pool)
        state = run_pass(run, subject, pool, group_units(units), found["bos_token"], config.capture)
        finish_capture(run, subject, pool, state, found["bos_token"], config.capture)
        (run.folder / CAPTURE_STATE_FILE).unlink()
