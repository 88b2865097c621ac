"""Our protocol on few rows: it learns where 4,096 rows a batch do not, and says when nothing was learnt."""

from dataclasses import replace

import numpy as np
import pytest

from geograph_types.context import ContextConfig, evaluate_head, train_context
from geograph_types.errors import InputError
from geograph_types.synthetic import make_context_sample, random_labels


@pytest.fixture(scope="module")
def small():
    """1,500 synthetic photographs to learn from, as many to be judged by."""
    data = make_context_sample(*random_labels(3000))
    return data, np.repeat(["tra", "val", "tes"], [1350, 150, 1500]).astype(object)


def test_few_rows_are_learnt_from(small, tmp_path):
    data, split = small
    rows, scores = np.flatnonzero(split == "tes"), {}
    for name, config in {
        "ours": ContextConfig.of("ours", epochs=15),
        "large batches": ContextConfig.of("ours", epochs=15, batch_size=4096, patience=15),
        "published": ContextConfig.of("published"),
    }.items():
        run = train_context(data, split, tmp_path / name, config, quiet=True)
        scores[name] = evaluate_head(run.model, data, rows)["exact_match"]
    assert scores["ours"] > 1.3 * max(scores["large batches"], scores["published"])


def test_a_best_epoch_0_is_warned_about(small, tmp_path):
    data, split = small
    noise = np.random.default_rng(0).permutation(data.labels)  # nothing that could be learnt
    config = ContextConfig.of("published", epochs=3)
    unlearnable = type(data)(data.gridimage_id, data.image, data.title, data.lat, data.lon, noise)
    with pytest.warns(UserWarning, match="no epoch was better than the first"):
        train_context(unlearnable, split, tmp_path / "run", config, quiet=True)


def test_places_that_nobody_knows_cannot_be_learnt_from(small, tmp_path):
    data, split = small
    unplaced = replace(data, lat=np.full(len(data), np.nan))
    with pytest.raises(InputError, match="no photograph has a position"):
        train_context(unplaced, split, tmp_path / "run", ContextConfig.of("ours"), quiet=True)
    config = ContextConfig.of("ours", modalities=["img"], epochs=1)
    assert len(train_context(unplaced, split, tmp_path / "run", config, quiet=True).history) == 1
