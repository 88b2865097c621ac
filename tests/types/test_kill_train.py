"""`train` killed with SIGKILL and run again ends with the very weights, thresholds and history of an undisturbed run."""

import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch
from processes import PROCESSES

from geograph_types.data import convert
from geograph_types.synthetic import write_sample
from geograph_types.types import TrainingConfig, train

CONFIG = TrainingConfig(epochs=12, patience=3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three thousand synthetic photographs."""
    folder = tmp_path_factory.mktemp("training")
    return convert(write_sample(folder / "sample.jsonl", 3000), folder / "store", quiet=True).path


def train_quietly(store, folder):
    train(store, folder, CONFIG, quiet=True)


def start(function, *arguments):
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    return process


def run(*arguments):
    process = start(train_quietly, *arguments)
    process.join(120)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory):
    """The folder of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(store, folder)
    return folder


def assert_same(folder, undisturbed):
    """Bit for bit: weights, thresholds and all else in the checkpoint, the history, and the folder for the Hub."""
    ours, theirs = (
        torch.load(path / "model" / "model.pth", weights_only=True) for path in (folder, undisturbed)
    )
    weights, wanted = ours.pop("model_state_dict"), theirs.pop("model_state_dict")
    assert weights.keys() == wanted.keys() and all(
        torch.equal(weights[name], wanted[name]) for name in weights
    )
    assert ours == theirs
    for name in ("history.csv", "config.json", "model/config.json", "model/model.safetensors"):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    left_over = {str(path.relative_to(folder)) for path in folder.rglob("*")} - {
        str(path.relative_to(undisturbed)) for path in undisturbed.rglob("*")
    }
    assert {name for name in left_over if not name.startswith("tensorboard/")} == set()


def epochs_in(folder):
    """How many epochs the history of a run has."""
    history = folder / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def kill_in_the_middle(store, folder, more_epochs, delay):
    """Start or take up a run, and kill it some time after so many more epochs; whether it was still at work."""
    wanted, process = epochs_in(folder) + more_epochs, start(train_quietly, store, folder)
    while process.is_alive() and epochs_in(folder) < wanted:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


def test_the_undisturbed_run_stopped_early_and_has_thresholds(undisturbed):
    checkpoint = torch.load(undisturbed / "model" / "model.pth", weights_only=True)
    assert checkpoint["epoch"] > 2 and checkpoint["thresholds"] != [0.5] * 7
    assert json.loads((undisturbed / "config.json").read_text())["settings"]["epochs"] == CONFIG.epochs


def written(folder):
    """When each file of a run was written that only training writes."""
    return {
        path: path.stat().st_mtime_ns
        for name in ("checkpoints", "tensorboard")
        for path in (folder / name).iterdir()
    }


def test_a_finished_run_is_not_trained_again(store, tmp_path):
    """Nor the epochs after the best one, which were in vain."""
    config, folder = TrainingConfig(epochs=40, patience=1, learning_rate=0.1), tmp_path / "run"
    history = train(store, folder, config, quiet=True).history
    assert history["val_loss"].idxmin() == len(history) - 2 < 38
    before = written(folder)
    assert train(store, folder, config, quiet=True).history.equals(history) and written(folder) == before


def test_killed_at_random_moments(store, undisturbed, tmp_path):
    """Until it has been killed in six different epochs; a run that escapes is compared, and another one begun."""
    dice, stages, folder = random.Random(3), set(), tmp_path / "run"
    for _ in range(30):
        if kill_in_the_middle(store, folder, dice.randint(0, 2), dice.uniform(0, 0.15)):
            stages.add(epochs_in(folder))
        else:
            assert_same(folder, undisturbed)
            shutil.rmtree(folder)
        if len(stages) >= 6:
            break
    assert len(stages) >= 6, f"killed only in epochs {sorted(stages)}"
    run(store, folder)
    assert_same(folder, undisturbed)


def train_and_die_while_copying(store, folder, other_file_system, last_copy):
    """Lightning writes a checkpoint into the folder for temporary files, and moves it; to another disk, that is a copy."""
    copies = iter(range(1, 1000))

    def copy_half_and_die(source, target, **options):
        copy = next(copies)
        data = Path(source).read_bytes()
        Path(target).write_bytes(data[: len(data) // 2] if copy == last_copy else data)
        if copy == last_copy:
            os.kill(os.getpid(), signal.SIGKILL)

    tempfile.tempdir, shutil.copyfile = other_file_system, copy_half_and_die
    train_quietly(store, folder)


def test_killed_while_a_checkpoint_is_copied_from_another_file_system(store, undisturbed, tmp_path):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm on another file system than the tests' folder")
    with tempfile.TemporaryDirectory(dir=other) as temporary:
        start(train_and_die_while_copying, store, tmp_path / "run", temporary, 4).join(
            120
        )  # best, last, best, last
    run(store, tmp_path / "run")
    assert_same(tmp_path / "run", undisturbed)
