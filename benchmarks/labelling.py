"""The worker for Geograph's queues beside a server on this machine: through kills and faults, and as fast as it can.

    python benchmarks/labelling.py [PART...] [--rows 20000] [--photographs 2000] [--kills 20] [--json FILE]

    faults       Vectors from a server of which 30 % of all requests meet a fault, to a worker that is killed again and
                 again by SIGKILL: is a label missing, or there twice? How many requests did it take?
    photographs  Photographs, one in fifty broken, through CLIP ViT-B/32: are the vectors those of `embed`?
    rates        Vectors without faults, with `sleep` 0, from a server in a process of its own, two labels a photograph. Beside it a
                 plain loop, as Geograph's script has it: ask, label, send, nothing kept and nothing overlapped.
    sleep        What it costs to obey the server's `sleep`.

All parts are run unless some are named. The server is the tests' own (tests/platform_server.py). Photographs are drawn,
vectors synthetic, weights random, which costs the same. Where other work shares the machine, compare CPU seconds and
ratios.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from platform_server import ReferenceQueue, label_queue, serving

from geograph_types.clip import clip_recipe, embed_images, load_clip
from geograph_types.context import ContextHead, ContextPredictor
from geograph_types.heads import FeatureHead, HeadPredictor
from geograph_types.model import GeographModel
from geograph_types.photographs import PoliteFetcher
from geograph_types.platform import (
    ApiHead,
    Outbox,
    PhotographLabeller,
    PhotographQueue,
    VectorLabeller,
    VectorQueue,
    Worker,
    WorkerSettings,
)
from geograph_types.store import EmbeddingStore, decode_vector, encode_vector
from geograph_types.synthetic import VectorStatistics, write_photographs
from geograph_types.types import TypePredictor

Numbers = dict[str, float]
CONTEXT = multiprocessing.get_context("forkserver")


def vector_rows(count: int) -> list[dict]:
    """Synthetic rows of the queue of vectors."""
    vectors = VectorStatistics.of("image").draw(count, np.random.default_rng(0))
    return [
        {"gridimage_id": str(number), "embeddings": encode_vector(vector), "distance": "16"}
        for number, vector in enumerate(vectors, 1)
    ]


def types_network(per_photograph: int = 7) -> GeographModel:
    """An untrained network that finds as many types in every photograph."""
    torch.manual_seed(0)
    network = GeographModel()
    with torch.no_grad():
        list(network.parameters())[-1][per_photograph:] -= 10
    return network


def types_head(per_photograph: int = 7) -> ApiHead:
    return ApiHead(TypePredictor(types_network(per_photograph)))


def labels_of(rows: list[dict], labels: dict[tuple, float]) -> Numbers:
    """Labels that should be there and are not, those that should not, and how far scores are off."""
    read = [{**row, "image_id": int(row["gridimage_id"])} for row in rows]
    wanted = {
        (row["image_id"], "types", row["label"]): row["score"]
        for row in VectorLabeller([types_head()]).label(read).labels
    }
    off = max((abs(wanted[key] - labels[key]) for key in wanted.keys() & labels.keys()), default=0.0)
    return {
        "labels": len(labels),
        "missing labels": len(wanted.keys() - labels.keys()),
        "labels too many": len(labels.keys() - wanted.keys()),
        "largest difference of a score": off,
    }


def answered_and_not_noted(url: str, outbox: Path, queue: ReferenceQueue) -> int:
    """Labels that wait in the outbox although the server's whole answer to them has gone out."""
    with Outbox(outbox, {"url": url, "queue": "types", "kind": "vectors"}) as file:
        waiting = file.labels(10**9)
    return sum((row["image_id"], row["model"] or "types", row["label"]) in queue.answered for row in waiting)


def killed(url: str, head: Path, outbox: Path, queue: ReferenceQueue, kills: int, wanted: int) -> list[int]:
    """Run a worker until all is done, and kill it on its way, at moments that lie evenly but for chance; of each kill, the
    labels whose answer it lost."""
    dice, lost = random.Random(0), []
    for number in range(kills + 1):
        process = CONTEXT.Process(
            target=label_queue, args=(url, str(head), str(outbox)), kwargs={"until_empty": number == kills}
        )
        process.start()
        while (
            number < kills and process.is_alive() and len(queue.labels) < wanted * (number + 1) / (kills + 1)
        ):
            time.sleep(0.005)
        if number < kills:
            time.sleep(dice.random() / 2)
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == (0 if number == kills else -signal.SIGKILL), process.exitcode
        time.sleep(1)  # a request that the server has already may hang for 0.6 s, and is answered then
        lost.append(answered_and_not_noted(url, outbox, queue))
    return lost


