"""Stores in float32, float16 and int8: what is read, what is refused, and how one becomes another."""

import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from geograph_types.context import open_context
from geograph_types.data import convert
from geograph_types.errors import InputError, JobError, StoreError
from geograph_types.model import GeographModel
from geograph_types.recipe import Recipe
from geograph_types.store import EmbeddingStore, Records, StoreWriter, rewrite_store
from geograph_types.synthetic import VectorStatistics
from geograph_types.types import TypePredictor, predict_file

ROWS = 300


def vectors_of(kind):
    return VectorStatistics.of(kind).draw(ROWS, np.random.default_rng(len(kind)))


IMAGES, TITLES = vectors_of("image"), vectors_of("title")


def write(path, dtype, images=IMAGES, titles=TITLES):
    """A store of three shards, with titles."""
    with StoreWriter(path, dtype=dtype) as writer:
        for start in range(writer.rows, ROWS, 100):
            part = slice(start, start + 100)
            numbers = np.arange(start, start + 100)
            columns = dict(gridimage_id=numbers + 1, title=[f"t{n}" for n in numbers], line=numbers)
            columns |= {name: [""] * 100 for name in ("types", "split")} | {"distance": ["64"] * 100}
            records = Records(pa.table(columns), images[part])
            writer.write_shard(records, [], start + 100, None if titles is None else titles[part])
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    return {dtype: write(folder / dtype, dtype) for dtype in ("float32", "float16", "int8")}


def step(vectors):
    """What a number may be off by in int8: half of the largest of its component in a shard, over 127."""
    largest = np.abs(vectors.reshape(3, 100, -1)).max(axis=1)
    return np.repeat(largest, 100, axis=0) / 254 * 1.001


def test_what_is_read_is_as_near_as_its_kind_allows(stores):
    for dtype, path in stores.items():
        store = EmbeddingStore.open(path)
        assert store.manifest["dtype"] == dtype
        for array, vectors in ((store.embeddings, IMAGES), (store.text_embeddings, TITLES)):
            bounds = {"float32": 0, "float16": np.abs(vectors) / 2**11 + 1e-7, "int8": step(vectors)}
            read = array[:]
            assert read.dtype == np.float32 and (np.abs(read - vectors) <= bounds[dtype]).all()
            np.testing.assert_array_equal(array[[250, 3, -1]], read[[250, 3, -1]])
            np.testing.assert_array_equal(np.concatenate([shard[:] for shard in array.shards]), read)
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[:], read)
        np.testing.assert_array_equal(
            np.concatenate([part for _, part in store.parts()]), store.embeddings[:]
        )


def test_the_outlier_does_not_coarsen_the_other_components(stores):
    """With a single scale a vector, number 92 would set the step of all: 6.9 / 127."""
    off = np.abs(EmbeddingStore.open(stores["int8"]).embeddings[:] - IMAGES)
    assert np.median(off.max(axis=0)) < 0.01


def test_int8_takes_a_byte_a_number(stores):
    store = EmbeddingStore.open(stores["int8"])
    assert {np.load(path).dtype for path in store.embeddings.paths} == {np.dtype(np.int8)}
    vectors = sum(path.stat().st_size for path in (store.path / "img_emb").iterdir())
    assert vectors < ROWS * 512 * 1.01
    scales = [np.load(path) for path in sorted((store.path / "img_emb_scales").iterdir())]
    assert [(part.shape, part.dtype) for part in scales] == [((512,), np.dtype(np.float32))] * 3
    assert store.verify() == 3 + 2 * 3 + 2 * 3


def predictions(path, predictor):
    """Of the store, and of the store to a file."""
    out = path.with_name(f"{path.name}.csv")
    predict_file(path, out, predictor, overwrite=True, quiet=True)
    return predictor.predict(EmbeddingStore.open(path)), pd.read_csv(out)


