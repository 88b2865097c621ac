"""Whatever a file holds, it is read in little memory: a row that is too long is a reject, a table that is too large an error."""

import gzip
import json
import os
import re
import subprocess
import sys
import zipfile

import pandas as pd
import pytest

from geograph_types import files, tables
from geograph_types.errors import FileFormatError, InputError, Reject
from geograph_types.tables import read_table, table_blocks


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 256)
    monkeypatch.setattr(tables, "LARGEST_ROW", 1000)


def rows_of(path):
    return [pair for block in table_blocks(path) for pair in block]


@pytest.mark.parametrize("length", [1300, 5000])
def test_a_line_that_is_too_long_is_a_reject_and_the_next_one_a_row(tmp_path, length):
    row = json.dumps({"id": 1, "title": "x" * length})
    (tmp_path / "t.jsonl").write_text(f'{{"id": 0}}\n{row}\n{{"id": 2}}\n')
    (tmp_path / "t.csv").write_text(f"id,title\n0,a\n1,{'x' * length}\n2,b\n")
    for name, first in (("t.jsonl", 1), ("t.csv", 2)):
        found = dict(rows_of(tmp_path / name))
        assert [str(found[first]["id"]), str(found[first + 2]["id"])] == ["0", "2"]
        assert found[first + 1].reason == "row too long" and len(found[first + 1].text) <= 200


def test_a_line_just_as_long_as_may_be_is_a_row(tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"title": "x" * 980}) + "\n" + json.dumps({"id": 2}))
    assert [len(row.get("title", "")) for _, row in rows_of(tmp_path / "t.jsonl")] == [980, 0]


def test_zeros_without_end_are_one_reject(tmp_path):
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(bytes(100_000)))
    [(_, row)] = rows_of(tmp_path / "t.jsonl.gz")
    assert isinstance(row, Reject) and row.reason == "row too long"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(FileFormatError, match="t.csv.gz: no header: a line of more than 1,000 characters"):
        rows_of(tmp_path / "t.csv.gz")


def test_an_object_of_an_array_that_is_too_large_is_an_error(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps([{"title": "x" * 5000}]))
    with pytest.raises(FileFormatError, match="t.json: JSON with an object of more than 1,000 characters"):
        rows_of(tmp_path / "t.json")


def test_a_zip_of_more_rows_than_fit_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST_TABLE", 1 << 20)
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", "id,title\n" + "1,a\n" * 100_000)
    with pytest.raises(FileFormatError, match="t.csv.zip is too large to be read whole"):
        read_table(tmp_path / "t.csv.zip")
    (tmp_path / "bad.csv").write_text("id,title\n" + "1\n" * 5000)
    with pytest.raises(FileFormatError, match="bad.csv is too large"):
        read_table(tmp_path / "bad.csv")


def test_a_parquet_table_of_more_than_fits_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST_TABLE", 1 << 20)
    many = {"id": range(2000), "title": [f"{number:0500}" for number in range(2000)]}
    pd.DataFrame(many).to_parquet(tmp_path / "many.parquet", row_group_size=100)
    with pytest.raises(FileFormatError, match="many.parquet is too large to be read whole"):
        tables.read_columns(tmp_path / "many.parquet")
    same = pd.DataFrame({"id": range(5000), "title": "x" * 100_000})  # 500 MB that are one text in the file
    monkeypatch.setattr(tables, "_LARGEST_DICTIONARIES", 1 << 22)
    same.to_parquet(tmp_path / "same.parquet")
    with pytest.raises(
        FileFormatError,
        match=f"^{re.escape(str(tmp_path))}/same.parquet is too large to be read whole: its first",
    ):
        tables.read_columns(tmp_path / "same.parquet")
    short = pd.DataFrame({"title": [str(number) for number in range(20_000)]})  # 0.2 MB there, 1.3 in memory
    short.to_parquet(tmp_path / "short.parquet")
    with pytest.raises(FileFormatError, match="short.parquet is too large"):
        tables.read_columns(tmp_path / "short.parquet")
    few = pd.DataFrame({"id": [1, 2], "split": ["tra", None], "at": pd.to_datetime(["2020-01-01", None])})
    few.assign(split=few["split"].astype("category")).to_parquet(tmp_path / "few.parquet")
    pd.testing.assert_frame_equal(tables.read_columns(tmp_path / "few.parquet"), few)


def test_a_list_that_is_no_list_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_TEXT", 1000)
    (tmp_path / "names.txt").write_text("x" * 1001)
    with pytest.raises(FileFormatError, match="names.txt"):
        files.read_text(tmp_path / "names.txt")


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(InputError, match="t.csv is a pipe or a device"):
        rows_of(tmp_path / "t.csv")
    with pytest.raises(InputError, match="t.jsonl is a folder"):
        (tmp_path / "t.jsonl").mkdir()
        rows_of(tmp_path / "t.jsonl")


def test_captions_in_one_line_are_an_error(tmp_path, monkeypatch):
    pytest.importorskip("ahocorasick_rs", reason="needs ahocorasick_rs: pip install 'geograph_types[geo]'")
    from geograph_types.zeroshot import captions

    monkeypatch.setattr(captions, "_LONGEST_CAPTION", 1000)
    monkeypatch.setattr(captions, "_BLOCK_BYTES", 1000)
    (tmp_path / "one.txt").write_text("in Kent " * 1000)
    with pytest.raises(FileFormatError, match="one.txt has a line of more than 1,000 bytes"):
        captions.count_labels([tmp_path / "one.txt"], ["Kent"], tmp_path / "parts", workers=1, quiet=True)


BOMB = """
import gzip, resource, sys
from geograph_types.store import RecordReader
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (600 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print([reject["reason"] for _, rejects in RecordReader(sys.argv[1]) for reject in rejects])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_a_bomb_of_gzip_does_not_fill_the_memory(tmp_path):
    with gzip.open(tmp_path / "zeros.jsonl.gz", "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(16 << 20))  # a gigabyte
    command = [sys.executable, "-c", BOMB, tmp_path / "zeros.jsonl.gz"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "['row too long']", result.stderr[-500:]