def measure_faults(options: argparse.Namespace, folder: Path) -> Numbers:
    """Kills and faults."""
    rows, outbox, head = vector_rows(options.rows), folder / "faults.sqlite", folder / "types.pth"
    types_network().save_checkpoint(head)
    queue = ReferenceQueue(rows, sleep_s=0.02, faults=0.3, hang_s=0.6, seed=2)
    with serving(queue) as url:
        started = time.monotonic()
        lost = killed(url, head, outbox, queue, options.kills, wanted=6 * len(rows))
        seconds = time.monotonic() - started
        with Outbox(outbox, {"url": url, "queue": "types", "kind": "vectors"}) as file:
            left = sum(file.counts().values())
    found = labels_of(rows, queue.labels)
    needed = len(rows) / 100 + len(queue.labels) / 1000
    return found | {
        "kills": options.kills,
        "faults": sum(queue.met.values()),
        "kinds of fault": len(queue.met),
        "left in the outbox": left,
        "labels sent again although answered": queue.needless,
        "of these, answered in the moment of a kill": sum(lost),
        "kills that lost an answer": sum(count > 0 for count in lost),
        "requests": len(queue.requests),
        "requests / those needed without faults": len(queue.requests) / needed,
        "seconds": seconds,
    }


def photograph_rows(folder: Path, count: int) -> tuple[list[dict], set[int]]:
    """Drawn photographs of 224 x 224 as rows of the queue, and the numbers of those that are broken."""
    table = write_photographs(folder, count, size=(224, 224))
    named = zip(table["gridimage_id"], table["path"], table["title"])
    rows = [
        {"gridimage_id": str(number), "fullpath": f"/{path}", "title": title} for number, path, title in named
    ]
    broken = rows[7::50]
    for kind, row in enumerate(broken):
        path = folder / row["fullpath"][1:]
        if kind % 4 == 3:
            path.unlink()
        else:
            path.write_bytes([path.read_bytes()[:500], b"", b"<html>not found</html>"][kind % 4])
    return rows, {int(row["gridimage_id"]) for row in broken}


def smallest_cosine(queue: ReferenceQueue, store: EmbeddingStore) -> float:
    """How far what the server has of images and titles is from what `embed` makes of them."""
    lowest = 1.0
    for kind, vectors in (("image", store.embeddings[:]), ("title", store.text_embeddings[:])):
        for image, ours in zip(store.metadata["gridimage_id"], vectors):
            sent = decode_vector(queue.vectors[int(image), kind], len(ours))
            lowest = min(lowest, float(ours @ sent / np.linalg.norm(ours) / np.linalg.norm(sent)))
    return lowest


