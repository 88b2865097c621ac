"""Files as they come: in five formats, with every kind of broken row, and with the oddities of other people's tools."""

import csv
import gzip
import io
import json
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from broken_rows import broken_lines, broken_rows, photographs, vector_with
from pyarrow import parquet

from geograph_types import tables
from geograph_types.data import MultimodalGeographDataset, convert
from geograph_types.distance import distance_indices
from geograph_types.errors import FileFormatError, TooManyRejects
from geograph_types.labels import TYPES
from geograph_types.store import KEYS, EmbeddingStore, decode_vector
from geograph_types.types import type_data

FORMATS = ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.csv.gz", "rows.parquet"]
TEXT_FORMATS = FORMATS[:4]
ROWS = photographs(60)


def as_text(name, rows):
    """The content of a JSON Lines or CSV file."""
    if ".jsonl" in name:
        return "".join(json.dumps(row) + "\n" for row in rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else list(ROWS[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_bytes(path, data):
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write(path, rows):
    """Write rows in the format that the name says; in Parquet every column is text."""
    if path.suffix != ".parquet":
        return write_bytes(path, as_text(path.name, rows).encode())
    columns = {
        key: pa.array([None if row.get(key) is None else str(row[key]) for row in rows], pa.string())
        for key in (rows or ROWS)[0]
    }
    parquet.write_table(pa.table(columns), path)
    return path


def converted(path, share=1.0, **options):
    """The store made of a file, its conversion, and its rejects; in float32, so that rows can be compared exactly."""
    options = {"dtype": "float32", "strict": True, "quiet": True, "max_reject_share": share, **options}
    conversion = convert(path, path.parent / "store", **options)
    rejects = [json.loads(line) for line in open(conversion.rejects_path)]
    return EmbeddingStore.open(conversion.path), conversion, rejects


def assert_holds(store, rows):
    """The store has these rows and no others, in this order."""
    wanted = {key: [row[key] for row in rows] for key in KEYS}
    assert store.metadata["gridimage_id"].tolist() == [int(number) for number in wanted["gridimage_id"]]
    for key in ("title", "types", "distance", "split"):
        assert store.metadata[key].astype(str).tolist() == wanted[key]
    assert store.metadata["weight"].tolist() == np.array(wanted["weight"], np.float32).tolist()
    np.testing.assert_array_equal(store.embeddings[:], [decode_vector(text) for text in wanted["embeddings"]])


@pytest.mark.parametrize("name", FORMATS)
def test_every_kind_of_broken_row_is_rejected_with_line_and_reason(tmp_path, name):
    broken = broken_rows(ROWS[30], earlier_id=ROWS[0]["gridimage_id"])
    path = write(tmp_path / name, [*ROWS[:20], *(row for _, row in broken), *ROWS[20:]])
    store, conversion, rejects = converted(path)

    assert_holds(store, ROWS)
    first = 22 if ".csv" in name else 21  # a CSV file begins with a line of names
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (n, reason) for n, (reason, _) in enumerate(broken, first)
    ]
    assert conversion.rows == len(ROWS) and conversion.rejects == Counter(reason for reason, _ in broken)


def test_lines_that_only_json_can_get_wrong(tmp_path):
    broken = broken_lines(ROWS[30], earlier_id=ROWS[0]["gridimage_id"])
    lines = [json.dumps(row) for row in ROWS]
    path = write_bytes(
        tmp_path / "rows.jsonl", "\n".join([*lines[:20], *(line for _, line in broken), *lines[20:]]).encode()
    )
    store, _, rejects = converted(path)

    assert_holds(store, ROWS)
    assert [(r["line"], r["reason"]) for r in rejects] == [
        (n, reason) for n, (reason, _) in enumerate(broken, 21)
    ]


def test_a_csv_line_with_too_few_or_too_many_fields_is_rejected(tmp_path):
    head, *lines = as_text("rows.csv", ROWS).splitlines()
    text = "\n".join([head, *lines[:5], "1,2,3", *lines[5:], lines[0] + ",more"])
    store, _, rejects = converted(write_bytes(tmp_path / "rows.csv", text.encode()))

    assert_holds(store, ROWS)
    assert [(r["line"], r["reason"]) for r in rejects] == [(7, "not CSV"), (63, "not CSV")]


def test_text_that_is_not_utf8_is_rejected(tmp_path):
    bad = json.dumps({**ROWS[30], "title": "@"}).encode().replace(b'"@"', b'"\xff\xfe"')
    path = write_bytes(tmp_path / "rows.jsonl", bad + b"\n" + as_text("rows.jsonl", ROWS).encode())
    store, _, rejects = converted(path)

    assert_holds(store, ROWS)
    assert [(r["line"], r["reason"]) for r in rejects] == [(1, "not JSON")]


def test_a_reject_keeps_the_beginning_of_its_row(tmp_path):
    broken = {**ROWS[50], "split": "training"}
    _, _, rejects = converted(write(tmp_path / "rows.jsonl", [*ROWS[:50], broken]))
    assert len(rejects) == 1
    assert rejects[0]["row"].startswith('{"gridimage_id":') and len(rejects[0]["row"]) == 200
    assert rejects[0]["gridimage_id"] == broken["gridimage_id"]
    assert "'training' is not one of tra, val, tes" in rejects[0]["detail"]


def test_a_rejected_row_does_not_claim_its_id(tmp_path):
    broken = [row for _, row in broken_rows(ROWS[0], earlier_id=ROWS[0]["gridimage_id"])[:-1]]
    store, _, rejects = converted(write(tmp_path / "rows.jsonl", [*broken, *ROWS]))
    assert_holds(store, ROWS)
    assert len(rejects) == len(broken)


@pytest.mark.parametrize("name", TEXT_FORMATS)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.rstrip(b"\r\n"), id="no newline at the end"),
        pytest.param(lambda text: text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda text: text.replace(b"\r\n", b"\n"), id="LF"),
        pytest.param(lambda text: text.replace(b"\n", b"\n\n"), id="blank lines"),
    ],
)
def test_oddities_of_text_files_lose_no_row(tmp_path, name, change):
    store, conversion, _ = converted(write_bytes(tmp_path / name, change(as_text(name, ROWS).encode())))
    assert_holds(store, ROWS)
    assert conversion.rejects == {}


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_a_byte_order_mark_loses_no_row(tmp_path, name):
    store, conversion, _ = converted(
        write_bytes(tmp_path / name, b"\xef\xbb\xbf" + as_text(name, ROWS).encode())
    )
    assert_holds(store, ROWS)
    assert conversion.rejects == {}


