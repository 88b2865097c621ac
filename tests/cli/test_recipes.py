"""Vectors that were made in another way than the model's are refused by every command, whether a manifest says so or not."""

from dataclasses import asdict

import numpy as np
import orjson
import pandas as pd
import pytest

from geograph_types.context import CONTEXT, ContextHead
from geograph_types.coordinates import CoordinateModel, CoordinatePredictor, PlaceLabels, SphereTarget
from geograph_types.model import GeographModel
from geograph_types.recipe import Recipe
from geograph_types.retrieval import GeoModel
from geograph_types.synthetic import make_located

COMMANDS = {
    "types train --start": "train {store} {0}/run --start {0}/types --epochs 1",
    "types evaluate": "evaluate {store} --model {0}/types --report {0}/report.html",
    "types predict": "predict {store} --model {0}/types --out {0}/out.csv",
    "context train --start": "context train {0}/prepared {store} {0}/run --start {0}/context --epochs 1",
    "context evaluate": "context evaluate {0}/prepared {store} --model {0}/context",
    "locate train --start": "locate train {store} {0}/run --start {0}/places --epochs 1",
    "locate evaluate": "locate evaluate {store} --model {0}/places --gallery britain-50km --all",
    "locate calibrate": "locate calibrate {store} {0}/check.json --model {0}/places --gallery britain-50km",
    "locate check": "locate check {store} {0}/known.json --model {0}/places --gallery britain-50km",
    "coordinates train --start": "coordinates train {0}/table.csv {0}/run --store {store} --start {0}/coordinates "
    "--target sphere --no-context --epochs 1",
    "coordinates evaluate": "coordinates evaluate {0}/table.csv --model {0}/coordinates --store {store}",
    "coordinates predict": "coordinates predict {store} --model {0}/coordinates --out {0}/out.csv",
}
NEW_MODELS = {
    "types train": "train {store} {0}/run --epochs 1",
    "context train": "context train {0}/prepared {store} {0}/run --modalities img --epochs 1",
    "locate train": "locate train {store} {0}/run --epochs 1",
    "coordinates train": "coordinates train {0}/table.csv {0}/run --store {store} --no-context --epochs 1",
}


def write_store(folder, vectors, table, recipe=None):
    """A store of one shard, with a manifest or without."""
    for kind in ("img_emb", "metadata"):
        (folder / kind).mkdir(parents=True)
    np.save(folder / "img_emb/img_emb_00000.npy", vectors)
    table.to_parquet(folder / "metadata/metadata_00000.parquet")
    if recipe:
        shards = [{"rows": len(vectors)}]
        manifest = {"rows": len(vectors), "shards": shards, "recipe": asdict(recipe)}
        (folder / "manifest.json").write_bytes(orjson.dumps(manifest))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store of the right recipe and two of wrong ones, and one model of each kind."""
    folder = tmp_path_factory.mktemp("world")
    images = make_located(400, clip_dim=512)
    vectors = np.asarray(images.embeddings)
    table = pd.DataFrame(
        {
            "gridimage_id": np.arange(1, 401),
            "types": ["Geograph", "Cross Grid,Extra"] * 200,
            "distance": ["16", "1024"] * 200,
            "weight": np.float32(1),
            "split": (["tra"] * 6 + ["val"] * 2 + ["tes"] * 2) * 40,
            "lat": images.lat,
            "lon": images.lon,
        }
    )
    divided = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    write_store(folder / "right", vectors, table)
    write_store(folder / "divided", divided, table)
    write_store(folder / "other", vectors, table, Recipe(pretrained="laion2b_s34b_b79k"))
    table.rename(columns={"gridimage_id": "id"})[["id", "lat", "lon", "split"]].to_csv(folder / "table.csv")
    (folder / "prepared").mkdir()
    labels = pd.DataFrame(
        np.eye(len(CONTEXT.columns), dtype=np.uint8)[np.arange(400) % 49], columns=CONTEXT.columns
    )
    labels.assign(gridimage_id=table["gridimage_id"]).to_parquet(folder / "prepared/labels.parquet")
    GeographModel().save_pretrained(folder / "types")
    ContextHead("linear", ["img"], "waves").save_pretrained(folder / "context")
    GeoModel(512, 16, waves=8, hidden=16, dim=8).save_pretrained(folder / "places")
    network = CoordinateModel(512, 3, context=False)
    CoordinatePredictor(network, SphereTarget(), PlaceLabels(), recipe=Recipe()).save(folder / "coordinates")
    return folder


@pytest.mark.parametrize("store", ["divided", "other"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_model_refuses_vectors_of_another_recipe(name, store, world, tmp_path, end_of):
    if name == "locate check":
        calibrate = COMMANDS["locate calibrate"].replace("check.json", "known.json")
        if not (world / "known.json").exists():
            assert end_of(*calibrate.format(world, store=world / "right").split()).status == 0
    before = sorted(world.rglob("*"))
    status, _, words = end_of(*COMMANDS[name].format(world, store=world / store).split())
    assert status not in (0, 2) and "photographs" in words, words
    assert ("divided by their length" if store == "divided" else "laion2b") in words, words
    assert sorted(world.rglob("*")) == before


@pytest.mark.parametrize("name", NEW_MODELS)
def test_a_new_model_is_not_trained_on_vectors_that_cannot_be_what_they_are_taken_for(name, world, end_of):
    status, _, words = end_of(*NEW_MODELS[name].format(world, store=world / "divided").split())
    assert status not in (0, 2) and "divided by their length" in words, words
    assert not (world / "run").exists()


@pytest.mark.parametrize(
    "name", ["types evaluate", "context evaluate", "locate evaluate", "coordinates evaluate"]
)
def test_vectors_of_the_right_recipe_pass(name, world, end_of):
    status, _, words = end_of(*COMMANDS[name].format(world, store=world / "right").split())
    assert status == 0, words
