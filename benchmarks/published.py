"""The published project's way to read, train and predict, written here after its description."""

import base64
import gzip
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from geograph_types.distance import get_dist_idx
from geograph_types.labels import CLASS_TO_IDX, CLASSES


def read_rows(path: Path) -> list[dict]:
    """A JSON Lines file, compressed or not, as dictionaries."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def decode(row: dict) -> np.ndarray:
    """The vector of a row (512,)."""
    return np.frombuffer(base64.b64decode(row["embeddings"]), dtype=np.float32)


def decode_for_training(row: dict) -> np.ndarray:
    """The vector of a row (512,); the published training notebook looks at each number, and takes zeros for bad ones."""
    vector = decode(row)
    return np.zeros(512, np.float32) if any(math.isnan(x) or math.isinf(x) for x in vector) else vector


class RowDataset(Dataset):
    """Rows that are decoded when they are asked for."""

    def __init__(self, rows: list[dict], split: str):
        self.rows = [row for row in rows if row["split"] == split]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:  # vector, bucket, labels, weight
        row, labels = self.rows[index], torch.zeros(len(CLASSES))
        tags = [tag.strip() for tag in row["types"].split(",")]
        far = row["distance"].isdigit() and int(row["distance"]) > 256
        for tag in tags:
            if tag == "Cross Grid":
                tag = "Cross Far" if far else "Geograph" if len(tags) == 1 else ""
            elif tag == "From Above":
                tag = "From Drone"
            if tag in CLASS_TO_IDX:
                labels[CLASS_TO_IDX[tag]] = 1.0
        bucket = torch.tensor(get_dist_idx(row["distance"]))
        return torch.tensor(decode_for_training(row)), bucket, labels, torch.tensor(row["weight"])


def predict_rows(model: torch.nn.Module, rows: list[dict]) -> list[list[tuple[str, float]]]:
    """The labels above 0.2 of each row, row by row."""
    found = []
    for row in rows:
        vector, bucket = torch.tensor(decode(row)).unsqueeze(0), torch.tensor([get_dist_idx(row["distance"])])
        with torch.no_grad():
            scores = torch.sigmoid(model(vector, bucket))[0].tolist()
        found.append([(name, score) for name, score in zip(CLASSES, scores) if score > 0.2])
    return found
