"""What holds for any input: grid references, distances, vectors as text, rules of labels, and tables of any bytes."""

import csv
import io
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="needs hypothesis: pip install 'geograph_types[dev]'")

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geograph_types import tables
from geograph_types.distance import (
    bucket_bounds,
    calculate_geograph_distance,
    distance_bucket,
    distance_index,
    distance_text,
    get_dist_idx,
)
from geograph_types.earth import format_grid_reference, parse_grid_reference
from geograph_types.earth.grid import LETTERED_SQUARES, GridReferenceError
from geograph_types.errors import EmbeddingError, FileFormatError, Reject
from geograph_types.labels import TYPES
from geograph_types.store import decode_vector, encode_vector
from geograph_types.store.records import RecordReader, VectorReader
from geograph_types.tables import read_table, table_blocks

settings.register_profile("short", max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("short")

SQUARES = st.sampled_from(sorted(LETTERED_SQUARES))


@given(SQUARES, st.integers(0, 99_999), st.integers(0, 99_999), st.sampled_from([4, 6, 8, 10]))
def test_a_grid_reference_names_the_square_that_it_was_written_for(letters, east, north, figures):
    grid, eastings, northings = LETTERED_SQUARES[letters]
    text = format_grid_reference(eastings + east, northings + north, grid, figures)
    read = parse_grid_reference(text)
    size = 10 ** (5 - figures // 2)
    assert (read.grid, read.precision_m) == (grid, size)
    assert (read.eastings, read.northings) == (
        eastings + east // size * size,
        northings + north // size * size,
    )
    spaced = f" {letters.lower()} {text[len(letters) :]} "
    assert parse_grid_reference(spaced)[:3] == read[:3]


@given(st.text(max_size=14))
@example("TQ3080\u200b")
@example("TQ ３０８０")
def test_any_text_is_a_grid_reference_or_is_said_to_be_none(text):
    try:
        read = parse_grid_reference(text)
    except GridReferenceError:
        return
    assert read.grid in ("GB", "IE") or math.isnan(read.eastings)


METRES = st.floats(0, 2**22, allow_nan=False)


@given(METRES)
def test_a_distance_lies_within_the_bounds_of_its_bucket(metres):
    low, high = bucket_bounds(int(distance_index(metres)))
    assert low <= metres < high or math.isnan(low) and metres >= 2**21


@given(*[st.floats(1, 700_000)] * 4)
def test_a_calculated_distance_has_the_bucket_of_the_metres(e1, n1, e2, n2):
    text = calculate_geograph_distance(e1, n1, e2, n2)
    assert get_dist_idx(text) == distance_index(math.dist((e1, n1), (e2, n2)))


@given(st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.none()))
@example("512.0")
@example("５１２")
@example(float("nan"))
def test_any_value_has_a_bucket_and_its_text_the_same(value):
    bucket = distance_bucket(value)
    assert 0 <= bucket <= 22
    assert distance_bucket(distance_text(value)) == bucket


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=40), st.integers(1, 80))
def test_a_vector_comes_back_from_its_text_also_in_lines(numbers, width):
    vector = np.array(numbers, np.float32)
    text = encode_vector(vector)
    lines = "\n".join(text[start : start + width] for start in range(0, len(text), width))
    for written in (text, lines):
        if vector.any():
            np.testing.assert_array_equal(decode_vector(written, len(vector)), vector)
        else:
            with pytest.raises(EmbeddingError):
                decode_vector(written, len(vector))


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60), st.none(), st.lists(st.integers())))
def test_anything_else_is_no_vector(value):
    try:
        assert np.isfinite(decode_vector(value, 4)).all()
    except EmbeddingError:
        pass


TAG = st.one_of(st.sampled_from([*TYPES.classes, "Cross Grid", "From Above"]), st.text("Aé ", max_size=4))


@given(
    st.lists(
        st.tuples(st.lists(TAG, max_size=4), st.sampled_from(["0", "256", "512", "Unknown", ""])), max_size=9
    )
)
def test_rules_of_labels_see_each_row_alone_and_tags_in_any_order(rows):
    tags, distances = [",".join(row) for row, _ in rows], [distance for _, distance in rows]
    encoded = TYPES.encode(tags, distances)
    assert encoded.shape == (len(rows), 7) and set(encoded.ravel()) <= {0.0, 1.0}
    for row, ((names, distance), found) in enumerate(zip(rows, encoded)):
        np.testing.assert_array_equal(TYPES.encode([tags[row]], [distance])[0], found)
        np.testing.assert_array_equal(TYPES.encode([" , ".join(reversed(names))], [distance])[0], found)
    again = TYPES.decode(encoded)
    np.testing.assert_array_equal(TYPES.encode(again, ["0"] * len(rows)), encoded)


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(
    st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=6),
    st.sampled_from([16, 64, 1 << 20]),
)
@example([["\r", '"'], ["a\nb", ","]], 16)
def test_what_a_csv_writer_wrote_comes_back(rows, block_bytes):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["key", "distance"], *[["x" + cell, other] for cell, other in rows]])
    usual = tables.BLOCK_BYTES
    try:
        tables.BLOCK_BYTES = block_bytes
        with TemporaryDirectory() as folder:
            path = Path(folder, "t.csv")
            path.write_bytes(text.getvalue().encode())
            found = [row for block in table_blocks(path) for _, row in block]
    finally:
        tables.BLOCK_BYTES = usual
    assert [list(row.values()) for row in found] == [["x" + cell, other] for cell, other in rows]


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ROW = st.dictionaries(
    st.sampled_from(["gridimage_id", "title", "types", "distance", "weight", "split", "embeddings", "lat"]),
    VALUE,
)
BYTES = st.one_of(
    st.binary(max_size=200),
    st.text('[]{}":,a1 \n\\', max_size=60).map(str.encode),
    st.lists(VALUE | ROW, max_size=5).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.lists(ROW, max_size=5).map(lambda rows: json.dumps(rows).encode()),
)


@given(BYTES, st.sampled_from(["t.jsonl", "t.csv", "t.tsv", "t.json", "t.parquet", "t.csv.gz", "t.json.zip"]))
@example(b"[]", "t.json")
@example(b"[" * 100_000, "t.json")
@example(b'{"gridimage_id": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}", "t.jsonl")
@example(b'{"gridimage_id": 1, "embeddings": "' + b"A" * 12 + b'"}', "t.jsonl")
@example(b"gridimage_id,embeddings\n1,\xff\n", "t.csv")
@example(b"\x0b", "t.csv")
def test_any_bytes_are_rows_rejects_or_our_error(data, name):
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        for reader in (RecordReader, VectorReader):
            try:
                opened, used, rejected = reader(path), 0, 0
                for part in opened:
                    used, rejected = used + len(part[0]), rejected + len(part[-1])
                    assert all(json.dumps(reject) and len(reject["row"]) <= 200 for reject in part[-1])
                assert opened.rows_read == used + rejected
            except FileFormatError:
                pass
        try:
            assert all(isinstance(row, (dict, Reject)) or row is not NotImplemented for _, row in _rows(path))
            read_table(path)
        except FileFormatError:
            pass


def _rows(path):
    return [pair for block in table_blocks(path) for pair in block]
