"""Training places in two processes equals one with the doubled batch, and a killed run goes on as if nothing had happened."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from geograph_types.retrieval import RetrievalConfig, train_retrieval
from geograph_types.synthetic import make_located

SMALL = dict(epochs=4, queue=300, learning_rate=2e-3, image_hidden=32, sigmas=(1, 16), waves=16, hidden=32, dim=16, gallery=300)
PROCESSES = multiprocessing.get_context("forkserver")  # torch and Lightning are imported once, not by every process
PROCESSES.set_forkserver_preload(["geograph_types.retrieval.training"])

RUN = """
    import json, sys
    from geograph_types.retrieval import LocatedImages
    from geograph_types.synthetic import make_located
    from geograph_types.retrieval import RetrievalConfig, train_retrieval
    folder, settings, options = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    sample = make_located(rows=1216, clip_dim=32, noise=0.5)  # 984 to learn from, 96 to validate on: even numbers
    train_retrieval(sample, folder, RetrievalConfig(**settings), quiet=True, accelerator="cpu", **options)
"""


def run_processes(folder, processes, **settings):
    """A run in so many processes, as torchrun starts them; its history."""
    import json

    script = folder.parent / f"{folder.name}.py"
    script.write_text(textwrap.dedent(RUN))
    options = {"devices": processes, "strategy": "ddp"} if processes > 1 else {"devices": 1}
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", script,
                    folder, json.dumps({**SMALL, **settings}), json.dumps(options)],
                   check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return pd.read_csv(folder / "history.csv")


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    """The same curve, epoch by epoch: shared negatives, queue, noise and a short last batch included."""
    one = run_processes(tmp_path / "one", 1, batch_size=128)
    two = run_processes(tmp_path / "two", 2, batch_size=64)
    print(pd.concat([one, two], axis=1, keys=["one process", "two"]))
    assert len(one) == len(two) == SMALL["epochs"]
    np.testing.assert_allclose(two["train_loss"], one["train_loss"], rtol=1e-3)
    np.testing.assert_allclose(two["val_loss"], one["val_loss"], rtol=2e-3)
    alone = run_processes(tmp_path / "alone", 1, batch_size=64)  # so that the comparison could have failed
    assert np.abs(alone["train_loss"] / one["train_loss"] - 1).max() > 0.02


def train_quietly(folder, settings):
    train_retrieval(make_located(rows=3000, clip_dim=32, noise=0.5), folder, RetrievalConfig(**settings), quiet=True,
                    accelerator="cpu")


def start(*arguments):
    process = PROCESSES.Process(target=train_quietly, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("more", [{}, {"average_from": 2, "accumulate": 2}], ids=["plain", "averaged"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, more):
    settings = {**SMALL, "epochs": 6, "batch_size": 100, **more}
    start(tmp_path / "whole", settings).join(200)
    killed = start(tmp_path / "killed", settings)
    history = tmp_path / "killed" / "history.csv"
    while killed.is_alive() and (not history.exists() or len(history.read_text().splitlines()) < 4):
        time.sleep(0.005)
    killed.kill()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL, "the run was over before it could be killed"
    assert not (tmp_path / "killed" / "hub").exists()
    start(tmp_path / "killed", settings).join(200)
    assert history.read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()
    one, other = (load_file(tmp_path / name / "hub" / "model.safetensors") for name in ("whole", "killed"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


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
