"""Training that starts from a model: from the first step on it is in training mode, and dropout drops."""

import copy

import pytest
import torch

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

from trainers import train

from geograph_types.training import TrainingTask


class FirstStep(Exception):
    """It begins."""


@pytest.fixture
def first_step(monkeypatch):
    """The task of a training as it is when the first step begins, where it ends."""

    def begun(name, folder, **options):
        tasks = []

        def stop(task, batch, index):
            tasks.append((task, batch))
            raise FirstStep

        monkeypatch.setattr(TrainingTask, "on_train_batch_start", stop)
        with pytest.raises(FirstStep):
            train(name, folder, **options)
        return tasks[0]

    return begun


@pytest.mark.parametrize("name", ["types", "context", "scenic", "retrieval", "coordinates"])
def test_a_model_that_was_ready_to_use_learns_as_a_new_one(name, first_step, tmp_path):
    model = copy.deepcopy(first_step(name, tmp_path / "first")[0].eval().trained)
    task, batch = first_step(name, tmp_path / "further", start=model)
    assert all(part.training for part in task.model.modules())
    if any(isinstance(part, torch.nn.Dropout) for part in task.model.modules()):
        one, other = (task.model(*batch["features"]) for _ in range(2))
        assert not torch.equal(one, other)
    else:
        assert name in ("retrieval", "coordinates")
