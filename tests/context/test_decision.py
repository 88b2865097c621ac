"""What the fit of a decision is for: scores that are off, and sets that are rarer than their tags."""

import numpy as np
import torch

from geograph_types.context import fit_decision


def test_scores_that_are_off_are_set_right():
    rng = np.random.default_rng(0)
    labels = (rng.random((4000, 3)) < 0.4).astype(np.uint8)
    labels[~labels.any(axis=1), 0] = 1
    logits = (2.0 * labels - 1 + [3, -3, 0] + rng.normal(0, 1, labels.shape)).astype(np.float32)
    decision = fit_decision(logits, labels, labels)
    found = decision.probabilities(torch.from_numpy(logits)).mean(dim=0).numpy()
    np.testing.assert_allclose(found, labels.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(-(decision.shift / decision.scale).numpy(), [3, -3, 0], atol=0.5)


def test_two_frequent_tags_that_seldom_meet_are_not_guessed_together():
    """Each is in 55 of 100 rows, so independent tags would say both; together they are in 10."""
    labels = np.repeat([[1, 0], [0, 1], [1, 1]], [450, 450, 100], axis=0).astype(np.uint8)
    decision = fit_decision(np.zeros((1000, 2), np.float32), labels, labels)
    np.testing.assert_allclose(decision.probabilities(torch.zeros(1, 2))[0], [0.55, 0.55], atol=0.02)
    assert decision(torch.zeros(1, 2)).sum() == 1
