"""Rows of all six heads against Geograph's rules, written once more in plain Python."""

import base64
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from geograph_types.context import CONTEXT, ContextHead
from geograph_types.distance import DIST_MAP
from geograph_types.heads import FeatureHead, save_geograph_head
from geograph_types.labels import CLASSES
from geograph_types.model import GeographModel
from geograph_types.models import open_model
from geograph_types.platform import ApiHead

SUBJECTS = [f"Subject {number}" for number in range(684)]


@pytest.fixture(scope="module")
def batch():
    dice = np.random.default_rng(1)
    found = {
        "image_ids": [str(7_000_000 + row) for row in range(40)],
        "clip-image": dice.normal(0, 1, (40, 512)).astype(np.float32),
        "clip-title": dice.normal(0, 1, (40, 512)).astype(np.float32),
        "pe-image": dice.normal(0, 1, (40, 1024)).astype(np.float32),
        "distance": dice.integers(0, 23, 40),
    }
    found["clip-image"][:, 92], found["clip-title"][:, [133, 312]] = -6.5, 5.5  # as real ones have
    return found


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Checkpoints of all six as Geograph keeps them, with random weights."""
    folder = tmp_path_factory.mktemp("heads")
    torch.manual_seed(5)
    types = GeographModel()
    nn.init.constant_(types.fc[3].bias, -0.3)
    types.save_checkpoint(folder / "types.pth")
    context = ContextHead("mlp", ["img", "txt"])
    nn.init.constant_(context.layers[3].bias, -1.9)
    state = context.layers.state_dict()
    torch.save(state, folder / "clip.pth")
    torch.save({f"head.{name}": value for name, value in state.items()}, folder / "wrapped.pth")
    for task in ("subject", "assess", "gallery", "scenic"):
        head = FeatureHead(task, SUBJECTS if task == "subject" else None)
        save_geograph_head(head, folder / f"{task}.pth", epoch=7)
    return folder


def network(weights, *inputs):
    """Two layers by hand; the weights' names are Geograph's."""
    values = np.concatenate(inputs)
    hidden = np.maximum(weights["0.weight"].numpy() @ values + weights["0.bias"].numpy(), 0)
    return weights["3.weight"].numpy() @ hidden + weights["3.bias"].numpy()


def layers(checkpoint):
    return {name.removeprefix("fc."): value for name, value in checkpoint["model_state_dict"].items()}


def expected(task, folder, batch):
    """What the interface says, a photograph at a time."""
    rows = []
    held = torch.load(folder / f"{task if task != 'wrapped' else 'clip'}.pth", weights_only=True)
    for row, number in enumerate(batch["image_ids"]):
        image, title, pe = (batch[name][row] for name in ("clip-image", "clip-title", "pe-image"))
        if task in ("clip", "wrapped"):
            chances = [1 / (1 + math.exp(-logit)) for logit in network(held, image, title)]
            found = [
                ("clip", name, chance) for name, chance in zip(CONTEXT.tags, chances) if chance > 0.2
            ] or [("clip", "None", 0.0)]
        elif task == "types":
            near = held["model_state_dict"]["dist_emb.weight"][batch["distance"][row]].numpy()
            chances = [1 / (1 + math.exp(-logit)) for logit in network(layers(held), image, near)]
            found = [("types", name, chance) for name, chance in zip(CLASSES, chances) if chance > 0.5]
            found = found or [("types", f"{CLASSES[int(np.argmax(chances))]} (Low)", max(chances))]
        elif task == "subject":
            near = held["model_state_dict"]["dist_emb.weight"][batch["distance"][row]].numpy()
            logits = network(layers(held), image, near).astype(float)
            shares = np.exp(logits) / np.exp(logits).sum()
            best = sorted(range(684), key=lambda subject: -shares[subject])[:10]
            found = [("subjects", held["metadata"]["names"][subject], shares[subject]) for subject in best]
        else:
            numbers = network(layers(held), image, pe)
            names = {
                "assess": [("aesthetic", 10), ("technical", 10)],
                "gallery": [("baysian", 5), ("score", 10)],
                "scenic": [("v_bayesian", 10)],
            }[task]
            found = [(name, None, number * scale) for (name, scale), number in zip(names, numbers)]
        rows += [(number, *one) for one in found]
    return rows


@pytest.mark.parametrize("task", ["types", "clip", "wrapped", "subject", "assess", "gallery", "scenic"])
def test_rows_are_those_of_the_interface(task, heads, batch):
    rows = ApiHead.open(heads / f"{task}.pth").predict_api(batch)
    wanted = expected(task, heads, batch)
    assert [(row["image_id"], row["model"], row.get("label")) for row in rows] == [one[:3] for one in wanted]
    assert np.allclose([row["score"] for row in rows], [one[3] for one in wanted], atol=1e-5)
    assert all(
        type(row["score"]) is float and ("label" in row) == (one[2] is not None)
        for row, one in zip(rows, wanted)
    )
    json.dumps(rows)  # as it is sent
    if task in ("types", "clip"):  # the photographs are such that both kinds of rows occur
        bare = [row["label"].endswith("(Low)") or row["label"] == "None" for row in rows]
        assert any(bare) and not all(bare)


def test_a_32_bit_fifth_counts_as_above(tmp_path, batch):
    head = ContextHead("linear", ["img"])
    with torch.no_grad():
        head.layers.weight.zero_()
        head.layers.bias.fill_(float(torch.tensor(0.2).logit()))
    head.save_pretrained(tmp_path / "head")
    assert float(torch.tensor(0.2).logit().sigmoid()) == float(np.float32(0.2))
    rows = ApiHead.open(tmp_path / "head").predict_api(batch)
    assert len(rows) == 40 * 49 and {row["score"] for row in rows} == {float(np.float32(0.2))}


def test_subjects_may_have_distances_of_their_own(tmp_path, batch):
    """Geograph's code has 15 rows of distances where a checkpoint names none."""
    named = FeatureHead("subject", ["Barn", "Canal"], dist_map={"near": 0, "far": 1})
    save_geograph_head(named, tmp_path / "named.pth")
    save_geograph_head(FeatureHead("subject", ["Barn", "Canal"], dist_map={}), tmp_path / "unnamed.pth")
    assert len(ApiHead.open(tmp_path / "named.pth").predict_api(batch | {"distance": [1] * 40})) == 80
    assert len(ApiHead.open(tmp_path / "unnamed.pth").predict_api(batch | {"distance": [14] * 40})) == 80
    with pytest.raises(ValueError, match="0 to 1"):
        ApiHead.open(tmp_path / "named.pth").predict_api(batch | {"distance": [2] * 40})


