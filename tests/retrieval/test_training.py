"""Training places in two processes equals one with the doubled batch."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
import torch

from geograph_types.retrieval import (
    GeoModel,
    GeoTask,
    LocatedImages,
    RetrievalConfig,
    retrieval_data,
    train_retrieval,
)
from geograph_types.synthetic import make_located

SMALL = dict(
    epochs=3,
    queue=300,
    learning_rate=2e-3,
    image_hidden=32,
    sigmas=(1, 16),
    waves=16,
    hidden=32,
    dim=16,
    gallery=300,
)

RUN = """
    import json, sys
    from geograph_types.synthetic import make_located
    from geograph_types.retrieval import RetrievalConfig, train_retrieval
    folder, settings, rows = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    sample = make_located(rows=rows, clip_dim=32, noise=0.5)
    config = RetrievalConfig(**settings)
    train_retrieval(sample, folder, config, quiet=True, accelerator="cpu", devices=2, strategy="ddp")
"""
ROWS = 1200  # 1,010 to learn from, 86 to validate on: even numbers


def run_processes(folder, **settings):
    """A run in two processes, as torchrun starts them; its history."""
    script = folder.parent / f"{folder.name}.py"
    script.write_text(textwrap.dedent(RUN))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    subprocess.run(
        [*command, folder, json.dumps({**SMALL, **settings}), str(ROWS)],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return pd.read_csv(folder / "history.csv")


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    """The same curve, epoch by epoch: shared negatives, queue, noise and a short last batch included."""
    two = run_processes(tmp_path / "two", batch_size=64)
    sample = make_located(rows=ROWS, clip_dim=32, noise=0.5)
    assert [(sample.split == part).sum() for part in ("tra", "val")] == [1010, 86]
    one, alone = (
        train_retrieval(
            sample,
            tmp_path / f"{size}",
            RetrievalConfig(**SMALL, batch_size=size),
            quiet=True,
            accelerator="cpu",
        ).history
        for size in (128, 64)
    )
    print(pd.concat([one, two], axis=1, keys=["one process", "two"]))
    assert len(one) == len(two) == SMALL["epochs"]
    np.testing.assert_allclose(two["train_loss"], one["train_loss"], rtol=1e-3)
    np.testing.assert_allclose(two["val_loss"], one["val_loss"], rtol=2e-3)
    # so that the comparison could have failed
    assert np.abs(alone["train_loss"] / one["train_loss"] - 1).max() > 0.02


def test_averaged_weights_are_the_mean_of_the_steps(tmp_path):
    """From the second epoch on; the saved model has them, and it is not the last step's."""
    from geograph_types.retrieval import Averaging

    callback = Averaging(1)
    callback._from_step = 3
    average, seen = torch.zeros(1), []
    for step, value in enumerate([5.0, 7.0, 1.0, 2.0, 4.0, 9.0], 1):
        latest = torch.tensor([value])
        average = latest.clone() if step == 1 else callback._average(average, latest, torch.tensor(step - 1))
        seen.append(average.item())
    assert seen == [5.0, 7.0, 1.0, 2.0, 3.0, 5.0]


@pytest.fixture
def villages():
    """800 photographs in 200 places at whole degrees, so that what was added to a position can be read off it."""
    rows = np.arange(800)
    lat, lon = 40.0 + rows % 20, 1.0 * (rows // 20 % 10)
    return LocatedImages(np.random.default_rng(1).normal(size=(800, 32)).astype(np.float32), lat, lon)


def train_a_little(images, folder, model=None, **settings):
    config = RetrievalConfig(**{**SMALL, "epochs": 1, "batch_size": 200, "queue": 200, **settings})
    return train_retrieval(images, folder, config, quiet=True, start=model, accelerator="cpu")


def small_model():
    return GeoModel(32, 32, (1, 16), 16, 32, 16)


def test_places_of_the_batch_and_of_the_queue_get_their_own_noise(villages, tmp_path):
    seen, model = [], small_model()
    model.location_encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    train_a_little(villages, tmp_path / "run", model, noise_m=150, queue_noise_m=1000)
    off_m = (
        111_195 * (seen[0] - seen[0].round())[:, 0]
    )  # what the first step compares: its 200 places, then the queue's
    assert len(off_m) == 400
    np.testing.assert_allclose(off_m[:200].std(), 150, rtol=0.2)
    np.testing.assert_allclose(off_m[200:].std(), 1000, rtol=0.2)


def test_the_queue_passes_on_the_places_of_the_batch_before(villages, tmp_path):
    seen, model = [], small_model()
    model.location_encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    train_a_little(villages, tmp_path / "run", model, noise_m=0, queue_noise_m=0)
    assert torch.equal(seen[1][-200:], seen[0][:200])


def test_places_within_near_m_are_not_held_against_a_photograph(villages, tmp_path):
    """If the whole Earth is near, only the right place is left, and nothing can be wrong."""
    history = train_a_little(villages, tmp_path / "all", near_m=1e8).history
    assert history[["train_loss", "val_loss"]].to_numpy().tolist() == [[0, 0]]
    assert (
        (train_a_little(villages, tmp_path / "few").history[["train_loss", "val_loss"]] > 1).to_numpy().all()
    )


def test_the_temperature_stays_below_its_limit(villages, tmp_path):
    model = small_model()
    model.logit_scale.data.fill_(np.log(1000))
    model = train_a_little(villages, tmp_path / "run", model).model
    np.testing.assert_allclose(model.logit_scale.item(), np.log(100), rtol=1e-3)


def test_the_saved_weights_are_the_mean_of_all_steps(villages, tmp_path, monkeypatch):
    steps, end_of_step = [], GeoTask.on_train_batch_end

    def note(task, *arguments):
        steps.append([weight.detach().clone() for weight in task.model.parameters()])
        end_of_step(task, *arguments)

    monkeypatch.setattr(GeoTask, "on_train_batch_end", note)
    model = train_a_little(villages, tmp_path / "run", average_from=0).model
    assert len(steps) == 4
    for weight, *of_steps in zip(model.parameters(), *steps):
        torch.testing.assert_close(weight.detach(), torch.stack(of_steps).mean(dim=0), rtol=1e-4, atol=1e-6)


def test_the_split_says_which_photographs_are_learnt_from_whatever_the_seed(villages):
    for seed in (1, 2):
        data = retrieval_data(villages, RetrievalConfig(seed=seed))
        assert np.array_equal(data.train.rows, np.flatnonzero(villages.split == "tra"))
        assert np.array_equal(data.validation.rows, np.flatnonzero(villages.split == "val"))


def test_weight_decay_reaches_the_optimiser(villages, tmp_path):
    """With a decay of one over the rate, a step takes a weight whole, but for the step itself."""
    small = dict(batch_size=1000, learning_rate=1e-3, weight_decay=1000.0)
    model = train_a_little(villages, tmp_path / "run", small_model(), **small).model
    assert max(weight.abs().max().item() for weight in model.image_head.parameters()) < 2e-3
