"""Every command that makes an output leaves one alone that another process is making."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geograph_types.jobs import locked
from geograph_types.model import GeographModel
from geograph_types.synthetic import write_sample

COMMAND = Path(sys.executable).with_name("geograph-types")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Synthetic photographs, positions and captions, and a model that knows nothing."""
    folder = tmp_path_factory.mktemp("inputs")
    write_sample(folder / "sample.jsonl", 50)
    GeographModel().save_checkpoint(folder / "model.pth")
    pd.DataFrame({"lat": [53.0, 54.0], "lon": [0.0, 1.0]}).to_csv(folder / "positions.csv", index=False)
    (folder / "captions.txt").write_text("a church in Kent\n")
    (folder / "labels.txt").write_text("Kent\n")
    osv = {
        "id": ["1"],
        "latitude": [32.0],
        "longitude": [-99.0],
        "captured_at": [1_600_000_000_000],
        "climate": [14],
        "region": ["Texas"],
        "unique_sub-region": ["Some County"],
        "unique_city": ["Some City"],
    }
    pd.DataFrame(osv).to_csv(folder / "train_mini.csv", index=False)
    np.save(folder / "vectors.npy", np.eye(4, 8, dtype=np.float32))
    return folder


COMMANDS = {
    "convert": "convert sample.jsonl OUT",
    "predict": "predict --model model.pth --out OUT.csv sample.jsonl",
    "dedupe by position": "zeroshot dedupe positions.csv OUT.csv",
    "dedupe by likeness": "zeroshot dedupe vectors.npy OUT.csv --by likeness",
    "label-counts": "zeroshot label-counts captions.txt --labels labels.txt --out OUT.csv",
    "coordinates prepare": "coordinates prepare osv . OUT.csv",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_output_that_another_process_makes_is_left_alone(name, inputs, tmp_path):
    if name == "label-counts":
        pytest.importorskip("ahocorasick_rs", reason="the extra `geo` is not installed")
    words = [word.replace("OUT", str(tmp_path / "out")) for word in COMMANDS[name].split()]
    out = next(Path(word) for word in words if word.startswith(str(tmp_path)))
    with locked(out):
        before = sorted(tmp_path.iterdir())
        refused = subprocess.run([COMMAND, *words], cwd=inputs, capture_output=True, text=True, timeout=120)
        assert refused.returncode == 1
        assert (
            refused.stderr.startswith("error: ") and "is being written by another process" in refused.stderr
        )
        assert sorted(tmp_path.iterdir()) == before
    done = subprocess.run([COMMAND, *words], cwd=inputs, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and out.exists(), done.stderr
    assert [path for path in tmp_path.iterdir() if path.suffix == ".lock"] == []
