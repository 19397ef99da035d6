"""Texts to excerpts of equal length.

    folder or file ──read_documents──> documents ──cut_excerpts──> ExcerptPool

A document is a .txt file, a line of a .jsonl file or a row of a .parquet file. An excerpt is a run of `length_tokens`
subject tokens inside one document; excerpts do not overlap, and an excerpt whose tokens occurred before is dropped.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, Int64, UInt64

from localexplain.errors import ConfigError, CorpusError

TEXT_SUFFIXES = (".txt", ".jsonl", ".parquet")
PARQUET_ROWS_PER_BATCH = 1024  # rows decoded at a time, so that a large file is streamed

# JSON may escape one half of a character beyond the 16-bit plane alone; no tokenizer takes it.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")

BosPolicy = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """Which texts, and how they are cut.

    path            a .txt, .jsonl or .parquet file, or a folder of these (searched recursively, in name order);
                    "demo" means the text that comes with localexplain
    text_field      for .jsonl and .parquet: the field that holds the text; several, joined by commas, are put one
                    after another on lines of their own
    length_tokens   tokens of an excerpt; Source: Bills et al. 2023 use 64
    bos             whether the subject reads a beginning-of-sequence token before each excerpt: "auto" asks the
                    tokenizer's own post-processor, "always" and "never" overrule it. Its activation is never recorded.
    max_excerpts    0 keeps all; otherwise this many are kept, chosen by their hash
    """

    path: str = "demo"
    text_field: str = "text"
    length_tokens: int = 64
    bos: BosPolicy = "auto"
    max_excerpts: int = 0

    def __post_init__(self) -> None:
        if self.length_tokens < 1:
            raise ConfigError(f"corpus.length_tokens = {self.length_tokens}: must be at least 1")
        if self.max_excerpts < 0:
            raise ConfigError(f"corpus.max_excerpts = {self.max_excerpts}: must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text. `document_id` is its path below the corpus, with `:row` (from 0) where a file holds many."""

    document_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExcerptPool:
    """All excerpts, in the order of the corpus; an excerpt's id is its row.

    token_ids   [excerpts, length_tokens]
    document    [excerpts] index into `document_ids`
    offset      [excerpts] tokens before the excerpt in its document
    hashes      [excerpts] 64-bit hash of the token ids: the order of every random choice made later
    """

    token_ids: Int32[np.ndarray, "excerpts length"]
    document: Int32[np.ndarray, " excerpts"]
    offset: Int64[np.ndarray, " excerpts"]
    hashes: UInt64[np.ndarray, " excerpts"]
    document_ids: tuple[str, ...]
    n_duplicates: int

    def __len__(self) -> int:
        return int(self.token_ids.shape[0])


# reading -------------------------------------------------------------------------------------------------------------


def corpus_files(path: Path) -> list[Path]:
    """The text files at `path`, in name order. Raises CorpusError when there is none."""
    if path.is_file():
        if path.suffix not in TEXT_SUFFIXES:
            raise CorpusError(f"{path}: not a corpus file; use one of {', '.join(TEXT_SUFFIXES)}")
        return [path]
    if not path.is_dir():
        raise CorpusError(f"{path}: no such file or folder; give the path of a text corpus")
    files = sorted(file for file in path.rglob("*") if file.suffix in TEXT_SUFFIXES and file.is_file())
    if not files:
        raise CorpusError(f"{path}: the folder holds no {', '.join(TEXT_SUFFIXES)} file")
    return files


def join_fields(row: dict[str, Any], text_field: str, where: str) -> str:
    """The text of a row: its fields' strings (or lists of strings) on lines of their own; absent parts of several
    named fields are left out. Raises CorpusError, naming `where`, if none of the fields is there or one is no text."""
    fields = [field.strip() for field in text_field.split(",")]
    if not any(field in row for field in fields):
        held = ", ".join(sorted(row)) or "nothing"
        raise CorpusError(f"{where}: no field {text_field!r}; it holds {held}: name one with corpus.text_field")
    parts: list[str] = []
    for field in fields:
        value = row.get(field)
        values = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(part, str) for part in values):
            raise CorpusError(f"{where}: field {field!r} is not text; name another with corpus.text_field")
        parts += values
    text = "\n".join(parts)
    if LONE_SURROGATE.search(text):
        raise CorpusError(
            f"{where}: half of a surrogate pair (\\ud800 to \\udfff), which is no text; mend or remove it"
        )
    return text


def read_utf8(path: Path) -> str:
    """The file's text, without a byte order mark. Raises CorpusError with the byte where UTF-8 ends."""
    try:
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 at byte {error.start}; convert the file, e.g. with iconv") from error


