"""Models with values that no training gives are refused by name, by `open_model` and by the commands."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geograph_types.context import ContextHead
from geograph_types.coordinates import CoordinateModel, CoordinatePredictor, PlaceLabels, SphereTarget
from geograph_types.errors import CheckpointError, GeographError
from geograph_types.model import GeographModel
from geograph_types.models import open_model
from geograph_types.recipe import Recipe
from geograph_types.retrieval import Gallery, GeoModel, GeoRetriever, load_check


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One of each kind that is saved with weights."""
    folder = tmp_path_factory.mktemp("models")
    GeographModel().save_pretrained(folder / "types")
    ContextHead("linear", ["img"]).save_pretrained(folder / "context")
    GeoModel(16, 16, waves=8, hidden=16, dim=8).save_pretrained(folder / "places")
    network = CoordinateModel(16, 3, context=False)
    CoordinatePredictor(network, SphereTarget(), PlaceLabels(), recipe=Recipe(dim=16)).save(
        folder / "coordinates"
    )
    return folder


def change(folder, **values):
    """Other values in a model's configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


NAN = float("nan")
GALLERY = Gallery(np.linspace(50, 58, 30), np.linspace(-5, 1, 30))
CHANGES = {
    "types": [
        {"thresholds": [0.5] * 6 + [NAN]},
        {"thresholds": [0.5] * 6 + [1.2]},
        {"thresholds": [0.5] * 6},
        {"thresholds": "half"},
        {"temperature": [1.0] * 6 + [0.0]},
        {"temperature": [1.0] * 6 + [-1.0]},
        {"temperature": [NAN] * 7},
        {"temperature": 1.0},
        {"classes": ["Aerial"] * 7},
        {"classes": []},
        {"classes": 7},
        {"dist_map": {"0": 0}},
        {"clip_dim": "512"},
        {"recipe": {"model": 3}},
        {"recipe": {"colour": "red"}},
    ],
    "context": [{"tags": ["Urban"] * 49}, {"kind": "wide"}, {"modalities": ["smell"]}, {"sets": 5}],
    "places": [{"sigmas": "all"}, {"recipe": []}, {"dim": 9}],
    "coordinates": [
        {"radii": [{"edges": [], "factors": [NAN]}] * 2},
        {"radii": [{"edges": [], "factors": [0.0]}] * 2},
        {"radii": [{"edges": [1.0], "factors": [1.0]}] * 2},
        {"radii": []},
        {"labels": {"states": ["A", "A"], "counties": [], "cities": []}},
        {"labels": {"towns": []}},
        {"target": "somewhere"},
        {"model": {"dim": 15}},
        {"recipe": "mine"},
    ],
}


@pytest.mark.parametrize(
    "kind, values", [(kind, values) for kind in CHANGES for values in CHANGES[kind]], ids=str
)
def test_a_changed_configuration_is_refused(kind, values, models, tmp_path):
    folder = shutil.copytree(models / kind, tmp_path / "spoiled")
    change(folder, **values)
    with pytest.raises(CheckpointError, match="spoiled"):
        open_model(folder, GALLERY)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"model"', "{}", "[" * 100_000])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_damaged_configuration_is_refused(kind, text, models, tmp_path):
    folder = shutil.copytree(models / kind, tmp_path / "spoiled")
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="spoiled"):
        open_model(folder, GALLERY)


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", CHANGES)
def test_a_lost_file_is_named(kind, lost, models, tmp_path):
    folder = shutil.copytree(models / kind, tmp_path / "spoiled")
    (folder / lost).unlink()
    with pytest.raises(GeographError, match="spoiled"):
        open_model(folder, GALLERY)


def test_weights_without_a_configuration_are_no_model_with_the_usual_one(models, tmp_path):
    folder = shutil.copytree(models / "types", tmp_path / "spoiled")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match="no config.json"):
        GeographModel.from_pretrained(folder)


@pytest.mark.parametrize("kind", CHANGES)
def test_weights_that_are_no_numbers_are_refused(kind, models, tmp_path):
    folder = shutil.copytree(models / kind, tmp_path / "spoiled")
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if weights[name].ndim)
    weights[name].view(-1)[0] = NAN
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="spoiled.*NaN"):
        open_model(folder, GALLERY)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:200])
    with pytest.raises(CheckpointError, match="spoiled"):
        open_model(folder, GALLERY)


def test_a_pth_with_a_wrong_value_is_refused(tmp_path):
    model = GeographModel()
    model.thresholds[0] = NAN
    model.save_checkpoint(tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="model.pth.*thresholds"):
        open_model(tmp_path / "model.pth")
    torch.save({"model_state_dict": [1], **GeographModel().config()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="model.pth"):
        open_model(tmp_path / "model.pth")


def test_the_command_says_so_in_a_line(models, tmp_path, here):
    folder = shutil.copytree(models / "types", tmp_path / "spoiled")
    change(folder, thresholds=[NAN] * 7)
    (tmp_path / "rows.jsonl").write_text("{}")
    predict = ("predict", tmp_path / "rows.jsonl", "--model", folder, "--out", tmp_path / "out.csv")
    words = here(*predict, status=1)[1]
    assert f"error: {folder}" in words and "from 0 to 1" in words and "Traceback" not in words


def test_torch_is_not_quoted_where_it_advises_to_run_foreign_code(tmp_path):
    torch.save({"weight": np.zeros(3), "code": print}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError) as refused:
        open_model(tmp_path / "foreign.pth")
    assert "weights_only" not in str(refused.value) and "two options" not in str(refused.value)


def test_a_check_belongs_to_model_and_gallery(tmp_path):
    from geograph_types.retrieval import PlausibilityCheck, save_check

    dice = np.random.default_rng(1)
    one, other = (GeoRetriever(GeoModel(16, 16, waves=8, hidden=16, dim=8), GALLERY) for _ in range(2))
    vectors = dice.normal(size=(40, 16)).astype(np.float32)
    check = PlausibilityCheck.fit(one, vectors, GALLERY.positions[np.arange(40) % 30])
    path = tmp_path / "check.json"
    save_check(check, path)
    assert len(load_check(one, path).known) == 40
    with pytest.raises(GeographError, match="check.json was calibrated with another model"):
        load_check(other, path)
    for text in ("", "[]", "{}", '{"gallery": "x", "scores": [1, 2]}', '{"gallery": "x", "scores": "many"}'):
        path.write_text(text)
        with pytest.raises(GeographError, match="check.json"):
            load_check(one, path)
