"""Numbers that became text on the way, rows that cannot be used: the challenge's tables as Parquet and CSV."""

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from commands import make_world
from pyarrow import parquet

from geograph_types.context import CONTEXT


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    return folder


@pytest.fixture
def labels(world):
    return pd.read_parquet(world / "prepared/labels.parquet")


def queue_of(here, world, path, out, model=None):
    model = model or world / "context"
    words = ("review", "rank", world / "store", "--model", model, "--context-labels", path)
    said = here(*words, "--out", out)[1]
    return pd.read_parquet(out)["given"].tolist(), said


def test_labels_that_are_text_are_the_same_labels(world, labels, here, tmp_path):
    labels.astype(str).to_parquet(tmp_path / "texts.parquet")
    labels.to_csv(tmp_path / "labels.csv", index=False)
    known = queue_of(here, world, world / "prepared/labels.parquet", tmp_path / "q.parquet")
    assert any(known[0]) and "labels.parquet: 60 rows in: 60 used, 0 rejected" in known[1]
    assert queue_of(here, world, tmp_path / "labels.csv", tmp_path / "c.parquet")[0] == known[0]
    given, said = queue_of(here, world, tmp_path / "texts.parquet", tmp_path / "t.parquet")
    assert given == known[0] and "texts.parquet: 60 rows in: 60 used, 0 rejected" in said
    words = ("review", "promise", world / "store", "--model", world / "context", "--context-labels")
    assert (
        "texts.parquet: 60 rows in"
        in here(*words, tmp_path / "texts.parquet", "--out", tmp_path / "p.json")[1]
    )


def test_labels_that_are_none_are_rejects(world, labels, here, end_of, tmp_path):
    path, column = tmp_path / "lists.parquet", CONTEXT.columns[0]
    labels.assign(**{column: ["x", *["0"] * 59]}).to_parquet(path)
    said = queue_of(here, world, path, tmp_path / "q.parquet")[1]
    assert "60 rows in: 59 used, 1 rejected; the first in line 1: labels other than 0 and 1" in said
    labels.assign(**{column: [[1]] * 60}).to_parquet(path)
    words = ("review", "rank", world / "store", "--model", world / "context", "--context-labels", path)
    end = end_of(*words, "--out", tmp_path / "none.parquet")
    assert end.status == 1 and "lists.parquet: 60 rows in: 0 used, 60 rejected" in end.err
    assert not (tmp_path / "none.parquet").exists()


def test_ids_that_are_text_are_the_same_photographs(world, here, tmp_path):
    words = ("--model", world / "context")
    here("context", "submit", world / "prepared", world / "store", tmp_path / "known.csv.zip", *words)
    (tmp_path / "prepared").mkdir()
    test = pd.read_parquet(world / "prepared/test.parquet")
    odd = [*test["gridimage_id"].astype(str), "-5", "none", str(test["gridimage_id"][0])]
    pd.DataFrame({"gridimage_id": odd}).to_parquet(tmp_path / "prepared/test.parquet")
    out = tmp_path / "texts.csv.zip"
    said = here("context", "submit", tmp_path / "prepared", world / "store", out, *words)[1]
    assert "test.parquet: 63 rows in: 60 used, 3 rejected; the first in line 61: gridimage_id" in said
    pd.testing.assert_frame_equal(pd.read_csv(out), pd.read_csv(tmp_path / "known.csv.zip"))


def test_a_number_that_is_none_is_not_to_be_judged(world, here, tmp_path):
    shutil.copytree(world / "challenge", tmp_path / "challenge")
    test = tmp_path / "challenge/test.csv"
    test.write_text(test.read_text() + "-5\nx\n")
    said = here("context", "prepare", tmp_path / "challenge", tmp_path / "prepared")[1]
    assert "test.csv: 22 rows in: 20 used, 2 rejected; the first in line 22: gridimage_id" in said
    assert (pd.read_parquet(tmp_path / "prepared/test.parquet")["gridimage_id"] > 0).all()
    assert '"row": "-5"' in (tmp_path / "prepared/rejects.jsonl").read_text()


@pytest.fixture
def prepared(world, tmp_path):
    return Path(shutil.copytree(world / "prepared", tmp_path / "prepared"))


def test_a_head_learns_from_labels_that_are_text(prepared, world, labels, end_of, here, tmp_path):
    path, column = prepared / "labels.parquet", CONTEXT.columns[0]
    words = ("context", "train", prepared, world / "store", tmp_path / "run", "--epochs", "1")
    for wrong in ([[1]] * 60, not_utf_8(60)):
        write(labels.assign(**{column: wrong}), path, column)
        end = end_of(*words)
        assert end.status == 1 and "labels.parquet: 60 rows in: 0 used, 60 rejected" in end.err
    labels.astype(str).to_parquet(path)
    said = here(*words, "--modalities", "img")[1]
    assert "labels.parquet: 60 rows in: 60 used, 0 rejected" in said


def not_utf_8(rows):
    return [b"caf\xe9"] * rows


def write(table, path, column):
    """A table as Parquet, bytes as text, as other programs write them that do not look."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    place = arrow.schema.get_field_index(column)
    if pa.types.is_binary(arrow.schema.field(place).type):
        text = pa.Array.from_buffers(pa.string(), len(arrow), arrow[column].combine_chunks().buffers())
        arrow = arrow.set_column(place, column, text)
    parquet.write_table(arrow, path)


def test_pictures_of_photographs_that_cannot_be_used(prepared, end_of, here, tmp_path):
    pytest.importorskip("wordcloud", reason="needs wordcloud: pip install 'geograph_types[pictures]'")
    path, words = prepared / "train.parquet", ("context", "pictures", prepared)
    photographs = pd.read_parquet(path)
    for wrong in (photographs[:0], photographs.assign(title=[["A church"]] * 60)):
        wrong.to_parquet(path)
        end = end_of(*words, tmp_path / "none")
        assert (
            end.status == 1 and f"train.parquet: {len(wrong)} rows in: 0 used, {len(wrong)} rejec" in end.err
        )
        assert not (tmp_path / "none").exists()
    titles = [None, "near", *[""] * 58]
    texts = photographs.assign(title=titles, path=[None, *photographs["path"][1:]])
    texts.astype({"lat": str, "lon": str}).to_parquet(path)
    said = here(*words, tmp_path / "made")[1]
    assert (
        "train.parquet: 60 rows in: 59 used, 1 rejected; the first in line 1: a path that is no text" in said
    )
    assert "labels.parquet: 60 rows in: 60 used" in said and (tmp_path / "made/word_cloud.png").exists()


def test_a_store_whose_ids_are_text_has_the_same_photographs(prepared, world, here, tmp_path):
    store = Path(shutil.copytree(world / "store", tmp_path / "store"))
    (store / "manifest.json").unlink()
    for path in (store / "metadata").glob("*.parquet"):
        pd.read_parquet(path).astype({"gridimage_id": str}).to_parquet(path)
    said = here("context", "evaluate", prepared, store, "--model", world / "context")[1]
    assert "store: 60 photographs in: 12 used" in said
    for name, of in (("known", world / "store"), ("texts", store)):
        words = ("context", "submit", prepared, of, tmp_path / f"{name}.csv.zip")
        assert "store: 60 photographs in: 60 used" in here(*words, "--model", world / "context")[1]
    tables = [pd.read_csv(tmp_path / f"{name}.csv.zip") for name in ("known", "texts")]
    pd.testing.assert_frame_equal(*tables)
    given, _ = queue_of(
        here, tmp_path, prepared / "labels.parquet", tmp_path / "q.parquet", world / "context"
    )
    assert any(given)