@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_titles_may_hold_anything(tmp_path, name):
    titles = ['He said "stop", then left', "two\nlines", "Llyn y Fan Fâch 🏔", "comma, comma", "", "a\tb", "'"]
    rows = [{**row, "title": title} for row, title in zip(ROWS, titles)]
    assert_holds(converted(write(tmp_path / name, rows))[0], rows)


@pytest.mark.parametrize("name", FORMATS)
def test_ids_may_be_written_as_digits(tmp_path, name):
    rows = [{**row, "gridimage_id": str(row["gridimage_id"])} for row in ROWS]
    assert_holds(converted(write(tmp_path / name, rows))[0], rows)


def test_parquet_with_numbers_as_numbers(tmp_path):
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    store, conversion, _ = converted(tmp_path / "rows.parquet")
    assert_holds(store, ROWS)
    assert conversion.rejects == {}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_labels_becomes_a_store_without_labels(tmp_path, name):
    rows = [{key: row[key] for key in ("gridimage_id", "title", "distance", "embeddings")} for row in ROWS]
    store, conversion, _ = converted(write(tmp_path / name, rows))
    assert_holds(store, [{**row, "types": "", "weight": 1.0, "split": ""} for row in rows])
    assert conversion.rejects == {}
    assert sum(len(store.rows(split)) for split in ("tra", "val", "tes")) == len(
        rows
    )  # divided by their numbers
    with pytest.raises(ValueError, match="no photograph has a type to learn"):
        type_data(store)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_labels_may_be_there_and_null(tmp_path, name):
    rows = [{**row, "types": None, "weight": None, "split": None} for row in ROWS]
    store, conversion, _ = converted(write(tmp_path / name, rows))
    assert conversion.rejects == {}
    assert_holds(store, [{**row, "types": "", "weight": 1.0, "split": ""} for row in ROWS])


