"""Coordinates: the rates of tower and heads, the weights of tasks, and which rows teach what."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from geograph_types.coordinates import (
    AUXILIARY_HEADS,
    CoordinateConfig,
    MultiTaskLoss,
    SphereTarget,
    make_target,
    train_coordinates,
)
from geograph_types.synthetic import make_world


@dataclass
class LinearBackbone:
    """A tower of one layer, which a test can see."""

    name: str = "linear"

    def build(self, weights=None, filled=True):
        self.tower = torch.nn.Linear(128, 16)
        self.tower.dim = 16
        return self.tower


@pytest.fixture
def world():
    """600 synthetic photographs: vectors and table."""
    return make_world(600)


def test_the_tower_learns_at_its_own_rate_and_both_rise_and_fall(world, tmp_path):
    backbone, rates = LinearBackbone(), []

    def note(optimizer, *_):
        of_tower = {
            group["lr"] for group in optimizer.param_groups if backbone.tower.weight in set(group["params"])
        }
        others = {
            group["lr"]
            for group in optimizer.param_groups
            if backbone.tower.weight not in set(group["params"])
        }
        rates.append([*of_tower, *others])

    hook = register_optimizer_step_pre_hook(note)
    config = CoordinateConfig(
        "sphere", epochs=2, batch_size=50, learning_rate=1e-3, tower_rate=2e-5, warm_up=0.25
    )
    try:
        train_coordinates(*world, tmp_path / "run", config, backbone, quiet=True)
    finally:
        hook.remove()
    tower, heads = np.array(rates).T
    np.testing.assert_allclose(tower, heads / 50)
    rise = round(len(heads) / 4)
    np.testing.assert_allclose(heads[:rise], 1e-3 * np.arange(1, rise + 1) / rise)
    np.testing.assert_allclose(np.diff(heads[rise:]), -1e-3 / (len(heads) - rise))
    assert 0 < heads[-1] < 1e-4


def test_a_learned_weight_has_its_price():
    """Kendall, Gal and Cipolla (2018): the loss over its variance, and the logarithm of the variance."""
    output = torch.randn(4, 3), {task: torch.zeros(4, 8) for task in AUXILIARY_HEADS}
    targets = torch.tensor([[50.0, 0, 1, 2, 3, 4, 5]]).repeat(4, 1)
    loss = MultiTaskLoss(SphereTarget(), "learned")
    parts = loss.parts(output, targets)
    for number, task in enumerate(parts):
        loss.log_variance[task].data.fill_(number / 10)
    wanted = sum(
        part.item() / np.exp(number / 10) + number / 10 for number, part in enumerate(parts.values())
    )
    np.testing.assert_allclose(loss(output, {"labels": targets}).item(), wanted, rtol=1e-5)


def test_learned_weights_are_learnt(world, tmp_path, monkeypatch):
    losses, forward = [], MultiTaskLoss.forward
    monkeypatch.setattr(
        MultiTaskLoss, "forward", lambda loss, *given: losses.append(loss) or forward(loss, *given)
    )
    train_coordinates(
        *world, tmp_path / "run", CoordinateConfig("sphere", task_weights="learned", epochs=1), quiet=True
    )
    assert len(losses[0].log_variance) == 6 and all(
        spread.item() != 0 for spread in losses[0].log_variance.values()
    )


def test_cells_are_where_training_photographs_are(world):
    """The places of validation and test photographs are not given away."""
    _, table = world
    elsewhere = table.assign(lat=np.where(table["split"] == "tra", table["lat"], -80.0))
    assert make_target(CoordinateConfig(), elsewhere).cells == make_target(CoordinateConfig(), table).cells
    finer = make_target(CoordinateConfig(most=20), table).cells
    assert len(finer) > len(make_target(CoordinateConfig(), table).cells)


def test_radii_keep_their_promise_on_the_validation_rows(world, tmp_path):
    """Factors are fitted there: a model that is wrong by a known distance on them alone promises that distance."""
    vectors, table = world
    table.loc[table["split"] == "val", ["lat", "lon"]] = -80.0, 0.0  # far from all training photographs
    predictor = train_coordinates(
        vectors, table, tmp_path / "run", CoordinateConfig("sphere", epochs=1), quiet=True
    ).model
    rows = np.flatnonzero(table["split"] == "val")
    found = predictor.predict(vectors, rows)
    from geograph_types.earth import haversine_km

    error = haversine_km(found["lat"].to_numpy(), found["lon"].to_numpy(), -80.0, 0.0)
    assert 0.85 < (error <= found["radius_90_km"]).mean() < 0.95
