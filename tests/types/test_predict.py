"""`predict_file` beyond what the command's tests show: kinds of input, odd blocks, and files that stay whole."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from broken_rows import photographs, unpredictable_lines

from geograph_types.data import convert
from geograph_types.distance import distance_indices
from geograph_types.errors import RecipeError
from geograph_types.labels import CLASSES
from geograph_types.model import GeographModel
from geograph_types.store import decode_vector, encode_vector
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
    convert(source, tmp_path / "store", dtype="float32", quiet=True)  # the file's own numbers
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
    broken = [line for reason, line in unpredictable_lines(ROWS[0], 0) if reason != "duplicate id"]
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


def test_a_prediction_asks_for_a_number_and_a_vector_alone(predictor, tmp_path):
    """Whatever else is missing, or wrong."""
    odd = {"types": "Selfie", "weight": "heavy", "split": 7, "title": ["x"], "distance": {"m": 5}}
    bare = [{key: row[key] for key in ("gridimage_id", "embeddings")} for row in ROWS]
    rows = bare[:30] + [{**row, **odd} for row in bare[30:]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = predict_file(tmp_path / "rows.jsonl", tmp_path / "out.parquet", predictor, quiet=True)
    assert (summary.rows, summary.rejects) == (60, {})
    assert list(summary.notes.values())[0] == 60 and "distance unknown" in str(summary)


@pytest.mark.parametrize(
    "columns",
    [
        {"grid_reference": "TQ30207955", "viewpoint": "TQ 30250 79900"},
        {
            "nateastings": 530205,
            "natnorthings": "179555",
            "viewpoint_eastings": 530250,
            "viewpoint_northings": 179900,
        },
        {
            "wgs84_lat": 51.50003,
            "wgs84_long": -0.12617,
            "viewpoint_lat": "51,50313",
            "viewpoint_lon": -0.12543,
        },
        {
            "grid_reference": "TQ3079",
            "subject_lat": 51.50003,
            "subject_lon": -0.12617,
            "viewpoint": "TQ302799",
        },
    ],
)
def test_positions_in_columns_become_distances_and_tags(predictor, tmp_path, columns):
    row = {key: ROWS[0][key] for key in ("gridimage_id", "embeddings")}
    pd.DataFrame([{**row, **columns}]).to_csv(tmp_path / "rows.csv", index=False)
    predict_file(tmp_path / "rows.csv", tmp_path / "out.csv", predictor, quiet=True)
    table = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert table["distance"] == 256 and table["reason"].endswith("squares: TQ3079")


def test_a_position_that_cannot_be_read_is_unknown(predictor, tmp_path):
    row = {key: ROWS[0][key] for key in ("gridimage_id", "embeddings")}
    places = {"grid_reference": "nowhere", "viewpoint": "TQ30207955", "viewpoint_eastings": 0}
    pd.DataFrame([{**row, **places}]).to_csv(tmp_path / "rows.csv", index=False)
    summary = predict_file(tmp_path / "rows.csv", tmp_path / "out.csv", predictor, quiet=True)
    assert pd.read_csv(tmp_path / "out.csv")["distance"].tolist() == ["Unknown"]
    assert list(summary.notes.values())[0] == 1


def test_vectors_of_another_length_are_refused(predictor, tmp_path):
    rows = [{"gridimage_id": n, "embeddings": encode_vector(np.full(768, n + 0.5))} for n in range(9)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecipeError, match=r"\(9, 768\), expected \(N, 512\)"):
        predict_file(tmp_path / "rows.jsonl", tmp_path / "out.csv", predictor, quiet=True)
