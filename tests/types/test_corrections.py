"""`geograph-types train --with`: answers reach the training rows, and what became of them is said."""

import pandas as pd
from typer.testing import CliRunner

from geograph_types.cli.root import app
from geograph_types.data import convert
from geograph_types.files import read_json
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample


def shell(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_a_run_with_answers_is_another_run(tmp_path):
    store, answers = tmp_path / "store", tmp_path / "answers.parquet"
    convert(write_sample(tmp_path / "s.jsonl", 1000), store, quiet=True)
    assert shell("train", store, tmp_path / "first", "--epochs", 1).exit_code == 0
    metadata = EmbeddingStore.open(store).metadata
    ids = metadata["gridimage_id"][metadata["split"] == "tra"].tolist()
    table = pd.DataFrame({"gridimage_id": ids[:3], "labels": "Inside;Extra", "seen": True})
    table.assign(decision=["change", "accept", "skip"]).to_parquet(answers)

    line = ["train", store, tmp_path / "further", "--epochs", 1, "--start", tmp_path / "first"]
    result = shell(*line, "--with", answers)
    assert result.exit_code == 0, result.exception
    assert "answers.parquet: 3 in: 2 used, 1 rejected; the first in line 3: skip" in result.output
    rows = [read_json(tmp_path / name / "config.json")["data"]["rows"] for name in ("first", "further")]
    assert rows[0] != rows[1]
    assert "another run" in str(shell(*line).exception)  # without the answers

    table.to_parquet(answers)
    assert "expected also decision" in str(shell(*line, "--with", answers).exception)
