"""The published checkpoints load and score as published; what we save loads there; what is unsafe is refused."""

import functools
import http.server
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn

from geograph_types.distance import get_dist_idx
from geograph_types.errors import CheckpointError
from geograph_types.model import GeographModel
from geograph_types.synthetic import VectorStatistics

VERSIONS = ["v1", "v2.3"]
PUBLISHED_KEYS = [
    "model_state_dict",
    "classes",
    "dist_map",
    "clip_dim",
    "dist_embed_dim",
    "epoch",
    "optimizer_state_dict",
    "loss",
]


@pytest.fixture(params=VERSIONS)
def checkpoint_path(request, published):
    return published / "geograph" / f"best_geograph_model_{request.param}.pth"


@pytest.fixture
def model(checkpoint_path):
    return GeographModel.load_checkpoint(checkpoint_path)[0]


def raw_embeddings(count, seed=0):
    """Vectors with the statistics of real ones, the outlier included."""
    return VectorStatistics.of("image").draw(count, np.random.default_rng(seed))


def logits_of(model, vectors, buckets):
    with torch.inference_mode():
        return model(torch.from_numpy(vectors), torch.from_numpy(buckets)).numpy()


def numpy_logits(checkpoint, vectors, buckets):
    """The published arithmetic, in double precision and without torch."""
    state = {name: tensor.double().numpy() for name, tensor in checkpoint["model_state_dict"].items()}
    features = np.concatenate([vectors, state["dist_emb.weight"][buckets]], axis=1)
    hidden = np.maximum(features @ state["fc.0.weight"].T + state["fc.0.bias"], 0.0)
    return hidden @ state["fc.3.weight"].T + state["fc.3.bias"]


class PublishedNetwork(nn.Module):
    """The published network in plain torch, from the description of its layers."""

    def __init__(self, distances, dist_embed_dim, clip_dim, classes):
        super().__init__()
        self.dist_emb = nn.Embedding(distances, dist_embed_dim)
        self.fc = nn.Sequential(
            nn.Linear(clip_dim + dist_embed_dim, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, classes)
        )

    def forward(self, embedding, bucket):
        return self.fc(torch.cat((embedding, self.dist_emb(bucket)), dim=-1))


