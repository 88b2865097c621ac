"""One split: whichever system asks, a photograph is in the same part."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from geograph_types.coordinates import geograph_table
from geograph_types.recipe import Recipe
from geograph_types.retrieval import read_located
from geograph_types.splits import SPLITS
from geograph_types.store import EmbeddingStore, Records, StoreWriter
from geograph_types.synthetic import VectorStatistics
from geograph_types.types import TrainingConfig, type_data


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """2,000 synthetic photographs over England with dense numbers, types and positions, and no split of their own."""
    random, rows = np.random.default_rng(1), 2000
    columns = {
        "line": np.arange(1, rows + 1),
        "gridimage_id": np.arange(5000, 5000 + rows),
        "title": [""] * rows,
        "types": random.choice(["Geograph", "Close Look", "Inside"], rows),
        "distance": ["16"] * rows,
        "weight": np.ones(rows, np.float32),
        "split": [""] * rows,
        "lat": random.uniform(51, 54.5, rows),
        "lon": random.uniform(-2.5, 0, rows),
    }
    path = tmp_path_factory.mktemp("stores") / "store"
    with StoreWriter(path, Recipe()) as writer:
        writer.write(Records(pa.table(columns), VectorStatistics.of("image").draw(rows, random)))
    return EmbeddingStore.open(path)


def test_a_photograph_is_in_the_same_part_for_every_system(store):
    split = store.split
    assert {name: 0.04 < (split == name).mean() < 0.9 for name in SPLITS} == dict.fromkeys(SPLITS, True)
    types = type_data(store, TrainingConfig())
    assert np.array_equal(types.train.rows, np.flatnonzero(split == "tra"))
    assert np.array_equal(types.validation.rows, np.flatnonzero(split == "val"))
    images, rows = read_located(store)
    assert np.array_equal(images.split, split[rows])
    table, rejects = geograph_table(store.metadata[["gridimage_id", "lat", "lon"]])
    assert not rejects and table["split"].tolist() == split.tolist()


def test_what_else_is_in_the_data_makes_no_difference(store):
    rows = pd.DataFrame(
        {
            "gridimage_id": store.metadata["gridimage_id"],
            "lat": store.metadata["lat"],
            "lon": store.metadata["lon"],
        }
    ).iloc[::3]
    assert geograph_table(rows)[0]["split"].tolist() == store.split[::3].tolist()


def test_a_split_that_the_source_gave_is_kept(tmp_path):
    columns = {
        "line": [1, 2],
        "gridimage_id": [1, 2],
        "title": ["", ""],
        "types": ["", ""],
        "distance": ["", ""],
        "weight": np.ones(2, np.float32),
        "split": ["tes", "tra"],
    }
    with StoreWriter(tmp_path / "store", Recipe(dim=4)) as writer:
        writer.write(Records(pa.table(columns), np.eye(2, 4, dtype=np.float32)))
    assert EmbeddingStore.open(tmp_path / "store").split.tolist() == ["tes", "tra"]


def test_a_split_is_given_once_and_kept(store, tmp_path, monkeypatch):
    """Whatever rule a later version may have."""
    import shutil

    from geograph_types.store import folder

    copy = shutil.copytree(store.path, tmp_path / "copy")
    (copy / "split.parquet").unlink(missing_ok=True)
    first = EmbeddingStore.open(copy).split
    monkeypatch.setattr(folder, "split_photographs", lambda ids, *_: np.full(len(ids), "tra", dtype=object))
    assert EmbeddingStore.open(copy).split.tolist() == first.tolist()
    table = pd.read_parquet(copy / "split.parquet")
    assert table["gridimage_id"].tolist() == store.metadata["gridimage_id"].tolist()
    table.assign(gridimage_id=table["gridimage_id"] + 1).to_parquet(copy / "split.parquet", index=False)
    with pytest.raises(ValueError, match="belongs to other photographs"):
        _ = EmbeddingStore.open(copy).split
