"""The settings of a run reach the optimiser, and what is fitted on the validation rows is what the model has."""

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from geograph_types.data import convert
from geograph_types.evaluation import best_thresholds, fit_temperature
from geograph_types.labels import TYPES
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample
from geograph_types.types import TrainingConfig, store_logits, train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A store, a model trained on it, and the rates of all steps."""
    folder, rates = tmp_path_factory.mktemp("types"), set()
    store = EmbeddingStore.open(
        convert(write_sample(folder / "s.jsonl", 3000), folder / "store", quiet=True).path
    )
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.update(g["lr"] for g in optimizer.param_groups)
    )
    try:
        model = train(store, folder / "run", TrainingConfig(epochs=3, learning_rate=3e-3), quiet=True).model
    finally:
        hook.remove()
    return store, model, rates


def test_the_learning_rate_is_the_given_one(run):
    assert run[2] == {3e-3}


def test_thresholds_are_those_of_calibrated_probabilities(run):
    store, model, _ = run
    rows = store.rows("val")
    metadata = store.metadata.iloc[rows]
    logits, labels = store_logits(model, store, rows), TYPES.encode(metadata["types"], metadata["distance"])
    np.testing.assert_allclose(model.temperature, fit_temperature(logits, labels))
    calibrated = torch.from_numpy(logits / np.array(model.temperature, np.float32)).sigmoid().numpy()
    np.testing.assert_allclose(model.thresholds, best_thresholds(calibrated, labels, 0.5), atol=1e-6)
