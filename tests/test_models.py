"""Every model, ours or published, is opened by name, predicts, is judged, and is saved as a folder that opens again."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")
pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")

import trainers

from geograph_types import open_model
from geograph_types.context import ContextPredictor
from geograph_types.coordinates import CoordinateModel, CoordinatePredictor, PhotographPixels
from geograph_types.retrieval import GeoModel, GeoRetriever, britain_gallery
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import make_located, make_world, write_sample
from geograph_types.types import TypePredictor
from geograph_types.zeroshot import ZeroShotPredictor

LOCATION, IMAGE, SCALE = (
    "location_encoder_weights.pth",
    "image_encoder_mlp_weights.pth",
    "logit_scale_weights.pth",
)


def published_names(model):
    """The weights of a model of places, under the names of GeoCLIP's authors, in three parts."""
    location = {}
    for name, tensor in model.location_encoder.state_dict().items():
        _, branch, layer, *kind = name.split(".")
        layer = {"0": "capsule.0.b", "7": "head.0"}.get(layer, f"capsule.{layer}")
        location[f"LocEnc{branch}.{layer}" + ("" if kind == ["waves"] else f".{kind[0]}")] = tensor
    image = {name.removeprefix("layers."): tensor for name, tensor in model.image_head.state_dict().items()}
    return location, image, model.logit_scale.detach()


def geoclip_files(folder):
    """GeoCLIP's first release: three files. Random weights."""
    for name, weights in zip((LOCATION, IMAGE, SCALE), published_names(GeoModel())):
        torch.save(weights, folder / name)
    return folder


def geoclip_release(folder):
    """GeoCLIP's release on the Hugging Face hub: one file. Random weights."""
    from safetensors.torch import save_file

    location, image, scale = published_names(GeoModel())
    weights = {f"location_encoder.{name}": tensor for name, tensor in location.items()}
    weights |= {f"image_encoder.mlp.{name}": tensor for name, tensor in image.items()} | {
        "logit_scale": scale
    }
    save_file(weights, folder / "model.safetensors")
    about = {"model_type": "geoclip-geolocation", "sigma": [1, 16, 256], "gallery_file": "gallery.csv"}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def geo_resnet(folder):
    """A checkpoint of geolocation_clip on a ResNet-18, with its heads in the published shapes. Random weights."""
    from geograph_types.coordinates import Backbone

    tower = Backbone("resnet18", "random:0").build().state_dict()
    heads = CoordinateModel(512, 2, layers=(256, 128)).state_dict()
    torch.save(
        heads | {f"base_model.{name}": tensor for name, tensor in tower.items()}, folder / "geo_resnet.pt"
    )
    return folder / "geo_resnet.pt"


def geo_clip(folder):
    """A checkpoint of geolocation_clip on CLIP ViT-B/32, under the names of Transformers. Random weights."""
    width, blocks, random = 768, 12, torch.Generator().manual_seed(1)
    shapes = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, 32, 32),
        "embeddings.position_embedding.weight": (50, width),
    }
    matrices = {
        "self_attn.out_proj": (width, width),
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
    }
    matrices |= {f"self_attn.{letter}_proj": (width, width) for letter in "qkv"}
    for number in range(blocks):
        for name, shape in {**matrices, "layer_norm1": (width,), "layer_norm2": (width,)}.items():
            block = f"encoder.layers.{number}.{name}"
            shapes |= {f"{block}.weight": shape, f"{block}.bias": shape[:1]}
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    tower = {
        f"base_model.vision_model.{name}": 0.02 * torch.randn(shape, generator=random)
        for name, shape in shapes.items()
    }
    torch.save(CoordinateModel(width, 2).state_dict() | tower, folder / "geo_clip.pt")
    return folder / "geo_clip.pt"


PUBLISHED = {
    "v1": "geograph/best_geograph_model_v1.pth",
    "v2.3": "geograph/best_geograph_model_v2.3.pth",
    "linear-img": "landscape/heads/linear-img.pth",
    "mlp-img-txt-loc": "landscape/heads/mlp-img-txt-loc.pth",
}
MADE = {function.__name__: function for function in (geoclip_files, geoclip_release, geo_resnet, geo_clip)}
RUNS = ("types", "context", "retrieval", "coordinates", "pretraining")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """1,000 synthetic photographs with types."""
    from geograph_types.data import convert

    folder = tmp_path_factory.mktemp("store")
    convert(write_sample(folder / "sample.jsonl", 1000), folder / "store", quiet=True)
    return EmbeddingStore.open(folder / "store")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Paths of eight drawn photographs."""
    from geograph_types.synthetic import KINDS, draw_photograph

    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        draw_photograph(list(KINDS)[number % 4], number, (80, 60)).save(folder / f"{number}.png")
    return [str(path) for path in sorted(folder.iterdir())]


def name_of(name, tmp_path, request):
    """What a model is opened by."""
    if name in PUBLISHED:
        return request.getfixturevalue("published") / PUBLISHED[name]
    if name in MADE:
        return MADE[name](tmp_path)
    trainers.train(name, tmp_path / "run")
    return tmp_path / "run"


def use(predictor, store, pictures):
    """Predictions as a table, and the evaluation, of what a predictor is for."""
    if isinstance(predictor, TypePredictor):
        return predictor.predict(store), predictor.evaluate(store)
    if isinstance(predictor, ContextPredictor):
        data, split = trainers.context_world()
        return predictor.predict(data), predictor.evaluate(data, np.flatnonzero(split == "tes"))
    if isinstance(predictor, GeoRetriever):
        sample = make_located(rows=60, clip_dim=predictor.recipe.dim)
        table = predictor.predict(sample.embeddings, top_k=1).table()
        return table, predictor.evaluate(sample.embeddings, sample.lat, sample.lon)
    if isinstance(predictor, ZeroShotPredictor):
        vectors = np.random.default_rng(1).normal(size=(30, predictor.recipe.dim)).astype(np.float32)
        return predictor.predict(vectors), predictor.evaluate(vectors, ["France"] * 30)
    assert isinstance(predictor, CoordinatePredictor)
    vectors, table = make_world(600)
    if predictor.backbone:
        table = table.iloc[: len(pictures)].assign(split="tes")
        vectors = PhotographPixels(pictures, predictor.model.base_model.crop)
    return predictor.predict(vectors), predictor.evaluate(vectors, table)


@pytest.mark.parametrize("name", [*PUBLISHED, *MADE, *RUNS])
def test_opened_used_judged_and_saved(name, store, pictures, tmp_path, request, monkeypatch):
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    gallery = britain_gallery(100)
    predictor = open_model(name_of(name, tmp_path, request), gallery)
    predictions, evaluation = use(predictor, store, pictures)
    for thing in (predictor, evaluation):
        assert str(thing).splitlines()[0] in thing._repr_html_() and " object at " not in str(thing)
    assert len(predictions) and str(evaluation).splitlines()[0].split()[1].startswith("photographs")
    predictor.save(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    again = open_model(tmp_path / "saved", gallery)
    assert type(again) is type(predictor) and again.recipe == predictor.recipe
    pd.testing.assert_frame_equal(use(again, store, pictures)[0], predictions)
