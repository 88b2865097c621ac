"""Published GeoCLIP files and numbers: our encoders, galleries and distances against theirs."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from geograph_types.earth import accuracy_at_km, error_table, geodesic_km, haversine_km
from geograph_types.retrieval import (
    Gallery,
    GeoModel,
    GeoRetriever,
    ImageHead,
    LocationEncoder,
    equal_earth,
    published_geomodel,
    read_gallery,
)

THEIR_FORWARD = """
    import sys, types
    import numpy as np, torch
    folder, points, out = sys.argv[1:]
    sys.path.insert(0, folder)
    for name in ("geoclip", "geoclip.model"):  # their packages, without the imports that load CLIP
        package = types.ModuleType(name)
        package.__path__ = [f"{folder}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    from geoclip.model.location_encoder import LocationEncoder, equal_earth_projection
    points = torch.from_numpy(np.load(points)).float()
    with torch.inference_mode():
        np.savez(out, projection=equal_earth_projection(points), vectors=LocationEncoder().eval()(points))
"""


@pytest.fixture(scope="module")
def geoclip(tmp_path_factory):
    """The folder of the PyPI package geoclip. It pins other packages below the versions used here, so it is installed apart."""
    if given := os.environ.get("GEOGRAPH_GEOCLIP"):
        return Path(given)
    folder = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, "geoclip>=1.2"]
    if subprocess.run(pip).returncode:
        pytest.skip(
            "the package geoclip could not be fetched; GEOGRAPH_GEOCLIP may name a folder that holds it"
        )
    return folder


@pytest.fixture(scope="module")
def their_weights(geoclip):
    return geoclip / "geoclip" / "model" / "weights"


@pytest.fixture(scope="module")
def points(published):
    """Five thousand points of the published gallery, and five thousand anywhere, the poles and the date line among them."""
    gallery = read_gallery(published / "geoclip" / "coordinates_100K.csv").positions[:5000]
    anywhere = np.random.default_rng(0).uniform([-90, -180], [90, 180], (4996, 2))
    return np.concatenate([gallery, anywhere, [[90, 0], [-90, 0], [0, 180], [0, -180]]])


def test_location_encoder_equals_the_published_package(geoclip, their_weights, points, tmp_path):
    np.save(tmp_path / "points.npy", points)
    subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(THEIR_FORWARD),
            geoclip,
            tmp_path / "points.npy",
            tmp_path / "out.npz",
        ],
        check=True,
    )
    theirs, tensor = np.load(tmp_path / "out.npz"), torch.from_numpy(points)
    with torch.inference_mode():
        ours = LocationEncoder.load_published(their_weights / "location_encoder_weights.pth")(tensor).numpy()
    assert np.abs(ours - theirs["vectors"]).max() < 1e-4  # what 32-bit phases at sigma 256 allow
    assert np.abs(equal_earth(tensor).numpy() - theirs["projection"]).max() < 1e-6


def exact_forward(state, points):
    """The published location encoder in double precision and without torch."""
    lat, lon = np.radians(points).T
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(lat))
    slope = 9 * 0.003796 * theta**8 + 7 * 0.000893 * theta**6 - 3 * 0.081106 * theta**2 + 1.340264
    x = 2 * np.sqrt(3) * lon * np.cos(theta) / (3 * slope)
    y = 0.003796 * theta**9 + 0.000893 * theta**7 - 0.081106 * theta**3 + 1.340264 * theta
    plane, total = np.column_stack([x, y]) * 66.50336 / 180, 0
    for branch in range(3):
        weight = {
            name.removeprefix(f"LocEnc{branch}."): tensor.double().numpy()
            for name, tensor in state.items()
            if name.startswith(f"LocEnc{branch}.")
        }
        phase = 2 * np.pi * plane @ weight["capsule.0.b"].T
        hidden = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
        for layer in (1, 3, 5):
            hidden = np.maximum(
                hidden @ weight[f"capsule.{layer}.weight"].T + weight[f"capsule.{layer}.bias"], 0
            )
        total = total + hidden @ weight["head.0.weight"].T + weight["head.0.bias"]
    return total


def test_location_encoder_equals_exact_arithmetic(their_weights, points):
    path, some = their_weights / "location_encoder_weights.pth", points[::20]
    wanted = exact_forward(torch.load(path, weights_only=True), some)
    with torch.inference_mode():
        ours = LocationEncoder.load_published(path)(torch.from_numpy(some)).numpy()
    assert np.abs(ours - wanted).max() < 1e-6


def test_both_published_layouts_give_the_same(their_weights, tmp_path):
    """The Lightning version's names, by renaming the original's."""
    names = {
        "capsule.0.b": "fourier_encoding.batch",
        "capsule.1.": "linear1.",
        "capsule.3.": "linear2.",
        "capsule.5.": "linear3.",
    }
    state = torch.load(their_weights / "location_encoder_weights.pth", weights_only=True)
    renamed = {}
    for name, tensor in state.items():
        for theirs, lightning in names.items():
            name = name.replace(theirs, lightning)
        renamed["location_encoder." + name.replace("LocEnc", "LocationEncoderLayer")] = tensor
    torch.save({"state_dict": renamed, "epoch": 6}, tmp_path / "lightning.ckpt")
    points = torch.rand(100, 2) * 90
    with torch.inference_mode():
        one, other = (
            LocationEncoder.load_published(path)(points)
            for path in (their_weights / "location_encoder_weights.pth", tmp_path / "lightning.ckpt")
        )
    assert torch.equal(one, other)


@pytest.mark.parametrize("prefix", ["", "mlp.", "image_encoder.mlp.", "lightning"])
def test_image_head_equals_a_numpy_forward(published, tmp_path, prefix):
    state = torch.load(published / "geoclip" / "image_encoder_mlp_weights.pth", weights_only=True)
    layer = (
        {"0": "image_encoder.linear1", "2": "image_encoder.linear2"}
        if prefix == "lightning"
        else {n: prefix + n for n in "02"}
    )
    torch.save(
        {f"{layer[name[0]]}{name[1:]}": tensor for name, tensor in state.items()}, tmp_path / "head.pth"
    )
    vectors = np.random.default_rng(1).normal(0, 0.5, (64, 768))
    first, last = (
        tuple(state[f"{number}.{kind}"].double().numpy() for kind in ("weight", "bias")) for number in "02"
    )
    wanted = np.maximum(vectors @ first[0].T + first[1], 0) @ last[0].T + last[1]
    with torch.inference_mode():
        ours = ImageHead.load_published(tmp_path / "head.pth")(torch.from_numpy(vectors).float()).numpy()
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


def test_the_whole_published_model(published, their_weights):
    """Files of the package and of the fixture are the same; the temperature is the published one."""
    model = published_geomodel(their_weights)
    assert model.logit_scale.item() == pytest.approx(
        3.6810, abs=5e-5
    ) and model.scale().item() == pytest.approx(39.69, abs=0.01)
    fixture = ImageHead.load_published(published / "geoclip" / "image_encoder_mlp_weights.pth")
    assert all(
        torch.equal(model.image_head.state_dict()[name], tensor)
        for name, tensor in fixture.state_dict().items()
    )
    with torch.no_grad():
        embedding, place = torch.randn(3, 768), torch.tensor([[48.8584, 2.2945], [27.1751, 78.0421]])
        image, location = model.image_head(embedding), model.location_encoder(place)
        cosine = torch.nn.functional.cosine_similarity(image[:, None], location[None], dim=2)
        torch.testing.assert_close(
            model(embedding, place), model.logit_scale.exp() * cosine, rtol=1e-4, atol=1e-4
        )


def test_files_that_are_something_else_are_refused(published, tmp_path):
    for loader, path in (
        (LocationEncoder, "image_encoder_mlp_weights.pth"),
        (ImageHead, "logit_scale_weights.pth"),
    ):
        with pytest.raises(ValueError, match="holds no weights of"):
            loader.load_published(published / "geoclip" / path)
    (tmp_path / "half.pth").write_bytes(
        (published / "geoclip" / "image_encoder_mlp_weights.pth").read_bytes()[:100_000]
    )
    with pytest.raises(ValueError, match="damaged"):
        ImageHead.load_published(tmp_path / "half.pth")


def test_published_gallery(published):
    path = published / "geoclip" / "coordinates_100K.csv"
    gallery, whole = read_gallery(path), read_gallery(path, keep_duplicates=True)
    assert (len(whole), len(gallery), gallery.duplicates) == (100_000, 94_123, 5_877)
    assert len(np.unique(gallery.positions, axis=0)) == len(gallery)


def test_geoestimation_baseline(published):
    """The published accuracy of the hierarchical predictions of another system, from its own files."""
    folder = published / "geoguessr"
    truth = pd.read_csv(folder / "country100_geoestimation.csv")
    truth["img_id"] = truth["IMG_ID"].str.removesuffix(".jpg")
    guesses = pd.read_csv(folder / "country100_geoestimation_result.csv").query("p_key == 'hierarchy'")
    both = guesses.merge(truth, on="img_id", validate="one_to_one")
    errors_km = haversine_km(both["LAT"], both["LON"], both["pred_lat"], both["pred_lng"])
    assert len(both) == 11_500
    assert [round(share, 4) for share in accuracy_at_km(errors_km, (1, 25, 200, 750, 2500))] == [
        0.0111,
        0.0843,
        0.1792,
        0.3543,
        0.5761,
    ]
    assert round(error_table(errors_km).loc["all", "median_km"]) == 1695
    exact = geodesic_km(both["LAT"], both["LON"], both["pred_lat"], both["pred_lng"])
    assert np.abs(exact / np.maximum(errors_km, 0.1) - 1)[errors_km > 1].max() < 0.0057


MEASURE = """
    import resource, sys
    import numpy as np, torch
    from geograph_types.retrieval import Gallery, GeoModel, GeoRetriever
    torch.manual_seed(0)
    dice = np.random.default_rng(0)
    gallery = Gallery(dice.uniform(-60, 70, 1_000_000), dice.uniform(-180, 180, 1_000_000))
    model = GeoModel(waves=8, hidden=16, dim=128)
    retriever = GeoRetriever(model, gallery, cache=sys.argv[1], quiet=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = retriever.predict(dice.normal(size=(40, 768)).astype(np.float32), top_k=5)
    print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of memory is given in other units")
def test_memory_is_bounded_for_a_million_places(tmp_path):
    """Forty photographs against a million places: the places' vectors (512 MB) are mapped, scores come in parts of 32 MB."""
    output = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), tmp_path], check=True, capture_output=True, text=True
    )
    found, peak_mb, before_mb = map(float, output.stdout.split())
    print(f"peak {peak_mb:.0f} MB, before the prediction {before_mb:.0f} MB")
    assert found == 40
    assert peak_mb - before_mb < 512 + 600  # the mapped file, and some fifteen times 32 MB


def test_a_killed_encoding_is_taken_up(tmp_path):
    """A gallery's file grows; what a killed process had written is kept, and the end is the same."""
    model = GeoModel(waves=8, hidden=16, dim=32)
    dice = np.random.default_rng(3)
    gallery = Gallery(dice.uniform(50, 60, 50_000), dice.uniform(-10, 2, 50_000))
    retriever = GeoRetriever(model, gallery, cache=tmp_path / "one", quiet=True)
    file = next((tmp_path / "one").glob("*.npy"))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / file.with_suffix(".part").name).write_bytes(file.read_bytes()[:3_333_333])
    again = GeoRetriever(model, gallery, cache=tmp_path / "two", quiet=True)
    assert torch.equal(again.vectors, retriever.vectors)