@pytest.mark.parametrize("name", FORMATS)
def test_float16_unless_asked_halves_the_space_and_keeps_three_digits(tmp_path, name):
    convert(write(tmp_path / name, ROWS), tmp_path / "store", quiet=True)
    store = EmbeddingStore.open(tmp_path / "store")
    wanted = np.array([decode_vector(row["embeddings"]) for row in ROWS])
    assert {np.load(path).dtype for path in store.embeddings.paths} == {np.dtype(np.float16)}
    assert store.manifest["dtype"] == "float16"
    assert store.embeddings[:].dtype == np.float32
    np.testing.assert_array_equal(store.embeddings[:], wanted.astype(np.float16).astype(np.float32))


def test_a_photograph_met_in_an_earlier_block_is_a_duplicate(tmp_path, monkeypatch):
    monkeypatch.setattr("geograph_types.tables.BLOCK_BYTES", 10_000)  # three rows or so
    path = write(tmp_path / "rows.jsonl", [*ROWS, ROWS[3], ROWS[59], ROWS[3]])
    store, _, rejects = converted(path, shard_size=7)
    assert_holds(store, ROWS)
    assert [(r["line"], r["reason"]) for r in rejects] == [(n, "duplicate id") for n in (61, 62, 63)]


def test_a_photograph_met_in_an_interrupted_run_is_a_duplicate(tmp_path, monkeypatch):
    monkeypatch.setattr("geograph_types.tables.BLOCK_BYTES", 10_000)
    broken = {**ROWS[40], "split": "training"}
    path = write(tmp_path / "rows.jsonl", [*ROWS[:40], broken, *ROWS[40:], ROWS[2]])
    with pytest.raises(TooManyRejects, match="unknown split"):
        converted(path, share=0.0, shard_size=7)
    first_shard = tmp_path / "store.partial" / "img_emb" / "img_emb_00000.npy"
    written = first_shard.stat().st_mtime_ns

    store, _, rejects = converted(path, shard_size=7)
    assert (tmp_path / "store" / "img_emb" / "img_emb_00000.npy").stat().st_mtime_ns == written, (
        "it began anew"
    )
    assert_holds(store, ROWS)
    assert [(r["line"], r["reason"]) for r in rejects] == [(41, "unknown split"), (62, "duplicate id")]


def test_other_tools_read_the_store(tmp_path):
    """The layout of clip-retrieval and its kin: numbered pairs of .npy and .parquet, row for row."""
    store, _, _ = converted(write(tmp_path / "rows.jsonl", ROWS), shard_size=25)
    vectors = sorted((store.path / "img_emb").iterdir())
    tables = sorted((store.path / "metadata").iterdir())
    assert [path.name for path in vectors] == [f"img_emb_{n:05d}.npy" for n in range(3)]
    assert [path.name for path in tables] == [f"metadata_{n:05d}.parquet" for n in range(3)]

    arrays, metadata = [np.load(path) for path in vectors], [parquet.read_table(path) for path in tables]
    assert [len(array) for array in arrays] == [table.num_rows for table in metadata] == [25, 25, 10]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)
    np.testing.assert_array_equal(np.concatenate(arrays), [decode_vector(row["embeddings"]) for row in ROWS])
    assert pa.concat_tables(metadata)["gridimage_id"].to_pylist() == [row["gridimage_id"] for row in ROWS]


