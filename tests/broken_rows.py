"""Synthetic photographs as rows, and rows that are broken in every way we know of; several test files use both."""

import json

import numpy as np

from geograph_types.recipe import CLIP_DIM
from geograph_types.store import encode_vector
from geograph_types.synthetic import make_sample


def photographs(count: int, seed: int = 42) -> list[dict]:
    """Good rows, as they stand in the published file."""
    sample = make_sample(count, seed)
    return [
        {**row, "embeddings": encode_vector(vector)}
        for row, vector in zip(sample.metadata.to_dict("records"), sample.embeddings)
    ]


def vector_with(value: float) -> str:
    """An embedding in which one number is `value`."""
    vector = np.full(CLIP_DIM, 0.2)
    vector[7] = value
    return encode_vector(vector)


def broken_rows(row: dict, earlier_id: int) -> list[tuple[str, dict]]:
    """(reason, row) pairs: `row` with one field made wrong. Texts only, so that CSV and Parquet can hold them too."""
    changes = [
        ("missing key", {"gridimage_id": None}),
        ("missing key", {"embeddings": None}),
        ("missing key", {"split": None}),
        ("missing key", {"weight": None}),
        ("bad id", {"gridimage_id": "12b"}),
        ("bad id", {"gridimage_id": "-5"}),
        ("bad id", {"gridimage_id": str(2**63)}),
        ("bad base64", {"embeddings": "***"}),
        ("bad base64", {"embeddings": row["embeddings"][:-1]}),
        ("wrong length", {"embeddings": encode_vector([1, 2, 3])}),
        ("wrong length", {"embeddings": encode_vector(np.zeros(CLIP_DIM + 1))}),
        ("NaN or infinite", {"embeddings": vector_with(np.nan)}),
        ("NaN or infinite", {"embeddings": vector_with(np.inf)}),
        ("NaN or infinite", {"embeddings": vector_with(-np.inf)}),
        ("all zeros", {"embeddings": encode_vector(np.zeros(CLIP_DIM))}),
        ("unknown split", {"split": "training"}),
        ("unknown tag", {"types": "Geograph,Selfie"}),
        ("bad weight", {"weight": "heavy"}),
        ("bad weight", {"weight": "-1"}),
        ("bad weight", {"weight": "inf"}),
        ("bad weight", {"weight": "nan"}),
        ("duplicate id", {"gridimage_id": earlier_id}),
    ]
    return [(reason, {**row, **change}) for reason, change in changes]


def broken_lines(row: dict, earlier_id: int) -> list[tuple[str, str]]:
    """(reason, line) pairs for a JSON Lines file: the broken rows, and what no CSV or Parquet file can hold."""
    others = [
        ("not JSON", '{"gridimage_id": 1'),
        ("not JSON", "an error page instead of data"),
        ("not JSON", "[1, 2, 3]"),
        ("not JSON", '"text"'),
        ("not JSON", json.dumps({**row, "weight": float("nan")})),
        ("missing key", "{}"),
        ("missing key", json.dumps({**row, "title": None})),
        ("bad id", json.dumps({**row, "gridimage_id": 12.5})),
        ("bad id", json.dumps({**row, "gridimage_id": True})),
        ("bad base64", json.dumps({**row, "embeddings": [0.1, 0.2]})),
        ("bad types", json.dumps({**row, "types": ["Geograph"]})),
        ("unknown split", json.dumps({**row, "split": ["tra"]})),
    ]
    return [(reason, json.dumps(broken)) for reason, broken in broken_rows(row, earlier_id)] + others


def unpredictable_lines(row: dict, earlier_id: int) -> list[tuple[str, str]]:
    """Those of `broken_lines` that stop a prediction, too: it needs a number and a vector, and nothing else."""

    def needed(reason: str, line: str) -> bool:
        if reason != "missing key":
            return reason not in ("unknown split", "unknown tag", "bad weight", "bad types")
        row = json.loads(line)
        return row.get("gridimage_id") is None or row.get("embeddings") is None

    return [pair for pair in broken_lines(row, earlier_id) if needed(*pair)]
