"""Heads as other programs read them: `weights.json` in PHP, ONNX, and both from the command line."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from geograph_types.checkpoints import open_weights
from geograph_types.cli.root import app
from geograph_types.context import ContextHead, ContextPredictor
from geograph_types.heads import FeatureHead, HeadPredictor
from geograph_types.model import GeographModel
from geograph_types.models import open_model
from geograph_types.platform import ApiHead, write_onnx, write_weights_json
from geograph_types.types import TypePredictor

TASKS = ["types", "context", "subject", "assess", "gallery", "scenic"]
METADATA = {  # what Geograph's own file of each says
    "types": {"clip_dim", "dist_embed_dim", "classes", "dist_map"},
    "context": {"num_labels", "classes", "input_dim"},
    "subject": {"clip_dim", "dist_embed_dim", "hidden_layers", "num_classes", "metadata", "dist_map"},
    **dict.fromkeys(["assess", "gallery", "scenic"], {"clip_dim", "pe_dim", "hidden_layers", "task"}),
}


@pytest.fixture(scope="module")
def batch():
    dice = np.random.default_rng(3)
    found = {
        "clip-image": dice.normal(0, 0.4, (5, 512)).astype(np.float32),
        "clip-title": dice.normal(0, 0.4, (5, 512)).astype(np.float32),
        "pe-image": dice.normal(0, 0.4, (5, 1024)).astype(np.float32),
        "distance": np.array([0, 1, 11, 22, 7]),
    }
    found["clip-image"][:, 92] = -6.3  # as real ones have
    return found


@pytest.fixture(scope="module")
def heads():
    torch.manual_seed(8)
    subjects = [f"Subject {number}" for number in range(684)]
    made = {
        "types": TypePredictor(GeographModel(temperature=[1.5] * 7)),
        "context": ContextPredictor(ContextHead("mlp", ["img", "txt"])),
        "subject": HeadPredictor(FeatureHead("subject", subjects, fitted={"id_map": {"0": "17"}})),
    }
    deep = {"assess": [64, 32], "gallery": [256], "scenic": [128]}
    made |= {task: HeadPredictor(FeatureHead(task, hidden_layers=sizes)) for task, sizes in deep.items()}
    return {task: ApiHead(predictor) for task, predictor in made.items()}


@pytest.mark.parametrize("task", TASKS)
def test_weights_json_in_php(task, heads, batch, tmp_path):
    php = shutil.which("php")
    if php is None:
        pytest.skip("no PHP: on Debian, apt-get install php-cli")
    write_weights_json(heads[task], tmp_path / "weights.json")
    sets = [batch[name] for name in heads[task].inputs if name != "distance"]
    distance = batch["distance"].tolist() if "distance" in heads[task].inputs else [None] * 5
    photographs = [
        {"vectors": row.astype(float).tolist(), "distance": number}
        for row, number in zip(np.hstack(sets), distance)
    ]
    (tmp_path / "batch.json").write_text(json.dumps(photographs))
    program = [
        php,
        Path(__file__).with_name("weights.php"),
        tmp_path / "weights.json",
        tmp_path / "batch.json",
    ]
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(json.loads(said), heads[task].logits(batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_weights_json_is_read_back_as_it_was(task, heads, batch, tmp_path):
    path = tmp_path / "weights.json"
    write_weights_json(heads[task], path)
    again = ApiHead(open_model(path))
    assert (again.task, again.names, again.inputs) == (task, heads[task].names, heads[task].inputs)
    assert np.array_equal(again.logits(batch), heads[task].logits(batch))
    metadata = json.loads(path.read_text())["metadata"]
    assert set(metadata) == METADATA[task] | ({"temperature"} if task == "types" else set())
    if task == "types":
        assert again.predictor.model.temperature == [1.5] * 7
    if task == "subject":
        assert metadata["metadata"]["id_map"]["0"] == "17"


@pytest.mark.parametrize("task", TASKS)
def test_onnx_has_the_same_logits_for_any_number_of_photographs(task, heads, batch, tmp_path):
    write_onnx(heads[task], tmp_path / "head.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx", providers=["CPUExecutionProvider"])
    for rows in (0, 1, 5):
        given = {name.replace("-", "_"): batch[name][:rows] for name in heads[task].inputs}
        (logits,) = session.run(None, given)
        expected = heads[task].logits({name: values[:rows] for name, values in batch.items()})
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["outputs"]) == heads[task].names and about["task"] == task


def test_matrices_are_rows_of_outputs(heads, tmp_path):
    write_weights_json(heads["scenic"], tmp_path / "weights.json")
    state = json.loads((tmp_path / "weights.json").read_text())["state_dict"]
    assert (len(state["fc.0.weight"]), len(state["fc.0.weight"][0])) == (128, 1536)
    held = open_weights(tmp_path / "weights.json")["model_state_dict"]
    assert torch.equal(held["fc.0.weight"], heads["scenic"].predictor.head.state_dict()["fc.0.weight"])


def run(*line):
    return CliRunner().invoke(app, list(map(str, line)))


@pytest.mark.parametrize("form", ["json", "onnx"])
def test_the_command(form, heads, tmp_path):
    heads["gallery"].predictor.save(tmp_path / "model")
    out = tmp_path / f"gallery.{form}"
    line = ["export", tmp_path / "model", "--format", form, "--out", out]
    assert run(*line).exit_code == 0 and out.is_file()
    assert isinstance(run(*line).exception, FileExistsError)  # not without --overwrite
    assert run(*line, "--overwrite").exit_code == 0
    assert "ends in" in str(run(*line[:-1], tmp_path / "gallery.txt").exception)


def test_published_type_models(published, batch, tmp_path):
    model = next(iter(sorted(published.rglob("*v2.3*.pth"))), None)
    if model is None:
        pytest.skip("no published type model")
    write_weights_json(ApiHead.open(model), tmp_path / "weights.json")
    own, again = ApiHead.open(model), ApiHead.open(tmp_path / "weights.json")
    assert np.array_equal(own.logits(batch), again.logits(batch))