def test_the_store_agrees_with_the_published_dataset_class(tmp_path):
    store, _, _ = converted(write(tmp_path / "rows.jsonl", ROWS), shard_size=25)
    dataset, metadata = MultimodalGeographDataset(ROWS), store.metadata
    buckets, labels = (
        distance_indices(metadata["distance"]),
        TYPES.encode(metadata["types"], metadata["distance"]),
    )
    for row, (vector, bucket, label, weight) in enumerate(dataset):
        np.testing.assert_array_equal(vector.numpy(), store.embeddings[row])
        np.testing.assert_array_equal(label.numpy(), labels[row])
        assert bucket == buckets[row] and weight == metadata["weight"][row]
    assert row == len(store) - 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_a_row_is_no_store(tmp_path, name):
    with pytest.raises(FileFormatError, match="holds no row"):
        converted(write(tmp_path / name, []))
    assert not (tmp_path / "store").exists()


def test_a_file_that_lacks_a_needed_column_stops_with_its_name(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "embeddings"} for row in ROWS]
    with pytest.raises(TooManyRejects, match="60 of 60 rows rejected, mostly for 'missing key'"):
        converted(write(tmp_path / "rows.csv", rows), share=0.1)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_an_id_of_five_thousand_digits_is_a_bad_id(tmp_path, name):
    store, _, rejects = converted(write(tmp_path / name, [*ROWS, {**ROWS[0], "gridimage_id": "9" * 5000}]))
    assert_holds(store, ROWS)
    assert [r["reason"] for r in rejects] == ["bad id"]


def test_a_split_that_is_no_text_is_rejected_in_a_file_without_labels(tmp_path):
    rows = [{key: row[key] for key in ("gridimage_id", "title", "distance", "embeddings")} for row in ROWS]
    _, conversion, rejects = converted(write(tmp_path / "rows.jsonl", [*rows[:-1], {**rows[-1], "split": 5}]))
    assert conversion.rows == len(ROWS) - 1 and len(rejects) == 1


def test_a_float16_store_holds_no_infinite_number(tmp_path):
    path = write(tmp_path / "rows.jsonl", [*ROWS[:-1], {**ROWS[-1], "embeddings": vector_with(1e5)}])
    store, _, rejects = converted(path, dtype="float16")
    assert np.isfinite(store.embeddings[:]).all() and len(rejects) == 1
    assert rejects[0]["detail"] == "1 of 512 numbers, as float16"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-5000], id="cut in the middle"),
        pytest.param(lambda data: data[:-4], id="cut in the last bytes"),
        pytest.param(
            lambda data: data[:60_000] + bytes([data[60_000] ^ 255]) + data[60_001:], id="one byte changed"
        ),
    ],
)
def test_a_damaged_gzip_file_stops_with_its_name(tmp_path, damage):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(damage(gzip.compress(as_text("rows.jsonl", ROWS).encode(), mtime=0)))
    with pytest.raises(FileFormatError, match="rows.jsonl.gz"):
        converted(path)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("row", [60, -61])
def test_a_row_that_is_not_there_is_an_error(tmp_path, row):
    store, _, _ = converted(write(tmp_path / "rows.jsonl", ROWS))
    with pytest.raises(IndexError):
        store.embeddings[np.array([0, row])]
    np.testing.assert_array_equal(store.embeddings[np.array([-60])], store.embeddings[:1])


