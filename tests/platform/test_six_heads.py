"""All six heads, trained on one small store of synthetic downloads, are clearly better than a constant guess."""

import numpy as np
import pandas as pd
import pytest
import torch

from geograph_types.clip import inputs
from geograph_types.context import CONTEXT
from geograph_types.heads import HEAD_TASKS, HeadPredictor, head_data
from geograph_types.platform import ApiHead, read_download, train_task
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import make_platform, write_downloads

SETTINGS = {"epochs": 10, "batch_size": 32, "patience": 10}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("six")
    paths = write_downloads(folder, make_platform(500, seed=11))
    summary = read_download(list(paths.values()), folder / "store", quiet=True)
    assert summary.read == summary.used  # nothing is lost on the way
    return EmbeddingStore.open(folder / "store")


@pytest.mark.parametrize("task", HEAD_TASKS)
def test_better_than_a_constant_guess(task, store, tmp_path):
    train_task(store, tmp_path / "run", task, settings=SETTINGS, quiet=True)
    head = ApiHead.open(tmp_path / "run")
    data = head_data(store, task, head.inputs, head.names, tags=CONTEXT.tags)
    judged, learnt = data.rows("tes"), data.rows("tra")
    labels, constant = data.labels[judged], np.nanmean(data.labels[learnt], axis=0)
    logits = torch.from_numpy(head.logits({name: part[judged] for name, part in data.features.items()}))
    if HEAD_TASKS[task].answers == "numbers":
        found = [np.corrcoef(logits[:, place], labels[:, place])[0, 1] for place in range(len(head.names))]
        assert np.mean(found) > 0.3  # a constant has none
    elif task == "subject":  # the share that is right
        right = (labels.argmax(axis=1) == logits.numpy().argmax(axis=1)).mean()
        assert right > 2 * (labels[:, constant.argmax()] > 0).mean()
    else:  # how well each class is ranked; a constant has 0.5
        ranks = [_ranking(logits[:, place].numpy(), labels[:, place] > 0) for place in range(len(head.names))]
        assert np.nanmean(ranks) > 0.75


def test_of_a_store_a_head_takes_all_sets_of_vectors(store, tmp_path, monkeypatch):
    """In stretches, by name from any folder, opened once."""
    train_task(store, tmp_path / "run", "scenic", settings={"epochs": 1}, quiet=True)
    predictor = HeadPredictor.open(tmp_path / "run")
    assert {name.partition("-")[0] for name in predictor.head.inputs} > {"pe"}
    monkeypatch.setattr(inputs, "ROWS_TOGETHER", 100)
    opened = []
    once = EmbeddingStore.open
    monkeypatch.setattr(EmbeddingStore, "open", lambda path: opened.append(path) or once(path))
    predictor.predict_to(store.path, tmp_path / "out.parquet", quiet=True)
    said, wanted = pd.read_parquet(tmp_path / "out.parquet"), predictor.predict(store)
    assert said["gridimage_id"].tolist() == wanted["gridimage_id"].tolist() and len(opened) < 4
    assert np.allclose(said[predictor.head.outputs], wanted[predictor.head.outputs], atol=1e-5)


def _ranking(scores, positive):
    """The chance that one that has the class is above one that has not."""
    if positive.all() or not positive.any():
        return np.nan
    return (scores[positive][:, None] > scores[~positive][None]).mean()
