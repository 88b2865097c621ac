"""Coordinates: the published lists, two processes against one, killed runs, the command line."""

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

from geograph_types.clip import clip_recipe, load_clip
from geograph_types.coordinates import (
    consistent_places,
    open_pretrained,
    place_chains,
    read_place_lists,
)
from geograph_types.recipe import Recipe
from geograph_types.synthetic import (
    KINDS,
    draw_photograph,
    make_world,
)
from geograph_types.zeroshot import ZeroShotPredictor, encode_prompts, prompt_set

COMMAND = Path(sys.executable).with_name("geograph-types")


def geograph_types(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)


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


PRETRAIN = """
    import sys
    from pathlib import Path
    import pandas as pd
    from geograph_types.clip import clip_recipe
    from geograph_types.coordinates import PretrainConfig, pretrain
    if __name__ == "__main__":
        recipe = clip_recipe("ViT-S-32-alt", "random:1", image_size=64)
        config = PretrainConfig(epochs=2, batch_size={batch}, learning_rate=1e-4)
        pretrain(pd.read_parquet({table!r}), {run!r}, config, recipe, quiet=True, accelerator="cpu", {options})
"""


def test_two_processes_pretrain_as_one_with_the_doubled_batch(country, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    python(tmp_path, PRETRAIN.format(batch=16, table=str(country), run=str(one), options="devices=1"))
    python(
        tmp_path,
        PRETRAIN.format(batch=8, table=str(country), run=str(two), options="devices=2, strategy='ddp'"),
        MASTER_ADDR="127.0.0.1",
    )
    histories = [pd.read_csv(path / "history.csv") for path in (one, two)]
    np.testing.assert_allclose(histories[0]["train_loss"], histories[1]["train_loss"], rtol=1e-4)
    from safetensors.torch import load_file

    start = load_clip(clip_recipe("ViT-S-32-alt", "random:1", image_size=64), "cpu").model.state_dict()
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


def test_commands(country, tmp_path):
    run, network = (
        tmp_path / "run",
        ("--backbone", "resnet18", "--pretrained", "random:1", "--image-size", 64),
    )
    train = (
        "coordinates",
        "train",
        country,
        run,
        *network,
        "--target",
        "sphere",
        "--no-context",
        "--epochs",
        1,
        "--batch-size",
        8,
    )
    result = geograph_types(*train, "--profile")
    assert result.returncode == 0, result.stderr
    assert list((run / "profile").iterdir()) and list((run / "tensorboard").iterdir())
    written = (run / "model" / "model.safetensors").stat().st_mtime_ns
    assert geograph_types(*train).returncode == 0
    assert (
        run / "model" / "model.safetensors"
    ).stat().st_mtime_ns == written  # what is finished is left alone
    result = geograph_types(*train, "--seed", 1)
    assert result.returncode == 1 and "settings.seed is 42 there and 1 now" in result.stderr
    result = geograph_types(
        "coordinates",
        "evaluate",
        country,
        "--model",
        run,
        "--report",
        tmp_path / "report.html",
    )
    assert result.returncode == 0, result.stderr
    assert "the radius for 50% holds" in result.stdout and "16 photographs" in result.stdout
    assert "How good are the positions?" in (tmp_path / "report.html").read_text("utf-8")
    result = geograph_types(
        "coordinates", "predict", country, "--model", run, "--out", tmp_path / "places.csv"
    )
    assert result.returncode == 0, result.stderr
    answers = pd.read_csv(tmp_path / "places.csv")
    assert len(answers) == 64 and {"lat", "lon", "radius_50_km", "radius_90_km"} <= set(answers)

    result = geograph_types(
        "coordinates",
        "pretrain",
        country,
        tmp_path / "clip",
        "--clip",
        "ViT-S-32-alt",
        "--pretrained",
        "random:1",
        "--image-size",
        64,
        "--epochs",
        1,
        "--batch-size",
        16,
    )
    assert result.returncode == 0, result.stderr
    assert "by chance" in result.stderr and (tmp_path / "clip" / "model" / "model.safetensors").exists()
    question = ZeroShotPredictor.open(
        tmp_path / "clip", "nation"
    ).question.prompts  # the run's own network encodes them
    trained = encode_prompts(prompt_set("nation"), *open_pretrained(tmp_path / "clip"))
    assert question.recipe == trained.recipe and (question.features == trained.features).all()
    result = geograph_types("coordinates", "train", country, tmp_path / "none")
    assert result.returncode == 1 and "error: give either --store" in result.stderr


def test_a_store_of_embeddings_is_matched_by_number(tmp_path):
    import pyarrow as pa

    from geograph_types.store import Records, StoreWriter, metadata_schema

    vectors, table = make_world(1200, dim=512)
    order = np.random.default_rng(1).permutation(1200)  # the store has another order than the table
    columns = [order + 1, order, [""] * 1200, [""] * 1200, ["0"] * 1200, [1.0] * 1200, [""] * 1200]
    with StoreWriter(tmp_path / "store", Recipe()) as writer:
        writer.write(Records(pa.table(columns, schema=metadata_schema()), vectors[order]))
    table.to_parquet(tmp_path / "places.parquet", index=False)
    train = (
        "coordinates",
        "train",
        tmp_path / "places.parquet",
        tmp_path / "run",
        "--store",
        tmp_path / "store",
        "--epochs",
        8,
    )
    result = geograph_types(*train)
    assert result.returncode == 0, result.stderr
    model = tmp_path / "run"
    result = geograph_types(
        "coordinates",
        "evaluate",
        tmp_path / "places.parquet",
        "--store",
        tmp_path / "store",
        "--model",
        model,
        "--json",
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["state right"] > 0.6  # by chance 0.1
    result = geograph_types("coordinates", "predict", tmp_path / "store", "--model", model)
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 1 + 1200
    result = geograph_types(
        "coordinates", "predict", tmp_path / "store", tmp_path / "store", "--model", model
    )
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 1 + 2400  # every input counts
