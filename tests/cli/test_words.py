"""Names and titles from outside are text: for a terminal, a spreadsheet and a figure; and advice is safe to follow."""

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geograph_types.cli import shared
from geograph_types.errors import CheckpointError
from geograph_types.models import open_model

EVIL = "[red]$\\frac$\x1b[2J\u202e=1+1"


@pytest.fixture
def results(tmp_path):
    """A table of results whose labels are an attack."""
    rows = ["Gold\tPredictions\tProbabilities"] + [
        f"{label}\t{[label]!r}\t[1.0]" for label in (EVIL, "=cmd()")
    ]
    path = tmp_path / "results.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("command", ["score", "confusion"])
def test_labels_do_not_steer_the_terminal(command, results, monkeypatch, here):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    words = "".join(here("zeroshot", command, results))
    assert "\x1b[2J" not in words and "\u202e" not in words and "[red]" in words


def test_an_error_does_not_steer_the_terminal(tmp_path, end_of):
    _, out, err = end_of("verify", tmp_path / "\x1b[2Jstore")
    words = out + err
    assert "\\u001b[2Jstore" in words and "\x1b" not in words


def test_a_table_holds_no_formula(results, tmp_path, here):
    out = tmp_path / "out.csv"
    here("zeroshot", "score", results, "--out", out)
    assert "'=cmd()" in out.read_text() and not [
        cell for line in out.read_text().splitlines() for cell in line.split(",") if cell.startswith("=")
    ]


def test_tables_are_written_in_one_way():
    """History, results of a grid, submissions and answers, too: by `csv_text`, which lets no formula through."""
    package = Path(shared.__file__).parents[1]
    makers = [
        path for path in sorted(package.rglob("*.py")) if ".to_csv(" in path.read_text(encoding="utf-8")
    ]
    made_up = ["downloads.py", "drawings.py"]  # of words of our own
    assert [path.name for path in makers] == ["locate.py", *made_up, "tables.py"]


def test_a_report_on_answers_escapes_what_people_wrote(tmp_path):
    from geograph_types.review import Answer, AnswerFile, write_review_report

    evil = "<script>alert(1)</script>"
    answers = AnswerFile(tmp_path / "answers.sqlite")
    for reviewer in ("anna", evil):
        said = [Answer(number, "accept", evil, evil, given=evil, kind=evil, tag=evil) for number in range(3)]
        answers.session(reviewer, evil).record(*said)
    text = write_review_report(tmp_path / "report.html", answers.table(), evil).read_text()
    assert "alert(1)" in text and evil not in text


def test_labels_are_no_formulas_in_figures():
    from geograph_types.evaluation import plot_class_f1
    from geograph_types.zeroshot import plot_confusion_matrix, plot_f1_change

    scores = {name: [0.5, 0.7] for name in ("f1", "precision", "recall", "direct", "two_stage", "change")}
    table = pd.DataFrame({**scores, "support": [3, 4]}, index=["$\\frac$", "$x"])
    square = pd.DataFrame(np.eye(2), index=table.index, columns=table.index)
    for figure in (plot_class_f1(table), plot_f1_change(table), plot_confusion_matrix(square)):
        figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    "name", ["nosuch", "runs/modle", "./a/b", "a/b/c", "v9", "folder/model.pth", "a b/c"]
)
def test_a_name_that_cannot_be_on_the_hub_is_said_at_once(name, tmp_path, monkeypatch):
    import huggingface_hub

    def asked(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(CheckpointError, match="no such file or folder"):
        open_model(name)


def test_a_folder_that_is_there_is_never_looked_for_on_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/model").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="owner/model: expected a folder with config.json"):
        open_model("owner/model")


def test_outputs_are_looked_at_before_a_model_is_fetched(tmp_path, monkeypatch, here):
    from geograph_types import fetch

    monkeypatch.setattr(fetch, "download", lambda *_, **__: pytest.fail("the network was asked"))
    (tmp_path / "rows.jsonl").write_text("{}\n")
    for source, out in (("rows.jsonl", "rows.jsonl"), ("none.jsonl", "out.csv")):
        assert "error: " in here("predict", tmp_path / source, "--out", tmp_path / out, status=1)[1]
    assert "expected a store" in here("evaluate", tmp_path / "nothing", "--model", "v2.3", status=1)[1]


@pytest.mark.parametrize(
    "options", ["--dtype float8", "--shard-size 0", "--shard-size -5"], ids=lambda text: text.replace(" ", "")
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(options, tmp_path, here):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    convert = ("convert", tmp_path / "rows.jsonl", tmp_path / "store", *options.split())
    assert f"Invalid value for '{options.split()[0]}'" in here(*convert, status=2)[1]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_printable_keeps_lines():
    assert shared.printable("a\nb\tc") == "a\nb\tc"
