"""What calibration and thresholds are worth, on more synthetic photographs than a page has time for."""

import pytest

from geograph_types.data import convert
from geograph_types.evaluation import classification_table
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample
from geograph_types.types import TrainingConfig, TypePredictor, train


@pytest.fixture(scope="module")
def judgement(tmp_path_factory):
    """v2.3's recipe, trained on 32,000 synthetic photographs and judged on some 4,000 others."""
    folder = tmp_path_factory.mktemp("lesson")
    store = EmbeddingStore.open(
        convert(write_sample(folder / "s.jsonl", 40_000), folder / "store", quiet=True).path
    )
    return TypePredictor(train(store, folder / "run", TrainingConfig(epochs=30), quiet=True).model).evaluate(
        store
    )


def test_temperatures_lower_the_calibration_error(judgement):
    error = judgement.calibration.loc["mean"]
    assert error["ECE after"] < 0.8 * error["ECE before"]
    assert error["Brier after"] < error["Brier before"]


def test_thresholds_raise_macro_f1(judgement):
    at_half = classification_table(judgement.labels, judgement.uncalibrated >= 0.5, judgement.classes)["f1"][
        "macro avg"
    ]
    assert judgement.scores["f1"]["macro avg"] > at_half + 0.02