def load_the_published_way(path):
    """A network from a checkpoint file, with nothing but the keys that published files have."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    network = PublishedNetwork(
        len(checkpoint["dist_map"]),
        checkpoint["dist_embed_dim"],
        checkpoint["clip_dim"],
        len(checkpoint["classes"]),
    )
    network.load_state_dict(checkpoint["model_state_dict"], strict=True)
    return network.eval(), checkpoint


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_logits_equal_a_numpy_forward_for_every_distance(model, checkpoint_path):
    checkpoint = torch.load(checkpoint_path, weights_only=True)
    assert len(checkpoint["dist_map"]) == 24 and checkpoint["dist_map"] == model.dist_map
    vectors = raw_embeddings(64)
    for distance, index in checkpoint["dist_map"].items():
        assert get_dist_idx(distance) == index
        buckets = np.full(len(vectors), index)
        wanted = numpy_logits(checkpoint, vectors, buckets)
        np.testing.assert_allclose(logits_of(model, vectors, buckets), wanted, rtol=1e-5, atol=1e-5)


def test_one_vector_scores_as_it_does_in_a_batch(model):
    vectors = raw_embeddings(24)
    together = logits_of(model, vectors, np.arange(24) % 23)
    with torch.inference_mode():
        alone = [model(torch.from_numpy(vector), bucket % 23) for bucket, vector in enumerate(vectors)]
    np.testing.assert_allclose(torch.cat(alone).numpy(), together, rtol=1e-5, atol=1e-5)


def test_saving_and_loading_changes_nothing(model, tmp_path):
    model.temperature, model.thresholds = [1.5] * 7, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    model.save_checkpoint(tmp_path / "model.pth", epoch=3, loss=0.0685)
    again, checkpoint = GeographModel.load_checkpoint(tmp_path / "model.pth")
    assert same_weights(again, model) and again.config() == model.config()
    assert (checkpoint["epoch"], checkpoint["loss"]) == (3, 0.0685)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_a_file_of_ours_loads_in_the_published_code(model, checkpoint_path, tmp_path):
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.from_numpy(raw_embeddings(8)), torch.arange(8)).sum().backward()
    optimizer.step()
    model.eval().save_checkpoint(tmp_path / "ours.pth", optimizer, epoch=1, loss=0.5)

    network, checkpoint = load_the_published_way(tmp_path / "ours.pth")
    _, published = load_the_published_way(checkpoint_path)
    assert set(PUBLISHED_KEYS) <= set(checkpoint)
    assert list(checkpoint["model_state_dict"]) == list(published["model_state_dict"])
    assert {key: type(checkpoint[key]) for key in PUBLISHED_KEYS[1:5]} == {
        key: type(published[key]) for key in PUBLISHED_KEYS[1:5]
    }
    torch.optim.Adam(network.parameters()).load_state_dict(checkpoint["optimizer_state_dict"])
    vectors, buckets = raw_embeddings(50), np.arange(50) % 24
    np.testing.assert_allclose(
        logits_of(network, vectors, buckets), logits_of(model, vectors, buckets), rtol=1e-5, atol=1e-5
    )


def test_our_file_keeps_its_extras_beside_the_published_keys(tmp_path):
    """A model with our additions still has the published part whole."""
    model = GeographModel(temperature=[2.0] * 7).eval()
    model.save_checkpoint(tmp_path / "ours.pth")
    network, _ = load_the_published_way(tmp_path / "ours.pth")
    assert same_weights(network, model)


def test_safetensors_and_config_hold_the_whole_model(model, tmp_path):
    model.thresholds = [0.25] * 7
    model.save_pretrained(tmp_path / "hub")
    assert {path.name for path in (tmp_path / "hub").iterdir()} >= {"model.safetensors", "config.json"}
    again = GeographModel.from_pretrained(tmp_path / "hub")
    assert same_weights(again, model) and again.config() == model.config() and not again.training
    vectors, buckets = raw_embeddings(50), np.arange(50) % 24
    np.testing.assert_array_equal(logits_of(again, vectors, buckets), logits_of(model, vectors, buckets))


@pytest.mark.parametrize("version", VERSIONS)
def test_from_published_fetches_once_and_gives_the_same_model(published, tmp_path, monkeypatch, version):
    asked = []

    class Mirror(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    handler = functools.partial(Mirror, directory=published / "geograph")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("GEOGRAPH_TYPES_MIRROR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
        models = [GeographModel.from_published(version) for _ in range(2)]
        server.shutdown()
    here, _ = GeographModel.load_checkpoint(published / "geograph" / f"best_geograph_model_{version}.pth")
    assert same_weights(models[0], here) and same_weights(models[1], here) and not models[0].training
    assert len(asked) == 1


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "how", ["in a tensor file", "beside good weights", "as a bare pickle", "in the old format"]
)
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, how):
    trap, path = Trap(tmp_path / "executed"), tmp_path / "model.pth"
    if how == "as a bare pickle":
        path.write_bytes(pickle.dumps({"model_state_dict": trap}, protocol=2))
    else:
        content = {"model_state_dict": trap}
        if how == "beside good weights":
            GeographModel().save_checkpoint(path)
            content = {**torch.load(path, weights_only=True), "note": trap}
        torch.save(content, path, _use_new_zipfile_serialization=how != "in the old format")
    with pytest.raises(CheckpointError, match="could run code"):
        GeographModel.load_checkpoint(path)
    assert not (tmp_path / "executed").exists()

    torch.load(path, weights_only=False) if how != "as a bare pickle" else pickle.loads(path.read_bytes())
    assert (tmp_path / "executed").exists(), "the trap was a dud, and the test proved nothing"


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.9999])
def test_a_truncated_checkpoint_is_refused(checkpoint_path, tmp_path, share):
    data = checkpoint_path.read_bytes()
    (tmp_path / "model.pth").write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="model.pth"):
        GeographModel.load_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize(
    "content",
    [
        b"<html>404</html>",
        b"PK\x03\x04",
        bytes(range(256)),
        b"",
        b"hello",
        b"\x80\x02",
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="model.pth"):
        GeographModel.load_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["Aerial"]},
        {"dist_embed_dim": 8},
        {"model_state_dict": 5},
        {"classes": 7},
    ],
)
def test_a_checkpoint_of_another_shape_is_refused(checkpoint_path, tmp_path, change):
    torch.save({**torch.load(checkpoint_path, weights_only=True), **change}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="model.pth"):
        GeographModel.load_checkpoint(tmp_path / "model.pth")


def test_a_checkpoint_that_lacks_a_key_is_refused_with_its_name(checkpoint_path, tmp_path):
    content = torch.load(checkpoint_path, weights_only=True)
    del content["dist_map"]
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="has no dist_map"):
        GeographModel.load_checkpoint(tmp_path / "model.pth")