def test_every_reader_reads_every_kind(stores):
    predictor = TypePredictor(GeographModel())
    tables = {dtype: predictions(path, predictor) for dtype, path in stores.items()}
    for dtype, near in (("float16", 2e-3), ("int8", 2e-2)):
        for table, wanted in zip(tables[dtype], tables["float32"], strict=True):
            assert (table["gridimage_id"] == wanted["gridimage_id"]).all()
            numbers = wanted.select_dtypes("float").columns
            np.testing.assert_allclose(table[numbers], wanted[numbers], atol=near)
        data = open_context(stores[dtype])
        np.testing.assert_allclose(data.image[:], IMAGES, atol=0.06)
        assert data.features(["img", "txt"], "published")[1][:5].dtype == np.float32


def lose(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])


def shorten(path):
    np.save(path, np.load(path)[:-1])


def nought(path):
    np.save(path, 0 * np.load(path))


def no_number(path):
    np.save(path, np.full(512, np.nan, np.float32))


def double(path):
    np.save(path, np.load(path).astype(float))


def other(path):
    np.save(path, 2 * np.load(path))


@pytest.mark.parametrize("manifest", [True, False], ids=["manifest", "no manifest"])
@pytest.mark.parametrize("kind", ["img_emb", "text_emb"])
@pytest.mark.parametrize("spoil", [lose, empty, cut, shorten, nought, no_number, double, other])
def test_spoiled_scales_are_named(spoil, kind, manifest, tmp_path, stores):
    subprocess.run(["cp", "-r", stores["int8"], tmp_path / "store"], check=True)
    if not manifest:
        (tmp_path / "store" / "manifest.json").unlink()
    spoil(tmp_path / "store" / f"{kind}_scales" / f"{kind}_scales_00001.npy")
    if spoil is other and not manifest:
        return  # nothing tells
    with pytest.raises(StoreError, match=f"{kind}_scales(_00001.npy| lacks 1)"):
        EmbeddingStore.open(tmp_path / "store")


def test_a_folder_of_scales_that_is_lost_is_missed(tmp_path, stores):
    for manifest in (True, False):
        subprocess.run(["cp", "-r", stores["int8"], tmp_path / f"{manifest}"], check=True)
        subprocess.run(["rm", "-r", tmp_path / f"{manifest}" / "img_emb_scales"], check=True)
    with pytest.raises(StoreError, match="img_emb_scales lacks 0"):
        EmbeddingStore.open(tmp_path / "True")
    (tmp_path / "False" / "manifest.json").unlink()
    with pytest.raises(StoreError, match="img_emb_00000.npy holds int8, and its scales are missing"):
        EmbeddingStore.open(tmp_path / "False")


@pytest.mark.parametrize(
    "number, dtype, words",
    [(70_000, "float16", "ends at 65,504"), (np.nan, "int8", "which int8"), (np.inf, "int8", "which int8")],
)
def test_a_number_that_does_not_fit_is_an_error(number, dtype, words, tmp_path):
    vectors = IMAGES.copy()
    vectors[150, 7] = number
    with pytest.raises(StoreError, match=f"img_emb_00001.npy.*{words}"):
        write(tmp_path / "store", dtype, images=vectors)
    assert not (tmp_path / "store").exists()


KILLED = """
import os, pathlib, sys
sys.path.insert(0, {here!r})
import test_dtypes
from geograph_types.store import StoreWriter
commit = StoreWriter._commit
def commit_one(self, progress, kinds, tables):
    commit(self, progress, kinds, tables)
    if len(progress["shards"]) == 1:
        os.kill(os.getpid(), 9)
StoreWriter._commit = commit_one
"""


def run_killed(call):
    """Run a line, killed when one shard is done."""
    code = KILLED.format(here=str(Path(__file__).parent)) + call
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL


def assert_equal_files(one, other):
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_killed_run_in_int8_ends_the_same(tmp_path, stores):
    run_killed(f"test_dtypes.write(pathlib.Path({str(tmp_path / 'store')!r}), 'int8')")
    assert not (tmp_path / "store").exists()
    assert_equal_files(write(tmp_path / "store", "int8"), stores["int8"])


