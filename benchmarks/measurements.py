"""What type_tags.py measures, each function in a process of its own. All of it needs Linux, for /proc."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Numbers = dict[str, float]


def memory_mb(field: str) -> float:
    """Memory of this process in MB: VmRSS is now, VmHWM the peak."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def once(function: Callable[[], object]) -> Numbers:
    """Seconds of a call, and the memory that its result holds; what was written before is on disk by then."""
    os.sync()
    memory, start = memory_mb("VmRSS"), time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    added_mb = memory_mb("VmRSS") - memory
    del result
    return {"seconds": seconds, "added_mb": added_mb}


def again(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call; the first one does not count."""
    return median([once(function)["seconds"] for _ in range(repeats + 1)][1:])


# --- opening and converting: measured once in a process ------------------------------------------------------------


def open_published(folder: Path, repeats: int) -> Numbers:
    from published import read_rows

    return once(lambda: read_rows(folder / "sample.jsonl"))


def open_ours(folder: Path, repeats: int) -> Numbers:
    """Open the store and look at a vector; and then read all of the metadata too."""
    import pandas  # noqa: F401
    from pyarrow import parquet  # noqa: F401

    from geograph_types.store import EmbeddingStore

    stores = []
    opened = once(lambda: stores.append(EmbeddingStore.open(folder / "store")) or stores[0].embeddings[-1])
    read = once(lambda: stores[0].metadata)
    return {
        "seconds": opened["seconds"],
        "metadata": opened["seconds"] + read["seconds"],
        "added_mb": opened["added_mb"] + read["added_mb"],
    }


def convert_published(folder: Path, repeats: int, name: str = "sample.jsonl") -> Numbers:
    """Parse every row and decode its vector; nothing is checked or written."""
    from published import decode, read_rows

    return once(lambda: [None for row in read_rows(folder / name) if decode(row) is None])


def convert_ours(folder: Path, repeats: int, name: str = "sample.jsonl") -> Numbers:
    """Parse, decode, check, and write the store."""
    import pandas  # noqa: F401

    from geograph_types.data import convert

    shutil.rmtree(folder / "store", ignore_errors=True)
    return once(lambda: convert(folder / name, folder / "store", quiet=True))


def convert_gzip_published(folder: Path, repeats: int) -> Numbers:
    return convert_published(folder, repeats, "sample.jsonl.gz")


def convert_gzip_ours(folder: Path, repeats: int) -> Numbers:
    return convert_ours(folder, repeats, "sample.jsonl.gz")


# --- training and evaluating ---------------------------------------------------------------------------------------


def train_and_time(
    train: Callable[[], Iterator], validation: Callable[[], Iterator], fused: bool, repeats: int
) -> Numbers:
    """Epochs, and passes over the validation rows, of a plain training loop."""
    import torch

    from geograph_types.model import GeographModel
    from geograph_types.training import weighted_bce

    model = GeographModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused or None)

    def loss_of(
        vectors: torch.Tensor, buckets: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        return weighted_bce(model(vectors, buckets), {"labels": labels, "weight": weight})

    def epoch() -> None:
        model.train()
        for batch in train():
            optimizer.zero_grad()
            loss = loss_of(*batch)
            loss.backward()
            optimizer.step()
            loss.item()

    def evaluate() -> float:
        model.eval()
        with torch.no_grad():
            return sum(loss_of(*batch).item() for batch in validation())

    return {"seconds": again(epoch, repeats), "evaluate": again(evaluate, repeats)}


def train_published(folder: Path, repeats: int) -> Numbers:
    from published import RowDataset, read_rows
    from torch.utils.data import DataLoader

    rows = read_rows(folder / "sample.jsonl")
    train = DataLoader(RowDataset(rows, "tra"), batch_size=1024, shuffle=True)
    validation = DataLoader(RowDataset(rows, "val"), batch_size=1024)
    return train_and_time(train.__iter__, validation.__iter__, False, repeats)


def train_ours(folder: Path, repeats: int) -> Numbers:
    """`train`, as it is; an epoch lasts until the next begins, and so has all that is logged and saved in it."""
    from geograph_types.types import training

    starts, evaluations = [], []

    class TimedTask(training.TypeTask):
        def on_train_epoch_start(self) -> None:
            starts.append(time.perf_counter())
            super().on_train_epoch_start()

        def on_validation_start(self) -> None:
            evaluations.append(-time.perf_counter())

        def on_validation_end(self) -> None:
            evaluations[-1] += time.perf_counter()

    training.TypeTask = TimedTask
    shutil.rmtree(folder / "run", ignore_errors=True)
    config = training.TrainingConfig(corruption="v1", epochs=repeats + 2, patience=repeats + 2)
    training.train(folder / "store", folder / "run", config, quiet=True)
    epochs = [end - start - evaluation for start, end, evaluation in zip(starts, starts[1:], evaluations)]
    return {"seconds": median(epochs[1:]), "evaluate": median(evaluations[1:])}


def tensors_of(folder: Path, split: str) -> tuple["torch.Tensor", ...]:
    """Vectors, buckets, labels and weights of a split, in memory."""
    import numpy as np
    import torch

    from geograph_types.store import EmbeddingStore
    from geograph_types.types import TrainingConfig, type_data

    data = type_data(EmbeddingStore.open(folder / "store"), TrainingConfig(corruption="v1"))
    rows = data.train if split == "tra" else data.validation
    arrays = *rows.features, rows.labels, rows.weight
    return tuple(torch.from_numpy(np.ascontiguousarray(array[rows.rows])) for array in arrays)


def train_limit(folder: Path, repeats: int) -> Numbers:
    """Tensors in memory, fused Adam; and how fast this machine multiplies matrices of this size."""
    import torch

    train, validation = tensors_of(folder, "tra"), tensors_of(folder, "val")

    def batches(tensors: tuple[torch.Tensor, ...], order: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
        return (tuple(tensor[rows] for tensor in tensors) for rows in order.split(1024))

    numbers = train_and_time(
        lambda: batches(train, torch.randperm(len(train[0]))),
        lambda: batches(validation, torch.arange(len(validation[0]))),
        True,
        repeats,
    )
    left, right = torch.rand(1024, 528), torch.rand(528, 256)
    product = again(lambda: left @ right, 500)
    return numbers | {"gflops": 2 * 1024 * 528 * 256 / product / 1e9, "train_rows": len(train[0])}


# --- predicting: seconds a row -------------------------------------------------------------------------------------


def predict_published(folder: Path, repeats: int) -> Numbers:
    from published import predict_rows, read_rows

    from geograph_types.model import GeographModel

    rows, model = read_rows(folder / "sample.jsonl")[:3000], GeographModel().eval()
    return {"seconds": again(lambda: predict_rows(model, rows), repeats) / len(rows)}


def predict_ours(folder: Path, repeats: int) -> Numbers:
    """Vectors and distance strings to a data frame; and whole files of rows, and a store, to files of predictions."""
    from geograph_types.model import GeographModel
    from geograph_types.store import EmbeddingStore
    from geograph_types.types import TypePredictor, predict_file

    store, predictor = EmbeddingStore.open(folder / "store"), TypePredictor(GeographModel())
    vectors, distance, rows = store.embeddings[:], store.metadata["distance"].tolist(), len(store)

    def from_file(name: str) -> float:
        out = folder / "predictions.parquet"
        return (
            again(lambda: predict_file(folder / name, out, predictor, quiet=True, overwrite=True), repeats)
            / rows
        )

    return {
        "seconds": again(lambda: predictor.predict(vectors, distance), repeats) / rows,
        "file": from_file("sample.jsonl"),
        "gzip": from_file("sample.jsonl.gz"),
        "store": from_file("store"),
    }


def predict_limit(folder: Path, repeats: int) -> Numbers:
    """The network and a sigmoid, on tensors in memory."""
    import torch

    from geograph_types.model import GeographModel

    (vectors, buckets, *_), model = tensors_of(folder, "tra"), GeographModel().eval()

    def predict() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [model(*rows).sigmoid() for rows in zip(vectors.split(8192), buckets.split(8192))]

    return {"seconds": again(predict, repeats) / len(vectors)}


# in several processes, and in one
ONCE = open_published, convert_published, convert_ours, convert_gzip_published, convert_gzip_ours, open_ours
REPEATED = (train_published, train_ours, train_limit, predict_published, predict_ours, predict_limit)
