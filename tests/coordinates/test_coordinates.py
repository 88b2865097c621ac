"""Coordinates: the published lists, two processes against one, the command line."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")
pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from typer.testing import CliRunner, Result

from geograph_types.cli.root import app
from geograph_types.clip import clip_recipe, load_clip
from geograph_types.coordinates import (
    PretrainConfig,
    consistent_places,
    open_pretrained,
    place_chains,
    pretrain,
    read_place_lists,
)
from geograph_types.errors import GeographError
from geograph_types.recipe import Recipe
from geograph_types.synthetic import (
    KINDS,
    draw_photograph,
    make_world,
)
from geograph_types.zeroshot import ZeroShotPredictor, encode_prompts, prompt_set


def python(folder: Path, code: str, **environment) -> None:
    """A script in a process of its own."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    settings = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=300, env=settings, cwd=folder
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_published_lists_are_one_hierarchy_and_impossible_places_have_no_probability(published):
    folder = published / "geolocation"
    labels = read_place_lists(folder / "unique_sub-region_list.txt", folder / "unique_city_list.txt")
    assert labels.sizes == (10, 564, 1593)
    city_state = labels.county_state[labels.city_county]
    states = np.array(labels.states)[city_state]
    assert (states == "Texas_US").sum() == 557 and (
        np.array(labels.states)[labels.county_state] == "Texas_US"
    ).sum() == 159
    for city, county, state in zip(labels.cities, labels.city_county, city_state):
        assert (
            city.partition("_")[2] == labels.counties[county]
            and labels.counties[county].partition("_")[2] == labels.states[state]
        )
    assert labels.cities == tuple(
        (folder / "unique_city_list.txt").read_text().split("\n")[:1593]
    )  # the published order

    logits = {
        level: 5 * torch.randn(20, size) for level, size in zip(("state", "county", "city"), labels.sizes)
    }
    logits["state"][:, 0] = 1e4  # sure of Idaho
    places = consistent_places(logits, labels)
    idaho = torch.from_numpy(city_state == 0)
    assert (places["city"][:, ~idaho] == 0).all() and torch.allclose(
        places["city"][:, idaho].sum(1), torch.ones(20), atol=1e-4
    )
    assert len(place_chains(labels)) == 1593


