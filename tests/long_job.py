"""Does one long job on the inputs of a folder; told to, it dies at a step, or waits there."""

import importlib
import os
import signal
import time
from pathlib import Path


def convert(inputs: Path, out: Path, **options) -> None:
    from geograph_types.data import convert

    convert(inputs / "sample.jsonl", out, quiet=True, **{"shard_size": 60, **options})


def classify(inputs: Path, out: Path, top_k: int = 2, **options) -> None:
    import numpy as np

    from geograph_types.zeroshot import Question, TextFeatures, classify_file

    prompts = TextFeatures(("Kent", "Fife", "Bute"), np.eye(3, 16, dtype=np.float32), 20.0)
    classify_file(
        inputs / "vectors.npy",
        Question(prompts, top_k=top_k),
        out,
        inputs / "gold.csv",
        piece_rows=60,
        **options,
    )


def count(inputs: Path, out: Path, labels: str = "Kent Fife", **options) -> None:
    from geograph_types.zeroshot import count_labels

    table = count_labels([inputs / "captions"], labels.split(), f"{out}.parts", workers=1, **options)
    table.to_csv(out, index=False)


def dedupe(inputs: Path, out: Path, threshold: float = 0.9, **options) -> None:
    import numpy as np

    from geograph_types.photographs import similar_photographs

    vectors = np.load(inputs / "vectors.npy")
    np.savetxt(out, similar_photographs(vectors, threshold, folder=f"{out}.parts", block_rows=60, **options))


def encode(inputs: Path, out: Path) -> None:
    import numpy as np
    import torch

    from geograph_types.retrieval import Gallery, GeoModel, encode_gallery

    retriever = importlib.import_module("geograph_types.retrieval.retriever")
    retriever.SMALL_GALLERY, retriever._BLOCK = 10, 60
    torch.manual_seed(0)
    gallery = Gallery(np.linspace(-80, 80, 600), np.linspace(-170, 170, 600))
    encode_gallery(GeoModel(waves=8, hidden=16, dim=32), gallery, out)


STEPS = {
    "convert": ("store.writer", "StoreWriter._commit"),
    "classify": ("zeroshot.files", "Question.answer"),
    "count": ("zeroshot.captions", "_count_piece"),
    "dedupe": ("photographs.duplicates", "_LikenessRun.step"),
    "encode": ("retrieval.retriever", "_encode"),
}  # where each of them does a piece of its work


def disturb(job: str, out: Path, dies_at: int = 0, waits_at: int = 0) -> None:
    """Let the job die at a step, or wait there until a file says that it may go on."""
    module, name = STEPS[job]
    owner = importlib.import_module(f"geograph_types.{module}")
    *path, name = name.split(".")
    owner = getattr(owner, path[0]) if path else owner
    work, steps = getattr(owner, name), iter(range(1, 10_000))

    def step(*arguments, **options):
        number = next(steps)
        if number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == waits_at:
            out.with_name("waiting").touch()
            deadline = time.monotonic() + 100  # if the test is gone
            while not out.with_name("go").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return work(*arguments, **options)

    setattr(owner, name, step)


def do(job: str, inputs: Path, out: Path, told: dict, errors: str) -> None:
    """The job, with what it says on standard error in a file."""
    file = os.open(errors, os.O_CREAT | os.O_WRONLY)
    for number in (1, 2):
        os.dup2(file, number)
    options = told.pop("options", {})
    disturb(job, out, **told)
    globals()[job](inputs, out, **options)
