import hashlib
import json
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from localexplain.errors import ConfigError, CorpusError
from localexplain.subject.corpus import (
    PARQUET_ROWS_PER_BATCH,
    CorpusConfig,
    Document,
    corpus_files,
    cut_document,
    cut_excerpts,
    hash_tokens,
    join_fields,
    read_documents,
)
from tests.tiny_models import train_tokenizer


def characters(text):
    """One token a character: offsets and excerpts can be read off the text."""
    return [ord(character) for character in text]


def documents_of(*texts):
    return [Document(document_id=f"{place}.txt", text=text) for place, text in enumerate(texts)]


def write_parquet(path, columns, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **settings)
    return path


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts_of(path, text_field="text"):
    return {document.document_id: document.text for document in read_documents(path, text_field)}


def refusal(path, text_field="text"):
    """The message of the CorpusError, after the checks that hold for all of them."""
    with pytest.raises(CorpusError) as error:
        list(read_documents(path, text_field))
    text = str(error.value)
    assert type(error.value) is CorpusError
    assert "\n" not in text
    return text


# reading -------------------------------------------------------------------------------------------------------------


def test_a_text_file_is_one_document(tmp_path):
    (tmp_path / "a.txt").write_bytes("naïve\r\n日本\n".encode())
    assert texts_of(tmp_path / "a.txt") == {"a.txt": "naïve\n日本\n"}


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfrain")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "rain"}\n')
    assert texts_of(tmp_path) == {"a.txt": "rain", "b.jsonl:0": "rain"}


def test_lines_are_documents(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "one"}\n\n{"text": "t\\u0077o\\nlines", "id": 4}\n   \n{"text": "three"}')
    assert texts_of(file) == {"a.jsonl:0": "one", "a.jsonl:1": "two\nlines", "a.jsonl:2": "three"}


def test_rows_are_documents_across_row_groups_and_batches(tmp_path):
    texts = [f"row {place}" for place in range(PARQUET_ROWS_PER_BATCH + 300)]
    file = write_parquet(tmp_path / "a.parquet", {"n": range(len(texts)), "text": texts}, row_group_size=700)
    assert texts_of(file) == {f"a.parquet:{place}": text for place, text in enumerate(texts)}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_every_kind_of_text_column_is_read(tmp_path, kind):
    file = write_parquet(tmp_path / "a.parquet", {"text": pa.array(["x", "y", "x"]).cast(kind)})
    assert list(texts_of(file).values()) == ["x", "y", "x"]


def test_a_folder_is_read_in_name_order_at_any_depth(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "x.txt").write_text("x")
    (tmp_path / "c.txt").write_text("c")
    (tmp_path / "a.txt").write_text("a")
    write_lines(tmp_path / "b" / "l.jsonl", {"text": "l0"}, {"text": "l1"})
    write_parquet(tmp_path / "b" / "p.parquet", {"text": ["p0"]})
    (tmp_path / "notes.md").write_text("not a corpus file")
    (tmp_path / "folder.txt").mkdir()
    wanted = {
        "a.txt": "a",
        "b/deep/x.txt": "x",
        "b/l.jsonl:0": "l0",
        "b/l.jsonl:1": "l1",
        "b/p.parquet:0": "p0",
        "c.txt": "c",
    }
    assert texts_of(tmp_path) == wanted
    assert list(texts_of(tmp_path)) == list(wanted)
    assert [file.name for file in corpus_files(tmp_path)] == ["a.txt", "x.txt", "l.jsonl", "p.parquet", "c.txt"]


def test_documents_of_white_space_are_left_out_and_keep_their_number(tmp_path):
    (tmp_path / "a.txt").write_text(" \n\t")
    write_lines(tmp_path / "b.jsonl", {"text": ""}, {"text": "x"}, {"text": None})
    write_parquet(tmp_path / "c.parquet", {"text": [None, "y"]})
    assert texts_of(tmp_path) == {"b.jsonl:1": "x", "c.parquet:1": "y"}


# fields --------------------------------------------------------------------------------------------------------------


def test_another_field(tmp_path):
    write_lines(tmp_path / "a.jsonl", {"text": "no", "body": "yes"})
    write_parquet(tmp_path / "b.parquet", {"text": ["no"], "body": ["yes"]})
    assert set(texts_of(tmp_path, "body").values()) == {"yes"}