@pytest.fixture(scope="module")
def country(tmp_path_factory):
    """64 drawn photographs of four kinds, with places."""
    folder = tmp_path_factory.mktemp("country")
    rows = []
    for number in range(64):
        kind = list(KINDS)[number % 4]
        draw_photograph(kind, number, (80, 60)).save(folder / f"{number}.png")
        rows.append(
            {
                "id": str(number),
                "lat": 50.0 + number % 4,
                "lon": -1.0,
                "climate": 15,
                "month": 0,
                "state": "Drawn_XX",
                "county": f"{kind}_Drawn_XX",
                "city": None,
                "split": ("tra", "tra", "val", "tes")[number // 16],
                "image_path": str(folder / f"{number}.png"),
            }
        )
    pd.DataFrame(rows).to_parquet(folder / "places.parquet", index=False)
    return folder / "places.parquet"


NETWORK = clip_recipe("ViT-S-32-alt", "random:1", image_size=64)
PRETRAIN = f"""
    import pandas as pd
    from geograph_types.coordinates import PretrainConfig, pretrain
    from geograph_types.recipe import Recipe
    if __name__ == "__main__":
        config = PretrainConfig(epochs=2, batch_size=8, learning_rate=1e-4)
        options = dict(quiet=True, accelerator="cpu", devices=2, strategy="ddp")
        pretrain(pd.read_parquet({{table!r}}), {{run!r}}, config, {NETWORK}, **options)
"""


@pytest.mark.slow
def test_two_processes_pretrain_as_one_with_the_doubled_batch(country, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    doubled = PretrainConfig(epochs=2, batch_size=16, learning_rate=1e-4)
    pretrain(pd.read_parquet(country), one, doubled, NETWORK, quiet=True, accelerator="cpu")
    python(tmp_path, PRETRAIN.format(table=str(country), run=str(two)), MASTER_ADDR="127.0.0.1")
    histories = [pd.read_csv(path / "history.csv") for path in (one, two)]
    np.testing.assert_allclose(histories[0]["train_loss"], histories[1]["train_loss"], rtol=1e-4)
    from safetensors.torch import load_file

    start = load_clip(NETWORK, "cpu").model.state_dict()
    first, second = (load_file(path / "model" / "model.safetensors") for path in (one, two))
    moved = {
        name: (first[name] - start[name]).abs().max().item()
        for name in first
        if first[name].is_floating_point()
    }
    moved = {name: most for name, most in moved.items() if most > 0}
    assert moved and all(".resblocks." in name for name in moved)
    for name in moved:
        begun, alone, together = (felt(name, state[name]) for state in (start, first, second))
        away = (alone - together).norm() / (alone - begun).norm()
        assert away < 0.02, (name, float(away))


def felt(name, tensor):
    """Without the bias of attention's keys, which changes no output: its gradient is rounding, and Adam enlarges it."""
    if not name.endswith("in_proj_bias"):
        return tensor
    query, _, value = tensor.chunk(3)
    return torch.cat([query, value])


def geograph_types(*words: object, fails: type[Exception] | None = None) -> Result:
    """What `geograph-types coordinates` says; the error it ends with must be of the kind given."""
    result = CliRunner().invoke(app, ["coordinates", *map(str, words)])
    if fails:
        assert isinstance(result.exception, fails), (result.output, result.exception)
    else:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def test_commands(country, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.html"
    network = ("--backbone", "resnet18", "--pretrained", "random:1", "--image-size", 32)
    train = ("train", country, run, *network, "--target", "sphere", "--no-context", "--epochs", 1)
    train = (*train, "--batch-size", 16)
    geograph_types(*train, "--profile")
    assert list((run / "profile").iterdir()) and list((run / "tensorboard").iterdir())
    written = (run / "model" / "model.safetensors").stat().st_mtime_ns
    geograph_types(*train)
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == written  # finished: left alone
    refused = geograph_types(*train, "--seed", 1, fails=GeographError)
    assert "settings.seed is 42 there and 1 now" in str(refused.exception)

    said = geograph_types("evaluate", country, "--model", run, "--report", report).stdout
    assert "the radius for 50% holds" in said and "16 photographs" in said
    assert "How good are the positions?" in report.read_text("utf-8")
    geograph_types("predict", country, "--model", run, "--out", tmp_path / "places.csv")
    answers = pd.read_csv(tmp_path / "places.csv")
    assert len(answers) == 64 and {"lat", "lon", "radius_50_km", "radius_90_km"} <= set(answers)
    refused = geograph_types("train", country, tmp_path / "none", fails=GeographError)
    assert "give either --store" in str(refused.exception)


def test_a_pretrained_network_asks_in_its_own_words(country, tmp_path):
    network = ("--clip", "ViT-S-32-alt", "--pretrained", "random:1", "--image-size", 64)
    said = geograph_types(
        "pretrain", country, tmp_path / "clip", *network, "--epochs", 1, "--batch-size", 16
    ).stderr
    assert "by chance" in said and (tmp_path / "clip" / "model" / "model.safetensors").exists()
    question = ZeroShotPredictor.open(tmp_path / "clip", "nation").question.prompts
    trained = encode_prompts(prompt_set("nation"), *open_pretrained(tmp_path / "clip"))
    assert question.recipe == trained.recipe and (question.features == trained.features).all()


def test_a_store_of_embeddings_is_matched_by_number(tmp_path):
    import pyarrow as pa

    from geograph_types.store import Records, StoreWriter, metadata_schema

    rows = 1200
    vectors, table = make_world(rows, dim=512)
    order = np.random.default_rng(1).permutation(rows)  # the store has another order than the table
    columns = [order + 1, order, [""] * rows, [""] * rows, ["0"] * rows, [1.0] * rows, [""] * rows]
    with StoreWriter(tmp_path / "store", Recipe()) as writer:
        writer.write(Records(pa.table(columns, schema=metadata_schema()), vectors[order]))
    places, store, model = (tmp_path / name for name in ("places.parquet", "store", "run"))
    table.to_parquet(places, index=False)
    geograph_types("train", places, model, "--store", store, "--epochs", 8)
    said = geograph_types("evaluate", places, "--store", store, "--model", model, "--json").stdout
    assert json.loads(said)["state right"] > 0.6  # by chance 0.1
    said = geograph_types("predict", store, store, "--model", model).stdout
    assert len(said.splitlines()) == 1 + 2 * rows  # every input counts