def test_a_store_becomes_one_of_other_numbers(tmp_path, stores):
    for dtype in ("float16", "int8"):
        assert convert(stores["float32"], tmp_path / dtype, dtype=dtype, quiet=True).rows == ROWS
        for name in ("img_emb", "text_emb", *(("img_emb_scales", "text_emb_scales") * (dtype == "int8"))):
            for path in (stores[dtype] / name).iterdir():
                assert path.read_bytes() == (tmp_path / dtype / name / path.name).read_bytes()
        made, first = EmbeddingStore.open(tmp_path / dtype), EmbeddingStore.open(stores["float32"])
        pd.testing.assert_frame_equal(made.metadata, first.metadata)
        assert made.recipe == first.recipe and made.verify() > 0
    exported = tmp_path / "exported"
    convert(tmp_path / "int8", exported, quiet=True)  # for clip-retrieval's tools
    arrays = [np.load(path) for path in sorted((exported / "img_emb").iterdir())]
    assert {array.dtype for array in arrays} == {np.dtype(np.float16)}
    assert sorted(path.name for path in exported.iterdir() if path.is_dir()) == [
        "img_emb",
        "metadata",
        "text_emb",
    ]
    read = EmbeddingStore.open(tmp_path / "int8").embeddings[:]
    np.testing.assert_array_equal(np.concatenate(arrays), read.astype(np.float16))


def test_a_killed_conversion_of_a_store_goes_on(tmp_path, stores):
    run_killed(
        f"from geograph_types.store import rewrite_store; "
        f"rewrite_store({str(stores['float32'])!r}, {str(tmp_path / 'store')!r}, quiet=True)"
    )
    with pytest.raises(JobError, match="dtype"):
        rewrite_store(stores["float32"], tmp_path / "store", "int8", quiet=True)
    with pytest.raises(JobError, match="store.name"):
        rewrite_store(stores["int8"], tmp_path / "store", quiet=True)
    rewrite_store(stores["float32"], tmp_path / "store", quiet=True)
    rewrite_store(stores["float32"], tmp_path / "undisturbed", quiet=True)
    assert_equal_files(tmp_path / "store", tmp_path / "undisturbed")


def test_large_shards_of_others_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("geograph_types.store.rewriting._PIECE_ROWS", 70)
    foreign = tmp_path / "foreign"
    for kind in ("img_emb", "metadata"):
        (foreign / kind).mkdir(parents=True)
    sizes = np.cumsum([100, 30, 170])
    for number, rows in enumerate(np.split(np.arange(ROWS), sizes[:-1])):
        np.save(foreign / f"img_emb/img_emb_{number}.npy", IMAGES[rows].astype(float))
        table = pd.DataFrame({"url": [f"u{row}" for row in rows], "caption": None})
        table.to_parquet(foreign / f"metadata/metadata_{number}.parquet")
    rewrite_store(foreign, tmp_path / "ours", "float32", quiet=True)
    ours = EmbeddingStore.open(tmp_path / "ours")
    assert [len(shard) for shard in ours.embeddings.shards] == [70, 30, 30, 70, 70, 30]
    np.testing.assert_array_equal(ours.embeddings[:], IMAGES)
    assert ours.metadata["url"].tolist() == [f"u{row}" for row in range(ROWS)] and ours.recipe is None

    (foreign / "metadata").rename(tmp_path / "aside")
    rewrite_store(foreign, tmp_path / "bare", quiet=True)
    assert EmbeddingStore.open(tmp_path / "bare").metadata["gridimage_id"].tolist() == [*range(-1, -301, -1)]


def test_a_split_that_was_kept_goes_along(tmp_path, stores):
    split = EmbeddingStore.open(stores["float32"]).split
    rewrite_store(stores["float32"], tmp_path / "store", "int8", quiet=True)
    assert (tmp_path / "store" / "split.parquet").exists()
    assert (EmbeddingStore.open(tmp_path / "store").split == split).all()


@pytest.mark.parametrize("options", [{"strict": True}, {"recipe": Recipe()}, {"vectors": "x.npy"}])
def test_options_of_rows_are_refused_for_a_store(options, tmp_path, stores):
    with pytest.raises(InputError, match="go with a file of rows"):
        convert(stores["float32"], tmp_path / "out", **options)


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "photographs").mkdir()
    with pytest.raises(StoreError, match="expected a store"):
        convert(tmp_path / "photographs", tmp_path / "out", quiet=True)
    assert not list(tmp_path.glob("out*"))