def test_several_fields_and_lists_are_put_on_lines_of_their_own(tmp_path):
    rows = [
        {"title": "T", "parts": ["p", "q"], "end": "E"},
        {"title": "U", "parts": [], "end": None},  # an absent part of several is left out
    ]
    write_lines(tmp_path / "a.jsonl", *rows, {"title": "V"})
    write_parquet(tmp_path / "b.parquet", {name: [row[name] for row in rows] for name in rows[0]})
    assert texts_of(tmp_path, " title,parts , end") == {
        "a.jsonl:0": "T\np\nq\nE",
        "a.jsonl:1": "U",
        "a.jsonl:2": "V",
        "b.parquet:0": "T\np\nq\nE",
        "b.parquet:1": "U",
    }
    assert texts_of(tmp_path, "end,title")["b.parquet:0"] == "E\nT"  # in the order asked for


def test_join_fields_by_hand():
    assert join_fields({"a": "x", "b": ["y", "z"]}, "b,a", "here") == "y\nz\nx"
    with pytest.raises(CorpusError, match=r"^here: no field 'c'; it holds a, b: name one with corpus.text_field$"):
        join_fields({"b": "y", "a": "x"}, "c", "here")
    with pytest.raises(CorpusError, match=r"^here: no field 'c'; it holds nothing"):
        join_fields({}, "c", "here")


def test_a_missing_field_names_file_and_line(tmp_path):
    file = write_lines(tmp_path / "a.jsonl", {"text": "x"}, {"body": "y", "id": 1})
    assert f"{file}, line 2: no field 'text'; it holds body, id" in refusal(tmp_path)