def measure_photographs(options: argparse.Namespace, folder: Path) -> Numbers:
    """Photographs through ViT-B/32."""
    recipe = clip_recipe("ViT-B-32-quickgelu", "random:0")
    torch.manual_seed(0)
    context = ContextHead("linear", ["img", "txt"], recipe=asdict(recipe))
    scenic = FeatureHead("scenic", inputs=["clip-image"], recipes={"clip-image": asdict(recipe)})
    heads = [ApiHead(ContextPredictor(context)), ApiHead(HeadPredictor(scenic))]
    rows, broken = photograph_rows(folder / "photographs", options.photographs)
    queue = ReferenceQueue(rows, sleep_s=0, photographs=folder / "photographs")
    with serving(queue) as url:
        labeller = PhotographLabeller(heads, PoliteFetcher(requests_per_second=1000, retries=1))
        loops = WorkerSettings(loops=-(-len(rows) // 250))
        started = time.monotonic()
        rates = Worker(PhotographQueue(url, "clip"), labeller, folder / "photographs.sqlite", loops).run()
        seconds = time.monotonic() - started
    failed = {image for image, _, label in queue.labels if label == "Failed"}
    ids = {int(row["gridimage_id"]) for row in rows} - broken
    embed_images(folder / "photographs/photographs.csv", folder / "store", load_clip(recipe), quiet=True)
    store = EmbeddingStore.open(folder / "store")
    assert set(store.metadata["gridimage_id"]) == ids
    return {
        "photographs": len(rows),
        "broken": len(broken),
        "wrongly Failed, or not": len(failed ^ broken),
        "photographs without a label": len(ids - {image for image, of, _ in queue.labels if of == "clip"}),
        "vectors": len(queue.vectors),
        "vectors missing": len(
            {(image, kind) for image in ids for kind in ("image", "title")} - queue.vectors.keys()
        ),
        "smallest cosine with embed's": smallest_cosine(queue, store),
        "seconds": seconds,
        "share of the time in which the network is busy": rates.seconds["compute"] / seconds,
    }


def serve(count: int, sleep_s: float | None, pipe: Connection) -> None:
    """A server in a process of its own: says its address, and at the end what it has and how long it worked."""
    queue = ReferenceQueue(vector_rows(count), sleep_s=sleep_s)
    with serving(queue) as url:
        started = time.process_time()
        pipe.send(url)
        pipe.recv()
        asked = [moment for method, moment in queue.requests if method == "GET"]
        pipe.send((queue.labels, len(queue.requests), time.process_time() - started, asked))


@contextmanager
def server(count: int, sleep_s: float | None = 0) -> Iterator[tuple[str, Callable]]:
    """Its address, and what asks it for its last words."""
    here, there = CONTEXT.Pipe()
    process = CONTEXT.Process(target=serve, args=(count, sleep_s, there), daemon=True)
    process.start()
    yield here.recv(), lambda: [here.send("end"), here.recv()][1]
    process.join()


def worker(queue: VectorQueue, folder: Path, loops: int) -> None:
    """Ours."""
    outbox = Path(tempfile.mkdtemp(dir=folder)) / "outbox.sqlite"
    Worker(queue, VectorLabeller([types_head(2)]), outbox, WorkerSettings(loops)).run()


def plain_loop(queue: VectorQueue, folder: Path, loops: int) -> None:
    """Ask, label, send, and nothing else."""
    labeller = VectorLabeller([types_head(2)])
    for _ in range(loops):
        labels = labeller.label(queue.fetch().rows).labels
        for start in range(0, len(labels), 1000):
            assert all(queue.send(labels[start : start + 1000]).accepted)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(way: Callable, rows: list[dict], folder: Path) -> Numbers:
    """Seconds of one way, and whose they were."""
    with server(len(rows)) as (url, last_words):
        queue, wire = VectorQueue(url, "types"), [0.0]
        ask = queue._connection.ask

        def asking(*words: object) -> object:
            before = time.thread_time()
            try:
                return ask(*words)
            finally:
                wire[0] += time.thread_time() - before

        queue._connection.ask = asking
        started, before = time.perf_counter(), cpu_s()
        way(queue, folder, -(-len(rows) // 500))
        seconds, ours = time.perf_counter() - started, cpu_s() - before
        labels, requests, servers, _ = last_words()
    assert {image for image, *_ in labels} == {int(row["gridimage_id"]) for row in rows}
    return {
        "rows/s": len(rows) / seconds,
        "rows per CPU second of ours": len(rows) / ours,
        "labels": len(labels),
        "requests": requests,
        "CPU seconds: our work": ours - wire[0],
        "CPU seconds: the wire": wire[0],
        "CPU seconds: the server's": servers,
    }


def measure_rates(options: argparse.Namespace, folder: Path) -> Numbers:
    """The worker and a plain loop in turn."""
    timed(worker, vector_rows(500), folder)  # imports
    rows, found = vector_rows(options.rows), {"worker": [], "plain loop": []}
    for _ in range(3):
        for name, way in (("worker", worker), ("plain loop", plain_loop)):
            found[name].append(timed(way, rows, folder))
    of = lambda name, number: [one[number] for one in found[name]]
    result = {f"{name}, {number}": median(of(name, number)) for name in found for number in found[name][0]}
    whole = sum(median(of("worker", number)) for number in found["worker"][0] if "CPU seconds:" in number)
    for part in ("our work", "the wire", "the server's"):
        result[f"worker, share of CPU: {part}"] = median(of("worker", f"CPU seconds: {part}")) / whole
    ratios = [a / b for a, b in zip(of("worker", "rows/s"), of("plain loop", "rows/s"))]
    return result | {"rows/s, worker / plain loop": median(ratios)}


def measure_sleep(options: argparse.Namespace, folder: Path) -> Numbers:
    """Four questions to a server that wants the root of the limit in seconds between them."""
    with server(100, sleep_s=None) as (url, last_words):
        started, before = time.perf_counter(), cpu_s()
        worker(VectorQueue(url, "types", batch=25), folder, 4)
        seconds, ours = time.perf_counter() - started, cpu_s() - before
        *_, asked = last_words()
    pauses = [later - earlier for earlier, later in zip(asked, asked[1:])]
    return {
        "seconds asked for": 5,
        "shortest pause": min(pauses),
        "longest pause": max(pauses),
        "rows/s": 100 / seconds,
        "CPU seconds": ours,
        "rows/s that batches of 500 can reach": 500 / 23,
    }


PARTS = {
    "faults": measure_faults,
    "photographs": measure_photographs,
    "rates": measure_rates,
    "sleep": measure_sleep,
}


def print_results(part: str, numbers: Numbers) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", title=part, show_header=False, title_justify="left")
    table.columns[1].justify = "right"
    for name, value in numbers.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:,.7g}")
    Console(width=100 if not sys.stdout.isatty() else None).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--photographs", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", type=Path, help="where the numbers go too")
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(unknown)}: expected {', '.join(PARTS)}")
    CONTEXT.set_forkserver_preload(["platform_server", "geograph_types.platform.worker"])
    results = {"about": {"date": f"{datetime.now():%Y-%m-%d %H:%M}", "cores": os.cpu_count()}}
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts or PARTS:
            load = round(os.getloadavg()[0], 2)
            results[part] = {"load": load, **PARTS[part](options, Path(folder))}
            print_results(part, results[part])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
