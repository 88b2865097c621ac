"""The command line as a person runs it: processes, files and exit codes."""

import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from broken_rows import photographs, unpredictable_lines
from isal import igzip
from terminal import in_terminal

from geograph_types.labels import CLASSES
from geograph_types.synthetic import like

COMMAND = Path(sys.executable).with_name("geograph-types")


def geograph_types(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def write_lines(path: Path, lines: list[str]) -> Path:
    with igzip.open(path, "wb") as file:
        file.write("\n".join(lines).encode())
    return path


def read(path: Path) -> pd.DataFrame:
    """Predictions, whatever kind of file they are in."""
    readers = {
        ".parquet": pd.read_parquet,
        ".csv": pd.read_csv,
        ".jsonl": lambda path: pd.read_json(path, lines=True),
    }
    return readers[path.suffix](path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """600 good rows in one file; the same with broken ones scattered among them in another."""
    folder = tmp_path_factory.mktemp("predict")
    rows = photographs(600)
    good = [json.dumps(row) for row in rows]
    mixed = [("", line) for line in good]
    broken = unpredictable_lines({**rows[0], "gridimage_id": 10**9}, rows[0]["gridimage_id"])
    places = random.Random(1).sample(range(1, len(mixed)), len(broken))
    for place, line in zip(sorted(places, reverse=True), broken):
        mixed.insert(place, line)
    expected = {number: reason for number, (reason, _) in enumerate(mixed, 1) if reason}
    return (
        write_lines(folder / "good.jsonl.gz", good),
        write_lines(folder / "mixed.jsonl.gz", [line for _, line in mixed]),
        expected,
    )


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
def test_every_good_row_is_predicted_and_every_broken_one_accounted_for(
    here, published, files, tmp_path, name
):
    good, mixed, expected = files
    model = published / "geograph" / "best_geograph_model_v2.3.pth"
    clean, out = tmp_path / f"clean_{name}", tmp_path / name
    for source, target in ((good, clean), (mixed, out)):
        said = here("predict", "--model", model, "--out", target, source)[1]

    table = read(out)
    assert list(table.columns) == ["gridimage_id", *CLASSES, "types", "low_confidence"]
    assert table["gridimage_id"].tolist() == read(clean)["gridimage_id"].tolist()
    np.testing.assert_allclose(table[CLASSES], read(clean)[CLASSES], atol=1e-6)

    rejects = [json.loads(line) for line in open(f"{out}.rejects.jsonl")]
    assert {reject["line"]: reject["reason"] for reject in rejects} == expected
    assert f"{len(expected)} rejected" in said


def test_an_error_is_one_line_for_people(tmp_path):
    result = geograph_types("verify", tmp_path / "nothing")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "Traceback" not in result.stderr
    assert "geograph-types convert" in result.stderr


def test_a_file_of_nothing_but_broken_rows_is_an_error(here, published, tmp_path):
    source = write_lines(tmp_path / "bad.jsonl.gz", ["{}", "nonsense"])
    out = tmp_path / "out.csv"
    model = published / "geograph" / "best_geograph_model_v1.pth"
    assert "no row could be predicted" in here("predict", "--model", model, "--out", out, source, status=1)[1]
    assert not out.exists()


def test_from_sample_to_report(here, tmp_path):
    """The steps of the demo as separate commands."""
    source, store, run = tmp_path / "sample.jsonl", tmp_path / "store", tmp_path / "run"
    steps = [
        ("sample", source, "--rows", 1500),
        ("convert", source, store, "--dtype", "int8"),
        ("verify", store),
        ("train", store, run, "--epochs", 2),
        ("evaluate", store, "--model", run / "model/model.pth", "--report", tmp_path / "report.html"),
        ("predict", "--model", run, "--out", tmp_path / "tags.csv", store),
    ]
    for step in steps:
        here(*step)
    assert "<table" in (tmp_path / "report.html").read_text()
    assert len(pd.read_csv(tmp_path / "tags.csv")) == 1500


@pytest.fixture(scope="module")
def photograph_and_model(tmp_path_factory):
    """A drawn photograph, and a model for a small network with random weights."""
    pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")
    from dataclasses import asdict

    from geograph_types.clip import clip_recipe
    from geograph_types.model import GeographModel
    from geograph_types.synthetic import draw_photograph

    folder = tmp_path_factory.mktemp("photograph")
    draw_photograph("Geograph", 3).save(folder / "photo.jpg")
    recipe = clip_recipe("ViT-S-32-alt", "random:1")
    GeographModel(clip_dim=recipe.dim, recipe=asdict(recipe)).save_checkpoint(folder / "model.pth")
    return folder / "photo.jpg", folder / "model.pth"


def test_a_photograph_gets_bars_and_the_tags_of_geograph(photograph_and_model):
    photo, model = photograph_and_model
    drawn = in_terminal(
        "predict", photo, "--model", model, "--subject", "TQ30028044", "--viewpoint", "TQ29958021"
    )
    assert "photo.jpg, distance 128" in drawn and "█" in drawn
    assert all(name in drawn for name in CLASSES)
    assert "Cross Grid by geometry: TQ3080 from TQ2980" in " ".join(drawn.split())  # lines may be broken


@pytest.mark.parametrize(
    "subject, viewpoint", [("TQ30028044", "TQ29958021"), ("51.507551,-0.127697", "51.505501,-0.128789")]
)
def test_positions_may_be_grid_references_or_degrees(here, photograph_and_model, subject, viewpoint):
    photo, model = photograph_and_model
    places = ("--subject", subject, "--viewpoint", viewpoint)
    row = json.loads(here("predict", photo, "--model", model, *places, "--json")[0])
    assert row["distance"] == "128" and row["reason"] == "Cross Grid by geometry: TQ3080 from TQ2980"
    assert all(0 <= row[name] <= 1 for name in CLASSES)


def test_a_place_that_is_none_and_a_file_that_is_no_photograph(here, photograph_and_model, tmp_path):
    photo, model = photograph_and_model
    said = here("predict", photo, "--model", model, "--subject", "north,south", status=1)[1]
    assert "expected a grid reference, or latitude and longitude" in said
    (tmp_path / "no.jpg").write_text("<html>")
    stdout, stderr = here("predict", tmp_path / "no.jpg", photo, "--model", model, "--json")
    assert "no.jpg: not an image" in stderr and len(stdout.splitlines()) == 1


def test_sample_like_a_model(here, published, tmp_path, monkeypatch):
    """Published weights by path, with a short fit; labels without a model to go with are refused."""
    monkeypatch.setattr(like, "write_like", partial(like.write_like, steps=5))
    weights, out = published / "geograph" / "best_geograph_model_v1.pth", tmp_path / "like.jsonl.gz"
    made = here("sample", out, "--rows", 200, "--like", weights)[1]
    assert "200 synthetic photographs" in made and out.exists()
    alone = here("sample", tmp_path / "x.jsonl", "--train-csv", weights, status=2)[1]
    assert "--train-csv has no effect" in alone