def test_a_missing_column_names_the_file_and_the_columns(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", {"body": ["y"], "id": [1]})
    assert f"{file}: no field 'text'; it holds body, id" in refusal(tmp_path)


@pytest.mark.parametrize("value", [3, True, {"a": "x"}, ["x", 3], ["x", None], [["x"]]])
def test_a_field_that_is_not_text(tmp_path, value):
    file = write_lines(tmp_path / "a.jsonl", {"text": "x"}, {"text": value})
    assert f"{file}, line 2: field 'text' is not text" in refusal(tmp_path)


@pytest.mark.parametrize("column", [[1, 2], [b"x", b"y"], [{"a": "x"}, None]])
def test_a_column_that_is_not_text(tmp_path, column):
    file = write_parquet(tmp_path / "a.parquet", {"text": column})
    assert f"{file}: field 'text' is not text" in refusal(tmp_path)


# not readable --------------------------------------------------------------------------------------------------------


def test_no_such_path(tmp_path):
    assert f"{tmp_path / 'absent'}: no such file or folder" in refusal(tmp_path / "absent")


def test_not_a_corpus_file(tmp_path):
    (tmp_path / "a.pdf").write_text("x")
    assert "a.pdf: not a corpus file; use one of .txt, .jsonl, .parquet" in refusal(tmp_path / "a.pdf")


def test_a_folder_without_texts(tmp_path):
    (tmp_path / "a.md").write_text("x")
    assert f"{tmp_path}: the folder holds no .txt, .jsonl, .parquet file" in refusal(tmp_path)


def test_not_utf8_names_the_byte(tmp_path):
    (tmp_path / "a.txt").write_bytes("é".encode() + b"ab\xe9c")  # two bytes, two bytes, the culprit
    assert f"{tmp_path / 'a.txt'}: not UTF-8 at byte 4; convert" in refusal(tmp_path)


def test_a_line_that_is_not_utf8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n{"text": "\xe9"}\n')
    assert f"{tmp_path / 'a.jsonl'}, line 2: not UTF-8" in refusal(tmp_path)


@pytest.mark.parametrize("line", [b'{"text": "x"', b"text", b"{'text': 'x'}", b'{"text": "x"} {"text": "y"}'])
def test_a_line_that_is_not_json(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n\n' + line + b"\n")
    assert f"{tmp_path / 'a.jsonl'}, line 3: not JSON (" in refusal(tmp_path)


@pytest.mark.parametrize("line", [b"[]", b'"text"', b"3", b"null"])
def test_a_line_that_is_not_an_object(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(line)
    assert "line 1: not a JSON object" in refusal(tmp_path)


@pytest.mark.parametrize("line", [b'{"text": "x", "n": ' + b"1" * 5000 + b"}", b"[" * 200_000])
def test_json_beyond_what_python_reads(tmp_path, line):
    # The old fault: ValueError and RecursionError went through.
    (tmp_path / "a.jsonl").write_bytes(line)
    assert "line 1: JSON that cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("written", [b"\\ud800", b"\xed\xa0\x80"])
def test_half_of_a_surrogate_pair(tmp_path, written):
    # The old fault: it was read as text, and the tokenizer then failed on it with a TypeError.
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n{"text": "a ' + written + b' b"}\n')
    assert "line 2: half of a surrogate pair" in refusal(tmp_path)


def test_a_whole_surrogate_pair_is_a_character(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\\ud83d\\ude42"}\n')
    assert texts_of(tmp_path) == {"a.jsonl:0": "🙂"}


def cut(data):
    return data[:-40]


def hole(data):
    return data[: len(data) // 2] + data[len(data) // 2 + 7 :]


def scratched_page(data):
    return data[:10] + b"\xff" * 110 + data[120:]


def scratched_footer(data):
    return data[:-200] + b"\x55" * 100 + data[-100:]


@pytest.mark.parametrize(
    "damage", [cut, hole, scratched_page, scratched_footer, lambda data: b"", lambda data: b"PAR1" * 9]
)
def test_a_damaged_parquet_file(tmp_path, damage):
    # The old fault: damage that leaves the end of the file whole came up as a bare OSError.
    file = write_parquet(tmp_path / "a.parquet", {"text": [f"hello {n}" for n in range(1000)]})
    file.write_bytes(damage(file.read_bytes()))
    assert f"{file}: not a readable Parquet file" in refusal(tmp_path)


def test_a_parquet_text_that_is_not_utf8(tmp_path):
    # The old fault: UnicodeDecodeError. Offsets 0, 2, 4 over four bytes: "\xff\xfe" and "ok".
    offsets, data = pa.py_buffer(struct.pack("<3i", 0, 2, 4)), pa.py_buffer(b"\xff\xfeok")
    file = write_parquet(tmp_path / "a.parquet", {"text": pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])})
    assert f"{file}: a text in it is not UTF-8" in refusal(tmp_path)


def test_what_is_whole_before_the_fault_is_still_given(tmp_path):
    write_lines(tmp_path / "a.jsonl", {"text": "x"}, {})
    stream = read_documents(tmp_path)
    assert next(stream).text == "x"
    with pytest.raises(CorpusError):
        next(stream)


# cutting -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(1, 70))
def test_offsets_tile_a_document(n_tokens, length_tokens):
    offsets = list(cut_document(n_tokens, length_tokens))
    assert offsets == [place * length_tokens for place in range(n_tokens // length_tokens)]


def test_excerpts_by_hand():
    # length 2: "abababc" gives ab ab ab (two duplicates), "c" is too short; "xyab" gives xy and a duplicate
    pool = cut_excerpts(documents_of("abababc", "q", "xyab"), characters, length_tokens=2)
    assert pool.token_ids.tolist() == [[97, 98], [120, 121]]
    assert pool.document.tolist() == [0, 2]
    assert pool.offset.tolist() == [0, 0]
    assert pool.document_ids == ("0.txt", "1.txt", "2.txt")
    assert pool.n_duplicates == 3
    assert len(pool) == 2
    assert pool.hashes.tolist() == [hash_tokens([97, 98]), hash_tokens([120, 121])]
    assert (pool.token_ids.dtype, pool.offset.dtype, pool.hashes.dtype) == (np.int32, np.int64, np.uint64)


TEXTS = st.lists(st.text(alphabet="abc", max_size=40), min_size=1, max_size=8)  # few letters, so that many are alike


@settings(deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_excerpts_are_the_plain_loop(texts, length):
    seen, wanted, duplicates = set(), [], 0
    for place, text in enumerate(texts):
        for offset in range(0, len(text), length):
            piece = text[offset : offset + length]
            if len(piece) < length:
                continue
            if piece in seen:
                duplicates += 1
                continue
            seen.add(piece)
            wanted.append((piece, place, offset))
    if not wanted:
        with pytest.raises(CorpusError, match="no document as long as"):
            cut_excerpts(documents_of(*texts), characters, length_tokens=length)
        return
    pool = cut_excerpts(documents_of(*texts), characters, length_tokens=length)
    rows = ["".join(map(chr, row)) for row in pool.token_ids]
    assert list(zip(rows, pool.document.tolist(), pool.offset.tolist(), strict=True)) == wanted
    assert pool.n_duplicates == duplicates


@settings(deadline=None)
@given(TEXTS, st.integers(1, 4), st.integers(1, 12), st.randoms(), st.integers(-3, 3))
def test_which_excerpts_are_kept_does_not_depend_on_the_order_of_the_corpus(texts, length, n_kept, random, seed):
    if max(map(len, texts)) < length:
        return
    shuffled = list(texts)
    random.shuffle(shuffled)
    kept, again, all_of_them = (
        cut_excerpts(documents_of(*some), characters, length_tokens=length, max_excerpts=n, seed=seed)
        for some, n in ((texts, n_kept), (shuffled, n_kept), (texts, 0))
    )
    by_hash = sorted(all_of_them.token_ids.tolist(), key=lambda row: hash_tokens(row, seed))
    assert sorted(kept.token_ids.tolist()) == sorted(by_hash[:n_kept])
    assert sorted(again.token_ids.tolist()) == sorted(kept.token_ids.tolist())
    # those kept stay in the order of the corpus, with what belongs to them
    places = [all_of_them.token_ids.tolist().index(row) for row in kept.token_ids.tolist()]
    assert places == sorted(places)
    for name in ("document", "offset", "hashes"):
        assert getattr(kept, name).tolist() == getattr(all_of_them, name)[places].tolist()
    assert kept.n_duplicates == all_of_them.n_duplicates


def test_the_seed_chooses_other_excerpts():
    text = "".join(map(chr, range(0x100, 0x400)))
    kept = {
        tuple(cut_excerpts(documents_of(text), characters, length_tokens=4, max_excerpts=9, seed=seed).offset.tolist())
        for seed in range(5)
    }
    assert len(kept) == 5
    assert all(max(offsets) > 100 for offsets in kept)  # not simply the first nine


def test_offsets_are_right_with_a_real_tokenizer():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train_tokenizer())

    def encode(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    texts = [
        " ".join(f"The ferry {m} number {n} leaves the harbour at {n}:{n}, naïve." for n in range(m))
        for m in (9, 2, 20)
    ]
    pool = cut_excerpts(documents_of(*texts), encode, length_tokens=16)
    assert set(pool.document.tolist()) == {0, 1, 2}
    for row, document, offset in zip(pool.token_ids, pool.document, pool.offset, strict=True):
        assert encode(texts[document])[offset : offset + 16] == row.tolist()


def test_an_empty_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(CorpusError, match=r"^the corpus is empty: no file in it holds any text$"):
        cut_excerpts(read_documents(tmp_path), characters)


def test_documents_shorter_than_an_excerpt():
    with pytest.raises(CorpusError, match=r"no document as long as an excerpt of 64 tokens \(the longest has 63\)"):
        cut_excerpts(documents_of("a" * 63, "b" * 7), characters)
    assert len(cut_excerpts(documents_of("a" * 64), characters)) == 1  # the default length, and no token to spare


# hashes --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**31 - 1)), st.integers(-(2**63), 2**63 - 1))
def test_the_hash_is_blake2b_of_the_ids(token_ids, seed):
    data = struct.pack(f"<{len(token_ids)}i", *token_ids)
    digest = hashlib.blake2b(data, digest_size=8, key=struct.pack("<q", seed)).digest()
    assert hash_tokens(token_ids, seed) == struct.unpack("<Q", digest)[0]
    assert hash_tokens(np.array(token_ids, dtype=np.int32), seed) == hash_tokens(token_ids, seed)


def test_the_hash_of_a_slice_is_that_of_its_values():
    ids = np.arange(40, dtype=np.int32)
    assert hash_tokens(ids[::2]) == hash_tokens(list(range(0, 40, 2)))
    assert len({hash_tokens([1, 2]), hash_tokens([2, 1]), hash_tokens([1, 2], 1), hash_tokens([1, 2, 0])}) == 4


# settings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value"), [("length_tokens", 0), ("length_tokens", -64), ("max_excerpts", -1)])
def test_a_setting_out_of_range(key, value):
    # The old fault: range() with a step of zero.
    with pytest.raises(ConfigError, match=f"corpus.{key} = {value}: must"):
        CorpusConfig(**{key: value})
