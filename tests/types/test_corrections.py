"""`geograph-types train --with`: answers reach the training rows, and what became of them is said."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from geograph_types.cli.root import app
from geograph_types.data import convert
from geograph_types.files import read_json
from geograph_types.review import Answer, AnswerFile
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import write_sample
from geograph_types.tables import read_columns
from geograph_types.types import with_answers


def shell(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return convert(write_sample(folder / "s.jsonl", 500), folder / "store", quiet=True).path


@pytest.fixture(scope="module")
def asked(store, tmp_path_factory):
    """A file of answers about four photographs that are learnt from: changed, accepted, accepted blindly, skipped."""
    metadata = EmbeddingStore.open(store).metadata
    ids = metadata["gridimage_id"][metadata["split"] == "tra"].tolist()
    path = tmp_path_factory.mktemp("answers") / "answers.sqlite"
    AnswerFile(path).session("anna").record(
        Answer(ids[0], "change", "Inside;Extra", "Inside"),
        Answer(ids[1], "accept", "Inside", "Inside"),
        Answer(ids[2], "accept", "Extra", "Extra", seen=False),
        Answer(ids[3], "skip", "", "Inside"),
    )
    return path


def test_a_run_with_answers_is_another_run(store, asked, tmp_path):
    answers = tmp_path / "answers.parquet"
    assert shell("review", "export", asked, "--out", answers).exit_code == 0
    assert shell("train", store, tmp_path / "first", "--epochs", 1).exit_code == 0
    line = ["train", store, tmp_path / "further", "--epochs", 1, "--start", tmp_path / "first"]
    result = shell(*line, "--with", answers)
    assert result.exit_code == 0, result.exception
    assert "answers.parquet: 4 rows in: 3 used, 1 rejected; the first in line 4: skip" in result.output
    rows = [read_json(tmp_path / name / "config.json")["data"]["rows"] for name in ("first", "further")]
    assert rows[0] != rows[1]
    assert "another run" in str(shell(*line).exception)  # without the answers

    pd.read_parquet(answers).drop(columns="decision").to_csv(tmp_path / "bare.csv")
    assert "expected also decision" in str(shell(*line, "--with", tmp_path / "bare.csv").exception)


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("form", ["answers", "training"])
def test_every_table_of_answers_corrects_the_same_rows(store, asked, tmp_path, form, ending):
    out = tmp_path / f"table.{ending}"
    result = shell("review", "export", asked, "--form", form, "--out", out)
    assert result.exit_code == 0, result.output
    before, after = EmbeddingStore.open(store), with_answers(EmbeddingStore.open(store), read_columns(out))
    changed = (after.metadata["weight"] != before.metadata["weight"]) | (
        after.metadata["types"] != before.metadata["types"]
    )
    ids = AnswerFile(asked).table()["gridimage_id"].tolist()
    found = after.metadata.set_index("gridimage_id").loc[ids, ["types", "weight"]]
    assert found.values.tolist()[:3] == [["Extra,Inside", 3.0], ["Inside", 1.0], ["Extra", 3.0]]
    assert {*after.metadata["gridimage_id"][changed]} <= {*ids[:3]}