def test_a_real_photograph(published):
    """What the published v1 says of photograph 7706259, as its project's facts state it."""
    example = json.loads((published / "geograph" / "example.json").read_text())
    vector = np.frombuffer(base64.b64decode(example["clip-image"]), "<f4")[None]
    head = ApiHead.open(published / "geograph" / "best_geograph_model_v1.pth")
    for distance, label, score in [
        ("16", "Geograph", 0.988),
        ("Unknown", "Geograph", 0.986),
        ("1024", "Cross Far", 0.965),
    ]:
        batch = {"image_ids": [7706259], "clip-image": vector, "distance": [DIST_MAP[distance]]}
        found = {row["label"]: row["score"] for row in head.predict_api(batch)}
        assert round(found[label], 3) == score
    mixup = ApiHead.open(published / "landscape" / "heads" / "mlp-img-mixup.pth")
    best = max(
        mixup.predict_api({"image_ids": [7706259], "clip-image": vector}), key=lambda row: row["score"]
    )
    assert (best["label"], round(best["score"], 3)) == ("Energy infrastructure", 0.508)


def test_open_model_opens_all_six(heads):
    kinds = {
        name: type(open_model(heads / f"{name}.pth")).__name__
        for name in ("types", "wrapped", "subject", "scenic")
    }
    assert kinds == {
        "types": "TypePredictor",
        "wrapped": "ContextPredictor",
        "subject": "HeadPredictor",
        "scenic": "HeadPredictor",
    }
