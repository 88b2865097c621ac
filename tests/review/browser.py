"""What the browser tests share: a queue, and servers."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from geograph_types.labels import CLASSES
from geograph_types.review import ReviewQueue
from geograph_types.synthetic import draw_photograph

HOSTILE = '<img src=x onerror="document.body.dataset.pwned=1">'


def write_queue(folder: Path, rows: int = 60) -> Path:
    """A synthetic queue: every third photograph is random, the first titles are hostile, some pictures are addresses."""
    rng, number = np.random.default_rng(5), np.arange(rows)
    for photograph in range(3):
        draw_photograph(CLASSES[photograph], photograph).save(folder / f"{photograph}.jpg")
    places = [
        "0.jpg",
        "1.jpg",
        "2.jpg",
        "https://s0.geograph.org.uk/1.jpg",
        "https://example.com/1.jpg",
        None,
    ]
    table = pd.DataFrame(
        {
            "gridimage_id": 5000 + number,
            "reason": np.where(number == 1, HOSTILE, "an example"),
            "score": np.linspace(1, 0, rows),
            "kind": np.take(["label", "uncertain", "random"], number % 3),
            "tag": np.where(number % 3 == 2, "", "Inside"),
            "given": np.take(CLASSES, number % 7),
            "proposed": np.take(CLASSES, (number + 1) % 7),
            "probabilities": list(rng.random((rows, 7)).astype("float32")),
            "title": np.where(number < 6, HOSTILE, "a made-up photograph"),
            "realname": np.where(number < 6, HOSTILE, "Ada Example"),
            "thumbnail": np.take(np.array(places, dtype=object), number % 6),
            "grid_reference": "TQ3080",
        }
    )
    ReviewQueue(table, list(CLASSES), [0.5] * 7, "made up 1").write(folder / "queue.parquet")
    return folder / "queue.parquet"


@contextmanager
def running(*command: str, first: str, folder: Path):
    """A server, from when it has printed a line with `first` until the end of the block: process and that line."""
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if first in line:
                    break
            else:
                raise AssertionError("".join(lines))
            yield process, line.strip()
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def kernels(server: int) -> list[int]:
    """The kernels that a server has started."""
    said = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in said.splitlines()[1:]]
    return [int(pid) for pid, parent, words in rows if int(parent) == server and "ipykernel" in words]