def test_a_csv_quote_that_is_never_closed_costs_one_row(tmp_path):
    head, *lines = as_text("rows.csv", ROWS).splitlines()
    lines[3] = lines[3].replace("Synthetic", '"Synthetic', 1)
    path = write_bytes(tmp_path / "rows.csv", "\n".join([head, *lines]).encode())
    store, _, rejects = converted(path)
    assert len(store) + len(rejects) == len(ROWS) and len(rejects) <= 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_as_other_programs_save_it(tmp_path, encoding, delimiter):
    rows = [{**row, "title": "Café – £5"} for row in ROWS[:5]]
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False, sep=delimiter, encoding=encoding)
    store, _, rejects = converted(path)
    assert store.metadata["title"].tolist() == ["Café – £5"] * 5 and not rejects


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read(tmp_path, indent):
    path = write_bytes(tmp_path / "rows.json", json.dumps(ROWS, indent=indent).encode())
    store, _, rejects = converted(path)
    assert_holds(store, ROWS)
    assert not rejects


def test_numbers_that_became_floats_are_the_same_numbers(tmp_path):
    rows = [
        {
            **row,
            "gridimage_id": float(row["gridimage_id"]),
            "distance": row["distance"] if row["distance"] == "Unknown" else float(row["distance"]),
        }
        for row in ROWS
    ]
    store, _, rejects = converted(write(tmp_path / "rows.jsonl", rows))
    assert_holds(store, ROWS)
    assert not rejects


def test_fields_with_line_breaks_cross_the_blocks_of_a_csv_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(tables, "_FIELD_LINES", 50)
    rows = [{**row, "embeddings": "\n".join(textwrap.wrap(row["embeddings"], 76))} for row in ROWS]
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    store, _, rejects = converted(path)
    assert_holds(store, ROWS)
    assert not rejects


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"title": ["a", "b"]}, "bad title"),
        ({"distance": {"m": 5}}, "bad distance"),
        ({"weight": 1e39}, "bad weight"),
        ({"embeddings": 5}, "bad base64"),
        ({"gridimage_id": 12.5}, "bad id"),
    ],
)
def test_values_of_other_types_are_rejected(tmp_path, change, reason):
    _, _, rejects = converted(write(tmp_path / "rows.jsonl", [*ROWS[:9], {**ROWS[9], **change}]))
    assert [reject["reason"] for reject in rejects] == [reason]


def test_json_nested_deeper_than_can_be_written_is_a_reject(tmp_path):
    path = write_bytes(
        tmp_path / "rows.jsonl",
        (as_text("rows.jsonl", ROWS) + '\n{"title": ' + "[" * 900 + "]" * 900 + "}").encode(),
    )
    _, _, rejects = converted(path)
    assert len(rejects) == 1


def test_a_store_of_many_shards_needs_few_open_files(tmp_path):
    script = """
import resource, sys
import numpy as np
from geograph_types.store import EmbeddingStore
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
store = EmbeddingStore.open(sys.argv[1])
assert store.embeddings[np.arange(300)][:, 0].tolist() == list(range(300))
"""
    (tmp_path / "img_emb").mkdir()
    for number in range(300):
        np.save(tmp_path / f"img_emb/img_emb_{number:05d}.npy", np.full((1, 4), number, "f4"))
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)


@pytest.mark.parametrize("broken", [[], [{"gridimage_id": "six"}]])  # a block as a whole, and row by row
def test_html_in_titles_is_decoded_once(tmp_path, broken):
    rows = [{**ROWS[0], "title": "St Mary&#39;s &amp;amp; caf&eacute;"}, *broken]
    store, _, _ = converted(write(tmp_path / "rows.jsonl", [{**ROWS[1], **row} for row in rows]))
    assert store.metadata["title"].tolist() == ["St Mary's &amp; café"]


def test_unknown_tags_are_ignored_and_counted(tmp_path):
    rows = [{**row, "types": "Geograph,Selfie"} for row in ROWS[:3]]
    store, conversion, _ = converted(write(tmp_path / "rows.jsonl", [*rows, *ROWS[3:]]), strict=False)
    assert len(store) == len(ROWS) and conversion.read == len(ROWS)
    assert conversion.notes == {"unknown tags, which were ignored (Selfie 3)": 3}