def read_jsonl(path: Path, text_field: str) -> Iterator[str]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                raise CorpusError(f"{where}: not UTF-8; convert the file, e.g. with iconv") from error
            except json.JSONDecodeError as error:
                raise CorpusError(f"{where}: not JSON ({error.msg}); each line must be one object") from error
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets a thousand deep
                raise CorpusError(f"{where}: JSON that cannot be read ({error})") from error
            if not isinstance(row, dict):
                raise CorpusError(f"{where}: not a JSON object; each line must be one object")
            yield join_fields(row, text_field, where)


def read_parquet(path: Path, text_field: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [field.strip() for field in text_field.split(",")]
    try:
        file = pq.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if name in fields]
        if not columns:
            join_fields(dict.fromkeys(file.schema_arrow.names), text_field, str(path))
        for batch in file.iter_batches(batch_size=PARQUET_ROWS_PER_BATCH, columns=columns):
            for row in batch.to_pylist():
                yield join_fields(row, text_field, str(path))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: a text in it is not UTF-8; write the file again") from error
    except (pa.ArrowException, OSError) as error:  # damage inside the file comes up as a bare OSError
        raise CorpusError(f"{path}: not a readable Parquet file; write it again") from error


def read_documents(path: Path, text_field: str = "text") -> Iterator[Document]:
    """Every document at `path` that holds more than white space, in name order.

    Raises CorpusError: no such path, no text file there, a file that is not UTF-8 or malformed, a missing field.
    """
    root = path if path.is_dir() else path.parent
    for file in corpus_files(path):
        name = file.relative_to(root).as_posix()
        if file.suffix == ".txt":
            text = read_utf8(file)
            if text.strip():
                yield Document(document_id=name, text=text)
            continue
        rows = read_jsonl(file, text_field) if file.suffix == ".jsonl" else read_parquet(file, text_field)
        for number, text in enumerate(rows):
            if text.strip():
                yield Document(document_id=f"{name}:{number}", text=text)


# cutting -------------------------------------------------------------------------------------------------------------


def hash_tokens(token_ids: Sequence[int] | Int32[np.ndarray, " length"], seed: int = 0) -> int:
    """A 64-bit hash of token ids that is the same on every machine."""
    data = np.asarray(token_ids, dtype="<i4").tobytes()
    digest = hashlib.blake2b(data, digest_size=8, key=seed.to_bytes(8, "little", signed=True))
    return int.from_bytes(digest.digest(), "little")


def cut_document(n_tokens: int, length_tokens: int) -> range:
    """Offsets of the excerpts in a document of `n_tokens`: back to back from 0; a shorter rest is left out.

    >>> list(cut_document(200, 64))
    [0, 64, 128]
    """
    return range(0, n_tokens - length_tokens + 1, length_tokens)


def cut_excerpts(
    documents: Iterable[Document],
    encode: Callable[[str], Sequence[int]],
    *,
    length_tokens: int = 64,
    max_excerpts: int = 0,
    seed: int = 0,
) -> ExcerptPool:
    """The pool of excerpts; `encode` gives a text's token ids without special tokens.

    Raises CorpusError when there is no document, or none as long as an excerpt.
    """
    rows: list[Int32[np.ndarray, " length"]] = []
    document: list[int] = []
    offsets: list[int] = []
    hashes: list[int] = []
    document_ids: list[str] = []
    seen: set[int] = set()
    n_duplicates = 0
    longest_tokens = 0
    for item in documents:
        ids = np.asarray(encode(item.text), dtype=np.int32)
        longest_tokens = max(longest_tokens, len(ids))
        document_ids.append(item.document_id)
        for offset in cut_document(len(ids), length_tokens):
            row = ids[offset : offset + length_tokens]
            code = hash_tokens(row, seed)
            if code in seen:
                n_duplicates += 1
                continue
            seen.add(code)
            rows.append(row)
            document.append(len(document_ids) - 1)
            offsets.append(offset)
            hashes.append(code)
    if not document_ids:
        raise CorpusError("the corpus is empty: no file in it holds any text")
    if not rows:
        raise CorpusError(
            f"the corpus has no document as long as an excerpt of {length_tokens} tokens (the longest has "
            f"{longest_tokens}); give longer texts or a smaller corpus.length_tokens"
        )
    keep = np.arange(len(rows))
    if 0 < max_excerpts < len(rows):
        keep = np.sort(np.argsort(np.asarray(hashes, dtype=np.uint64), kind="stable")[:max_excerpts])
    return ExcerptPool(
        token_ids=np.stack(rows)[keep],
        document=np.asarray(document, dtype=np.int32)[keep],
        offset=np.asarray(offsets, dtype=np.int64)[keep],
        hashes=np.asarray(hashes, dtype=np.uint64)[keep],
        document_ids=tuple(document_ids),
        n_duplicates=n_duplicates,
    )
