"""Files of a store that are lost, too many, swapped or damaged are never paired wrongly; any number of them opens."""

import resource
import shutil

import numpy as np
import pandas as pd
import pytest

from geograph_types.data import convert
from geograph_types.errors import GeographError, StoreError
from geograph_types.model import GeographModel
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import VectorStatistics, write_sample
from geograph_types.types import TypePredictor, predict_file


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A store of three shards of one length."""
    folder = tmp_path_factory.mktemp("sound")
    convert(write_sample(folder / "sample.jsonl", 300), folder / "store", shard_size=100, quiet=True)
    return folder / "store"


@pytest.fixture
def store(sound, tmp_path):
    """A copy to be spoiled."""
    return shutil.copytree(sound, tmp_path / "store")


def shard(store, kind, number):
    return next((store / kind).glob(f"*_{number:05d}.*"))


def lose(store, kind):
    shard(store, kind, 1).unlink()


def add(store, kind):
    path = shard(store, kind, 2)
    shutil.copy(path, path.with_name(path.name.replace("00002", "00003")))


def swap(store, kind):
    one, other = shard(store, kind, 0), shard(store, kind, 1)
    one.rename(store / "aside")
    other.rename(one)
    (store / "aside").rename(other)


def cut(store, kind):
    path = shard(store, kind, 1)
    path.write_bytes(path.read_bytes()[:-100])


def empty(store, kind):
    shard(store, kind, 1).write_bytes(b"")


def rename(store, kind):
    path = shard(store, kind, 1)
    path.rename(path.with_name(path.name.replace("00001", "00007")))


def shorten(store, kind):
    """One row less in one file than in the other."""
    path = shard(store, kind, 1)
    if kind == "metadata":
        pd.read_parquet(path)[:-1].to_parquet(path)
    else:
        np.save(path, np.load(path)[:-1])


def lengthen(store, kind):
    """Bytes that belong to nothing."""
    path = shard(store, kind, 1)
    path.write_bytes(path.read_bytes() + bytes(4))


@pytest.mark.parametrize("kind", ["img_emb", "metadata"])
@pytest.mark.parametrize("spoil", [lose, add, swap, cut, empty, rename, shorten])
def test_files_that_do_not_belong_together_are_refused(spoil, kind, store):
    """Every reader goes through this opening: tests/cli/test_wrong_answers.py."""
    spoil(store, kind)
    with pytest.raises(StoreError, match=kind):
        EmbeddingStore.open(store).metadata  # noqa: B018


@pytest.mark.parametrize("kind", ["img_emb", "metadata"])
@pytest.mark.parametrize("spoil", [lose, add, cut, rename, shorten, lengthen])
def test_without_a_manifest_names_and_lengths_still_tell(spoil, kind, store):
    (store / "manifest.json").unlink()
    spoil(store, kind)
    with pytest.raises(StoreError, match="img_emb|metadata"):
        EmbeddingStore.open(store)


def test_titles_are_looked_at_too(store):
    manifest = store / "manifest.json"
    (store / "text_emb").mkdir()
    for number in range(3):
        shutil.copy(shard(store, "img_emb", number), store / f"text_emb/text_emb_{number:05d}.npy")
    assert EmbeddingStore.open(store).text_embeddings.shape == (300, 512)
    shard(store, "text_emb", 0).unlink()
    with pytest.raises(StoreError, match="text_emb lacks 0"):
        EmbeddingStore.open(store)
    manifest.unlink()
    with pytest.raises(StoreError, match="text_emb lacks 0"):
        EmbeddingStore.open(store)


def test_a_change_in_the_middle_is_found_by_verify(store):
    assert EmbeddingStore.open(store).verify() == 6
    path = shard(store, "img_emb", 1)
    data = bytearray(path.read_bytes())
    data[100_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="img_emb_00001.npy is not the file"):
        EmbeddingStore.open(store).verify()


def test_a_store_without_checksums_says_so(store):
    (store / "manifest.json").unlink()
    assert EmbeddingStore.open(store).verify() == 0


def test_not_a_number_never_becomes_a_tag(store):
    (store / "manifest.json").unlink()
    path = shard(store, "img_emb", 1)
    vectors = np.load(path)
    vectors[7] = np.nan
    np.save(path, vectors)
    predictor = TypePredictor(GeographModel())
    with pytest.raises(GeographError, match="row 107"):
        predictor.predict(EmbeddingStore.open(store))
    result = predict_file(store, store.with_name("out.csv"), predictor, quiet=True)
    assert result.rows == 299 and result.rejects == {"NaN or infinite": 1}
    ids = EmbeddingStore.open(store).metadata["gridimage_id"].drop(107).tolist()
    assert pd.read_csv(store.with_name("out.csv"))["gridimage_id"].tolist() == ids


def test_any_number_of_shards_opens_where_few_files_may_be_open(tmp_path):
    vectors = VectorStatistics.of("image").draw(300, np.random.default_rng(0))
    for kind in ("img_emb", "text_emb", "metadata"):
        (tmp_path / kind).mkdir()
    for number in range(300):
        for kind in ("img_emb", "text_emb"):
            np.save(tmp_path / kind / f"{kind}_{number}.npy", vectors[number : number + 1])
        table = pd.DataFrame({"gridimage_id": [number]})
        table.to_parquet(tmp_path / "metadata" / f"metadata_{number}.parquet")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        store = EmbeddingStore.open(tmp_path)
        assert (store.embeddings[:] == vectors).all() and (store.text_embeddings[::-1] == vectors[::-1]).all()
        assert store.metadata["gridimage_id"].tolist() == list(range(300))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
