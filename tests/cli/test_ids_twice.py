"""A store that others made may hold a photograph twice: opening it says so, and what looks photographs up names them."""

import json
import shutil

import pandas as pd
import pytest
from commands import COMMANDS, make_world

from geograph_types.data import convert
from geograph_types.errors import GeographWarning
from geograph_types.store import EmbeddingStore


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store without a manifest whose second row is of the first one's photograph, and what names its photographs."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder)
    shutil.copytree(folder / "store", folder / "ours")
    (folder / "store/manifest.json").unlink()
    path = next((folder / "store/metadata").glob("*.parquet"))
    table = pd.read_parquet(path)
    table.loc[1, "gridimage_id"] = table.loc[0, "gridimage_id"]
    table.to_parquet(path, index=False)
    numbers = table["gridimage_id"]
    (folder / "number").write_text(str(numbers[0]))
    rows = {"gridimage_id": numbers[5:6], "types": "Geograph", "weight": 1}
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
    doubtful = {"photograph": numbers[5:6], "plausibility": 0.001, "away_km": 9}
    pd.DataFrame(doubtful).to_csv(folder / "doubtful.csv", index=False)
    labels = pd.read_parquet(folder / "prepared/labels.parquet")
    pd.concat([labels, labels[:1]]).to_parquet(folder / "labels.parquet")
    shutil.copytree(folder / "context", folder / "run")
    pd.DataFrame({"gridimage_id": numbers, "split": "tes"}).to_parquet(folder / "run/split.parquet")
    return folder


LOOKS_UP = {
    "context submit": COMMANDS["context submit"],
    "coordinates evaluate": COMMANDS["coordinates evaluate"],
    "train": "train {0}/store OUT --with {0}/rows.csv --epochs 1",
    "review rank": "review rank {0}/store --model {0}/types --doubtful {0}/doubtful.csv --out OUT.parquet",
    "a run": "context evaluate {0}/prepared {0}/ours --model {0}/run",
}


@pytest.mark.parametrize("name", LOOKS_UP)
def test_a_photograph_that_is_there_twice_is_named(name, world, here, tmp_path):
    words = LOOKS_UP[name].format(world).replace("OUT", str(tmp_path / "out")).split()
    number = (world / "number").read_text()
    said = here(*words, status=1)[1]
    assert f"more than one row for gridimage_id {number}: expected one each" in said


def test_labels_that_are_there_twice_are_rejects(world, here, tmp_path):
    words = (
        "review",
        "rank",
        world / "ours",
        "--model",
        world / "context",
        "--out",
        tmp_path / "out.parquet",
    )
    said = here(*words, "--context-labels", world / "labels.parquet")[1]
    assert "labels.parquet: 61 rows in: 60 used, 1 rejected; the first in line 61: duplicate id" in said


@pytest.mark.parametrize(
    "line",
    [
        "verify {0}/store",
        "predict {0}/store --model {0}/types",
        "locate evaluate {0}/store --model {0}/places --gallery britain-50km --all",
    ],
)
def test_opening_says_so_once(line, world, here):
    said = here(*line.format(world).split())[1]
    number = (world / "number").read_text()
    told = (
        f"store holds photographs more than once (rows too many: 1): gridimage_id {number}. Each row is used"
    )
    assert said.count("more than once") == 1 and told in said
    assert "60 photographs in: " in said
    assert "more than once" not in here("verify", world / "ours")[1]


def test_python_is_warned_and_convert_keeps_the_first_row(world, tmp_path):
    shutil.copytree(world / "store", tmp_path / "store")
    path = next((tmp_path / "store/metadata").glob("*.parquet"))
    pd.read_parquet(path).drop(columns="split").to_parquet(path)
    with pytest.warns(GeographWarning, match="more than once"):
        store = EmbeddingStore.open(tmp_path / "store")
    split = store.split  # it stays beside the store
    with pytest.warns(GeographWarning, match="more than once"):
        summary = convert(tmp_path / "store", tmp_path / "made", quiet=True)
    assert (
        str(summary)
        == "60 photographs in: 59 used, 1 rejected (see rejects.jsonl); made made\n  1 duplicate id"
    )
    made = EmbeddingStore.open(tmp_path / "made")
    first = [row for row in range(60) if row != 1]
    assert made.metadata["gridimage_id"].tolist() == store.metadata["gridimage_id"][first].tolist()
    assert (made.embeddings[:] == store.embeddings[first].astype("float16")).all()
    assert made.split.tolist() == split[first].tolist()
    [reject] = map(json.loads, (tmp_path / "made/rejects.jsonl").read_text().splitlines())
    assert (reject["line"], str(reject["gridimage_id"])) == (1, (world / "number").read_text())
