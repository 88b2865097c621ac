"""`predict_file` beyond what the command's tests show: kinds of input, odd blocks, and files that stay whole."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from broken_rows import broken_lines, photographs

from geograph_types.data import convert
from geograph_types.distance import distance_indices
from geograph_types.labels import CLASSES
from geograph_types.model import GeographModel
from geograph_types.store import decode_vector
from geograph_types.types import TypePredictor, predict_file

ROWS = photographs(60)


@pytest.fixture
def predictor():
    torch.manual_seed(1)
    return TypePredictor(GeographModel())


def read(path):
    if path.suffix == ".jsonl":
        return pd.read_json(path, lines=True)
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_probabilities_are_the_models_whatever_the_input(predictor, source, tmp_path):
    vectors = torch.from_numpy(np.array([decode_vector(row["embeddings"]) for row in ROWS]))
    buckets = torch.from_numpy(distance_indices([row["distance"] for row in ROWS]))
    with torch.inference_mode():
        wanted = predictor.model(vectors, buckets).sigmoid().numpy()

    frame = pd.DataFrame(ROWS)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    convert(source, tmp_path / "store", quiet=True)
    for name in ("rows.jsonl", "rows.csv", "rows.parquet", "store"):
        out = tmp_path / f"{name}.out.parquet"
        assert predict_file(tmp_path / name, out, predictor, quiet=True).rows == len(ROWS)
        table = pd.read_parquet(out)
        assert table["gridimage_id"].tolist() == frame["gridimage_id"].tolist()
        np.testing.assert_allclose(table[CLASSES], wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
def test_blocks_of_nothing_but_broken_rows_change_nothing(predictor, source, tmp_path, monkeypatch, name):
    """At the start, in the middle and at the end of a file."""
    monkeypatch.setattr("geograph_types.tables.BLOCK_BYTES", 10_000)  # three rows or so
    predict_file(source, tmp_path / f"clean_{name}", predictor, quiet=True)
    good = source.read_text().splitlines()
    broken = [line for reason, line in broken_lines(ROWS[0], 0) if reason != "duplicate id"]
    source.write_text("\n".join([*broken, *good[:30], *broken, *good[30:], *broken]))

    summary = predict_file(source, tmp_path / name, predictor, quiet=True)
    clean, mixed = read(tmp_path / f"clean_{name}"), read(tmp_path / name)
    pd.testing.assert_frame_equal(
        mixed, clean, check_exact=False, atol=1e-6
    )  # other batches, other last digits
    assert sum(summary.rejects.values()) == 3 * len(broken)


def test_the_old_predictions_stay_until_the_new_ones_are_whole(predictor, source, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    predict_file(source, out, predictor, quiet=True)
    before = {path: path.read_bytes() for path in (out, tmp_path / "out.csv.rejects.jsonl")}

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(TypePredictor, "predict", fail)
    with pytest.raises(KeyboardInterrupt):
        predict_file(source, out, predictor, quiet=True, overwrite=True)
    assert sorted(tmp_path.iterdir()) == sorted([source, *before])
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.filterwarnings("error")
def test_nothing_is_warned_of(predictor, source, tmp_path):
    torch.set_warn_always(True)  # otherwise a warning comes once a process, perhaps in an earlier test
    try:
        predict_file(source, tmp_path / "out.csv", predictor, quiet=True)
    finally:
        torch.set_warn_always(False)
