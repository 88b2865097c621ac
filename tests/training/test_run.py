"""What a head learns from, by which optimiser, and which epoch is kept."""

import shutil

import numpy as np
import pytest
import torch

from geograph_types.errors import CheckpointError
from geograph_types.training import BatchData, BatchDataset, RunConfig, TrainingTask, adamw_cosine, fit


@pytest.fixture
def data():
    """Four rows, each a photograph of one thing: features and labels are the unit matrix."""
    rows, eye = np.arange(4), np.eye(4, dtype=np.float32)
    return BatchData(*[BatchDataset((eye,), eye, np.ones(4, np.float32), rows)] * 2)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_mixup_mixes_what_the_head_sees(data, mixup):
    torch.manual_seed(0)
    seen, head = [], torch.nn.Linear(4, 4)
    head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    TrainingTask(head, mixup=mixup).training_step(data.train[np.arange(4)], 0)
    assert torch.equal(seen[0], torch.eye(4)) == (mixup == 0)


class Worsening(TrainingTask):
    """Its validation loss rises from epoch to epoch, and so does its score."""

    def validate(self, batch):
        for name in ("val_loss", "val_right"):
            self.note(name, 1.0 * self.current_epoch, 4)


def weights(data, folder, **settings):
    torch.manual_seed(0)
    head = torch.nn.Linear(4, 4)
    fit(
        Worsening(head, learning_rate=0.1), data, folder, RunConfig(**settings), quiet=True, accelerator="cpu"
    )
    return head.weight


def test_what_is_monitored_decides_which_epoch_is_kept(data, tmp_path):
    first = weights(data, tmp_path / "first", epochs=1)
    assert torch.equal(weights(data, tmp_path / "loss", epochs=3), first)
    assert not torch.equal(weights(data, tmp_path / "score", epochs=3, monitor="val_right"), first)


def test_a_run_that_was_moved_still_knows_its_best_epoch(data, tmp_path, recwarn):
    first = weights(data, tmp_path / "here", epochs=1)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert torch.equal(weights(data, tmp_path / "there", epochs=3), first)
    assert not [str(one.message) for one in recwarn if "dirpath" in str(one.message)]


SPOILED = {
    "no version": lambda kept: kept.pop("pytorch-lightning_version"),
    "no optimizer": lambda kept: kept.update(optimizer_states=[]),
    "another optimizer": lambda kept: kept.update(optimizer_states=[{"a": 1}]),
    "no schedule": lambda kept: kept.pop("lr_schedulers"),
    "other loops": lambda kept: kept.update(loops={"fit_loop": 3}),
    "a weight less": lambda kept: kept["state_dict"].popitem(),
    "words for numbers": lambda kept: kept.update(epoch="first"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of one epoch."""
    rows, eye = np.arange(4), np.eye(4, dtype=np.float32)
    four = BatchData(*[BatchDataset((eye,), eye, np.ones(4, np.float32), rows)] * 2)
    folder = tmp_path_factory.mktemp("begun")
    weights(four, folder, epochs=1)
    return folder


@pytest.mark.parametrize("spoil", [None, *SPOILED])
def test_a_run_goes_on_from_a_whole_checkpoint_only(data, begun, tmp_path, spoil):
    folder = shutil.copytree(begun, tmp_path / "run")
    last = folder / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)
    if spoil is None:
        weights(data, folder, epochs=2)
        return
    SPOILED[spoil](kept)
    torch.save(kept, last)
    with pytest.raises(CheckpointError, match="last.ckpt is damaged"):
        weights(data, folder, epochs=2)


class Told(TrainingTask):
    """Its validation loss is a number that the rows bring along."""

    def validate(self, batch):
        self.note("val_loss", batch["labels"].mean(), len(batch["labels"]))


def test_what_is_noted_is_averaged_over_rows_not_batches(tmp_path):
    """Five rows in batches of two, two and one: 1, 2, 3, 4 and 10 have the mean 4, and their batches' means 5.0."""
    told = np.array([1, 2, 3, 4, 10], np.float32)[:, None]
    rows = BatchDataset((np.ones((5, 1), np.float32),), told, np.ones(5, np.float32), np.arange(5))
    history = fit(
        Told(torch.nn.Linear(1, 1)),
        BatchData(rows, rows, batch_size=2),
        tmp_path,
        RunConfig(epochs=1),
        quiet=True,
        accelerator="cpu",
    )
    assert history.rows[0]["val_loss"] == pytest.approx(4.0)


def test_adamw_takes_its_share_off_a_weight_that_nothing_teaches():
    head = torch.nn.Linear(1, 1)
    head.weight.data.fill_(1.0)
    head.weight.grad, head.bias.grad = torch.zeros(1, 1), torch.zeros(1)
    made = adamw_cosine(0.1, weight_decay=0.5, period=10)(head)
    made["optimizer"].step()
    assert head.weight.item() == pytest.approx(1 - 0.1 * 0.5)
