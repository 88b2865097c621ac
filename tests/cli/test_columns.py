"""Columns that a command does not look at are named once; rows that a table loses on the way are counted."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from geograph_types import tables
from geograph_types.cli.zeroshot import _placed_results
from geograph_types.coordinates import geograph_table
from geograph_types.errors import FileFormatError
from geograph_types.model import GeographModel
from geograph_types.store import RecordReader
from geograph_types.synthetic import write_sample
from geograph_types.zeroshot.captions import count_labels


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Six rows as JSON Lines, with two columns that nobody knows."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_sample(path, rows=6)
    given = [json.loads(line) for line in path.read_text().splitlines()]
    more = [{**row, "camera": "Box", "lens": "50", "lat": 51 + n, "lon": -1} for n, row in enumerate(given)]
    path.write_text("\n".join(map(json.dumps, more)))
    return path


def test_convert_and_predict_name_what_they_do_not_use(rows, end_of, tmp_path):
    status, _, said = end_of("convert", rows, tmp_path / "store")
    assert status == 0 and said.count("rows.jsonl: not used: true_types, camera, lens (3 columns)") == 1
    assert "6 rows in: 6 used, 0 rejected; made store" in said
    GeographModel().save_checkpoint(tmp_path / "m.pth")
    status, _, said = end_of("predict", rows, "--model", tmp_path / "m.pth", "--out", tmp_path / "o.csv")
    names = "title, types, weight, split, true_types, camera and 1 more (7 columns)"
    assert status == 0 and said.count(f"rows.jsonl: not used: {names}") == 1


def test_tables_of_positions_name_what_they_do_not_use(end_of, tmp_path):
    places = pd.DataFrame({"gridimage_id": [1, 2], "lat": [51.0, 52], "lon": [-1.0, -2], "mood": ["a", "b"]})
    places.to_csv(tmp_path / "t.csv", index=False)
    assert (
        "t.csv: not used: mood (1 column)"
        in end_of("coordinates", "prepare", "geograph", tmp_path / "t.csv", tmp_path / "o.csv").err
    )
    assert (
        "t.csv: not used: gridimage_id, mood (2 columns)"
        in end_of("places", "plot", tmp_path / "t.csv", tmp_path / "o.png").err
    )
    assert (
        "not used" not in end_of("zeroshot", "dedupe", tmp_path / "t.csv", tmp_path / "kept.csv").err
    )  # all are kept


def test_a_number_that_is_none_of_geographs_is_a_reject():
    rows = pd.DataFrame({"gridimage_id": ["7", '"8', -5, "", 9.0], "lat": 51.0, "lon": -1.0})
    table, rejects = geograph_table(rows)
    assert table["id"].tolist() == ["7", "9"]
    assert [reject["reason"] for reject in rejects] == ["bad id", "bad id", "no id"]


def test_captions_are_read_from_tables_of_any_kind(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"caption,by\nKent,a\nin Kent,b\nCaf\xe9,c\nx,y,z\n")
    (tmp_path / "t.jsonl").write_text('{"caption": "Kent"}\n{"caption": ["Kent"]}\n')
    table = count_labels(
        [tmp_path / "t.csv", tmp_path / "t.jsonl"], ["Kent"], tmp_path / "p", workers=1, quiet=True
    )
    assert table["count"].tolist() == [3] and table.attrs["captions"] == 4 and table.attrs["rejected"] == 2
    given = pa.table({"caption": ["Kent", None, "x"]})
    pq.write_table(given, tmp_path / "n.parquet")
    (tmp_path / "n.jsonl").write_text('{"caption": "Kent"}\n{"caption": null}\n{"caption": "x"}\n')
    for name in ("n.parquet", "n.jsonl"):  # a caption that is missing is empty in all of them
        table = count_labels([tmp_path / name], ["Kent"], tmp_path / f"{name}.p", workers=1, quiet=True)
        assert (table.attrs["captions"], table.attrs["rejected"]) == (3, 0)
    (tmp_path / "none.csv").write_text("caption\n")
    with pytest.raises(FileFormatError, match="none.csv holds no caption"):
        count_labels([tmp_path / "none.csv"], ["Kent"], tmp_path / "q", workers=1, quiet=True)


def test_positions_that_cannot_be_read_are_counted(tmp_path, rows, end_of):
    given = [json.loads(line) for line in rows.read_text().splitlines()]
    for row, lat in zip(given, ["north", 1234, 0, None]):
        row |= {"lat": lat, "lon": 0}
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, given)))
    assert (
        "2 of the rows: positions that cannot be read"
        in end_of("convert", tmp_path / "t.jsonl", tmp_path / "s").err
    )


def test_a_title_without_end_is_a_reject(tmp_path):
    sample = [
        json.loads(line) for line in write_sample(tmp_path / "s.jsonl", rows=3).read_text().splitlines()
    ]
    sample[1]["title"] = "x" * 30_000
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, sample)))
    [(records, rejects)] = RecordReader(tmp_path / "s.jsonl")
    assert len(records) == 2 and rejects[0]["reason"] == "title too long" and len(rejects[0]["row"]) <= 200


def test_one_text_for_all_rows_does_not_fill_the_memory(tmp_path, monkeypatch):
    title = pa.DictionaryArray.from_arrays(pa.array([0] * 3000), pa.array(["x" * 100_000]))
    table = pa.table({"id": range(3000), "title": title})
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd")
    monkeypatch.setattr(tables, "_LARGEST_DICTIONARIES", 10_000_000)
    blocks = list(tables.table_blocks(tmp_path / "t.parquet"))
    assert sum(map(len, blocks)) == 3000 and max(map(len, blocks)) <= 102
    monkeypatch.setattr(tables, "_LARGEST_DICTIONARIES", 1000)
    with pytest.raises(FileFormatError, match="t.parquet: texts of 0 MB for a single row"):
        list(tables.table_blocks(tmp_path / "t.parquet"))


def test_texts_of_usual_length_are_read_many_rows_at_a_time(tmp_path):
    titles = {
        name: [f"{name} of photograph {n}, {'by the sea ' * 5}" for n in range(20_000)] for name in "abcde"
    }
    pq.write_table(pa.table({"gridimage_id": range(20_000), **titles}), tmp_path / "t.parquet")
    with open(tmp_path / "t.parquet", "rb") as file:
        group = pq.ParquetFile(file).metadata.row_group(0)
        assert tables._dictionary_bytes(file, group, [*"abcde"]) > 4 * tables._dictionary_bytes(
            file, group, ["a"]
        )
    for columns in (None, ["gridimage_id"]):
        blocks = list(tables.table_blocks(tmp_path / "t.parquet", columns))
        assert [line for block in blocks for line, _ in block] == [*range(1, 20_001)]
        assert min(map(len, blocks[:-1])) >= tables.BLOCK_ROWS


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [False, True])
def test_long_texts_among_short_ones_are_read_a_few_at_a_time(version, dictionary, tmp_path, monkeypatch):
    titles = ["x"] * 3000 + [f"{n:03d}" * 50_000 for n in range(40)] + ["y"] * 3000
    pages = {"write_batch_size": 10, "data_page_size": 100_000, "data_page_version": version}
    table = pa.table({"id": range(len(titles)), "title": titles, "list": [[1.0]] * len(titles)})
    pq.write_table(table, tmp_path / "t.parquet", use_dictionary=dictionary, **pages)
    monkeypatch.setattr(tables, "_LARGEST_PAGE", 2_000_000)
    monkeypatch.setattr(tables, "LARGEST_ROW", 1_000_000)
    sizes = [
        (len(block), sum(len(row["title"]) for _, row in block))
        for block in tables.table_blocks(tmp_path / "t.parquet")
    ]
    assert sum(rows for rows, _ in sizes) == len(titles) and max(size for _, size in sizes) < 3_000_000
    monkeypatch.setattr(tables, "_LARGEST_PAGE", 100_000)
    with pytest.raises(FileFormatError, match=r"t.parquet: title: \d+ MB in a single page"):
        list(tables.table_blocks(tmp_path / "t.parquet"))


def test_a_page_that_makes_no_sense_is_named(tmp_path):
    pq.write_table(pa.table({"gridimage_id": range(50), "title": ["x", "y"] * 25}), tmp_path / "t.parquet")
    data = bytearray((tmp_path / "t.parquet").read_bytes())
    start = pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(1).dictionary_page_offset
    data[start : start + 16] = b"\xff" * 16
    (tmp_path / "t.parquet").write_bytes(data)
    with pytest.raises(FileFormatError, match="t.parquet: a page whose header makes no sense"):
        list(tables.table_blocks(tmp_path / "t.parquet"))


def test_one_bad_row_does_not_stop_a_table_that_is_read_beside(tmp_path, caplog, capsys):
    results = pd.DataFrame({"filename": ["1", "2", "3"]})
    (tmp_path / "t.csv").write_text("IMG_ID,LAT,LON,mood\n001,51,0,x\n2,north,0,x\n3,51\n4,51,0,x\n")
    with caplog.at_level("INFO", "geograph_types"):
        placed, table = _placed_results(results, tmp_path / "t.csv")
    assert len(placed) == len(table) == 1 and "t.csv: not used: mood (1 column)" in caplog.text
    assert "t.csv: 4 rows in: 1 used, 3 rejected; the first in line 3: no position" in caplog.text
    assert "3 rows in: 1 used, 2 rejected (no position in t.csv)" in capsys.readouterr().err


def test_results_and_an_empty_table_of_positions(end_of, tmp_path):
    (tmp_path / "r.jsonl").write_text(
        '{"gold": "Kent", "predictions": ["Kent"], "probabilities": [0.5], "filename": "1.jpg"}\n'
    )
    pd.DataFrame({"IMG_ID": [], "LAT": [], "LON": []}).to_parquet(tmp_path / "none.parquet")
    status, _, said = end_of(
        *[
            "zeroshot",
            "map",
            tmp_path / "r.jsonl",
            tmp_path / "m.html",
            "--positions",
            tmp_path / "none.parquet",
        ]
    )
    assert status == 1 and "none.parquet" in said and "Traceback" not in said


def test_photographs_without_a_position_are_kept_and_counted(end_of, tmp_path):
    (tmp_path / "t.csv").write_text("id,lat,lon\na,51.5,-0.1\nb,51.5,-0.1\nc,,\nd,95,10\ne,north,west\n")
    status, _, said = end_of("zeroshot", "dedupe", tmp_path / "t.csv", tmp_path / "k.csv")
    assert status == 0 and "3 have no position that can be read; these are kept" in said
    assert pd.read_csv(tmp_path / "k.csv")["id"].tolist() == ["a", "c", "d", "e"]


def test_values_that_json_nests_are_compared_as_text(end_of, tmp_path):
    places = [{"id": n, "lat": 51, "lon": 0, "label": {"a": 1}, "climate": "Cfb"} for n in (1, 2)]
    (tmp_path / "t.json").write_text(json.dumps([*places, places[0] | {"label": "Kent"}]))
    status, _, said = end_of(
        "zeroshot", "dedupe", tmp_path / "t.json", tmp_path / "k.csv", "--group", "label"
    )
    assert status == 0 and len(pd.read_csv(tmp_path / "k.csv")) == 2
    status, _, said = end_of("places", "climates", tmp_path / "t.json", tmp_path / "s.csv", "--per", "label")
    assert status == 0 and "3 rows in: 1 used, 2 rejected" in said
