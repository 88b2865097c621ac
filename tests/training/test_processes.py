"""Validation rows that do not divide are judged once each, on however many processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import trainers

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")

SCRIPT = """
import json, sys
from pathlib import Path
from trainers import TRAINERS
folder, file, options = sys.argv[1:]
TRAINERS["coordinates"](Path(folder), file, rows=500, accelerator="cpu", **json.loads(options))
"""


def in_two_processes(folder, file, **options):
    """A run as torchrun starts it."""
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            script,
            folder,
            file,
            json.dumps(options),
        ],
        check=True,
        timeout=300,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        },
    )


@pytest.mark.slow
def test_two_processes_judge_as_one(tmp_path):
    """With hardly any learning, for how rows are divided while learning is not the question."""
    file = tmp_path / "still.toml"
    file.write_text('target = "sphere"\nepochs = 1\nbatch_size = 16\nlearning_rate = 1e-12\n')
    trainers.coordinates(tmp_path / "one", file, rows=500, accelerator="cpu")
    in_two_processes(tmp_path / "two", file, devices=2, strategy="ddp")
    one, two = (pd.read_csv(tmp_path / name / "history.csv") for name in ("one", "two"))
    rows = json.loads((tmp_path / "one" / "config.json").read_text())["data"]["validation"]
    assert rows % 32 > 16  # one of the two has a row less in its last batch, which is not full
    judged = [name for name in one if name.startswith("val_")]
    assert {"val_loss", "val_mean_km", "val_state"} <= set(judged)
    for name in judged:
        assert two[name].item() == pytest.approx(one[name].item(), rel=1e-5), name
