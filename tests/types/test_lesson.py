"""What calibration and thresholds are worth, on more synthetic photographs than a page has time for."""

import pytest

from geograph_types.data import convert
from geograph_types.evaluation import classification_table
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample
from geograph_types.types import TrainingConfig, TypePredictor, train


@pytest.mark.slow
def test_temperatures_and_thresholds_are_worth_it(tmp_path):
    """v2.3's recipe, trained on 32,000 synthetic photographs and judged on some 4,000 others."""
    sample = write_sample(tmp_path / "s.jsonl", 40_000)
    store = EmbeddingStore.open(convert(sample, tmp_path / "store", quiet=True).path)
    run = train(store, tmp_path / "run", TrainingConfig(epochs=30), quiet=True)
    judgement = TypePredictor(run.model).evaluate(store)

    error = judgement.calibration.loc["mean"]
    assert error["ECE after"] < 0.8 * error["ECE before"]
    assert error["Brier after"] < error["Brier before"]
    at_half = classification_table(judgement.labels, judgement.uncalibrated >= 0.5, judgement.classes)
    assert judgement.scores["f1"]["macro avg"] > at_half["f1"]["macro avg"] + 0.02
