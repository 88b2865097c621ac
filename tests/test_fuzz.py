"""Damaged manifests, checkpoints, journals and tables of results: an error of the family that names the file, or an answer."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("hypothesis", reason="needs hypothesis, a development tool")

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geograph_types.data import convert
from geograph_types.errors import GeographError
from geograph_types.jobs import Journal
from geograph_types.model import GeographModel
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample
from geograph_types.zeroshot import read_results, score_results

bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def changed(draw, content):
    """JSON with one of its values, at any depth, lost or exchanged."""
    content = json.loads(json.dumps(content))
    place = content
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    if draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(VALUES)
    return content


def refuses(function, name):
    """The result, or None where a `GeographError` names the file."""
    try:
        return function()
    except GeographError as error:
        assert name in str(error), error
        return None


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    convert(write_sample(folder / "rows.jsonl", 40), folder / "store", shard_size=20, quiet=True)
    return folder / "store"


@bounded
@given(st.data())
def test_manifests(store, data):
    path, whole = store / "manifest.json", (store / "manifest.json").read_bytes()
    try:
        path.write_text(json.dumps(data.draw(changed(json.loads(whole)))))
        opened = refuses(lambda: EmbeddingStore.open(store), "store")
        if opened is not None:
            assert len(opened) == 40
            refuses(lambda: len(opened.metadata), "store")
    finally:
        path.write_bytes(whole)


@bounded
@given(st.data())
def test_unfinished_stores(tmp_path, data):
    """`progress.json` of a store that was interrupted."""
    from geograph_types.store import StoreWriter

    partial = tmp_path / "new.partial"
    (partial / "img_emb").mkdir(parents=True, exist_ok=True)
    (partial / "rejects.jsonl").touch()
    identity = {"source": {}, "dtype": "float32", "shard_size": 4}
    progress = {"rows": 0, "line": 0, "shards": [], "rejects": {}, "rejects_bytes": 0, **identity}
    (partial / "progress.json").write_text(json.dumps(data.draw(changed(progress))))
    refuses(lambda: StoreWriter(tmp_path / "new", shard_size=4)._lock.close(), "new")


CHECKPOINT = {key: value for key, value in GeographModel().config().items()}


@bounded
@given(changed(CHECKPOINT))
@example({**CHECKPOINT, "thresholds": [float("nan")] * 7})
@example({**CHECKPOINT, "clip_dim": 2**70})
@example({**CHECKPOINT, "classes": "Aerial"})
def test_checkpoints(tmp_path, content):
    torch.save({"model_state_dict": GeographModel().state_dict(), **content}, tmp_path / "model.pth")
    model = refuses(lambda: GeographModel.load_checkpoint(tmp_path / "model.pth")[0], "model.pth")
    if model is not None:
        assert model.probabilities(torch.zeros(1, 7)).isfinite().all()


@bounded
@given(st.lists(VALUES.map(json.dumps) | st.text(max_size=9), max_size=4), VALUES)
@example(["[1]", "7", "null", "[[], 1]"], {})
def test_journals(tmp_path, lines, about):
    """Lines that are no results are passed over; a note that is none is refused by name."""
    folder = tmp_path / "job"
    folder.mkdir(exist_ok=True)
    (folder / "part-1-of-1.jsonl").write_text("\n".join(lines))
    (folder / "job.json").write_text(json.dumps(about))

    def read():
        with Journal(folder, {}) as journal:
            return journal.results()

    refuses(read, "job")


@bounded
@given(
    st.lists(st.lists(st.text(max_size=6) | st.sampled_from(["['a']", "[0.5]", "a"]), max_size=4), max_size=3)
)
@example([["a", "['a']", "['b']"]])
@example([["a", "[['a']]", "[0.5]"]])
@example([["a", "['a']", "[0.5, 0.5]"]])
def test_results(tmp_path, rows):
    path = tmp_path / "results.csv"
    lines = ["Gold\tPredictions\tProbabilities", *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    frame = refuses(lambda: read_results(path), "results.csv")
    if frame is not None:
        try:
            score_results(frame)
        except GeographError:
            pass


@bounded
@given(st.binary(max_size=300))
@example(b"")
@example(b"\x93NUMPY")
@example(b"\x93NUMPY\x01\x00\x02\x00{}")
def test_vectors(tmp_path, content):
    from geograph_types.store.shards import ShardedArray

    whole = tmp_path / "whole.npy"
    np.save(whole, np.zeros((2, 3), np.float32))
    for data in (content, whole.read_bytes()[: len(content)] + content):
        (tmp_path / "vectors.npy").write_bytes(data)
        refuses(lambda: ShardedArray([tmp_path / "vectors.npy"]), "vectors.npy")


@bounded
@given(st.binary(min_size=1, max_size=60))
def test_metadata(store, content):
    path = store / "metadata" / "metadata_00001.parquet"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: len(whole) // 2] + content + whole[len(whole) // 2 :])
        assert refuses(lambda: EmbeddingStore.open(store).metadata, "metadata_00001.parquet") is None
    finally:
        path.write_bytes(whole)
    assert len(pd.read_parquet(path)) == 20
