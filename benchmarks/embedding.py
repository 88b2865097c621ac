"""Photographs a second: ours, one at a time, open_clip with a DataLoader, and the limits.

    python benchmarks/embedding.py [--photographs 384] [--repeats 3] [--clip ViT-B-32-quickgelu] [--json FILE]

One at a time is the published way: open a file, prepare it, embed it, take the next. The DataLoader is PyTorch's, with
a process for each processor and batches as large as ours. Ours is `embed_images`, from files to a finished store. The
limits are the network alone on pictures that lie ready in memory (the faster of PyTorch's own threads and one thread a
processor), and decoding and cropping alone. On a processor both limits use the same cores, so "together" says what is
left if neither may rest. The photographs are synthetic, 640 x 480; the weights are random, which costs the same.

All ways are measured in turn, several times; a ratio is the median of the ratios within a turn.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from geograph_types.clip import (
    ClipEncoder,
    clip_recipe,
    crop_photograph,
    default_batch_size,
    embed_images,
    load_clip,
)
from geograph_types.jobs import thread_map
from geograph_types.photographs import open_source
from geograph_types.synthetic import write_photographs


class Files(torch.utils.data.Dataset):
    """Photographs as open_clip wants them."""

    def __init__(self, paths: list[Path], preprocess: Callable):
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.preprocess(Image.open(self.paths[index]))


@torch.inference_mode()
def one_at_a_time(encoder: ClipEncoder, paths: list[Path]) -> int:
    """The published way, on an eighth of the photographs."""
    for path in paths[::8]:
        encoder.model.encode_image(
            encoder.preprocess(Image.open(path))[None].to(encoder.device)
        ).float().cpu().numpy()
    return len(paths[::8])


@torch.inference_mode()
def data_loader(encoder: ClipEncoder, paths: list[Path]) -> int:
    """Plain open_clip, in batches."""
    loader = torch.utils.data.DataLoader(
        Files(paths, encoder.preprocess), default_batch_size(encoder), num_workers=os.cpu_count()
    )
    for batch in loader:
        encoder.model.encode_image(batch.to(encoder.device)).float().cpu().numpy()
    return len(paths)


def ours(encoder: ClipEncoder, paths: list[Path]) -> int:
    """From files to a finished store."""
    with tempfile.TemporaryDirectory() as folder:
        return embed_images(paths, Path(folder) / "store", encoder, quiet=True).rows


def batches(encoder: ClipEncoder, pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Ready pictures in batches."""
    size = default_batch_size(encoder)
    return (pixels[start : start + size] for start in range(0, len(pixels), size))


def network_alone(encoder: ClipEncoder, pixels: np.ndarray) -> int:
    """The network with a thread for each processor."""
    return sum(map(len, thread_map(encoder.embed_images, batches(encoder, pixels))))


def network_alone_torch_threads(encoder: ClipEncoder, pixels: np.ndarray) -> int:
    """The network with PyTorch's own threads."""
    return sum(map(len, map(encoder.embed_images, batches(encoder, pixels))))


def decoding_alone(encoder: ClipEncoder, paths: list[Path]) -> int:
    """Reading, decoding and cropping with a thread for each processor."""
    return len(list(thread_map(partial(crop_photograph, encoder=encoder), open_source(paths))))


def rate(task: Callable[[], int]) -> float:
    """Photographs a second."""
    start = time.perf_counter()
    return task() / (time.perf_counter() - start)


def measure(encoder: ClipEncoder, paths: list[Path], repeats: int) -> dict[str, list[float]]:
    """The rates of every way, in turns."""
    pixels = np.stack([crop_photograph(photograph, encoder).pixels for photograph in open_source(paths)])
    tasks = {
        "one at a time": partial(one_at_a_time, encoder, paths),
        "open_clip with DataLoader": partial(data_loader, encoder, paths),
        "ours, float32": partial(ours, encoder, paths),
    }
    reduced = ClipEncoder(replace(encoder.recipe, precision="bfloat16"), encoder.model, encoder.device)
    tasks["ours, bfloat16"] = partial(ours, reduced, paths)
    tasks |= {
        "network alone": partial(network_alone, encoder, pixels),
        "network alone, PyTorch's threads": partial(network_alone_torch_threads, encoder, pixels),
        "decoding alone": partial(decoding_alone, encoder, paths),
    }
    encoder.embed_images(pixels[: default_batch_size(encoder)])  # the first batch is slow everywhere
    rates = {name: [] for name in tasks}
    for turn in range(repeats):
        for name, task in tasks.items():
            rates[name].append(rate(task))
            print(f"turn {turn + 1}: {name}: {rates[name][-1]:.1f}/s", file=sys.stderr)
    return rates


def turns(function: Callable[..., float], *rates: list[float]) -> float:
    """The median over turns of something computed within each."""
    return median(function(*turn) for turn in zip(*rates))


def summary(rates: dict[str, list[float]]) -> dict[str, float]:
    """The ratios that matter."""
    network, decode = (
        [max(pair) for pair in zip(rates["network alone"], rates["network alone, PyTorch's threads"])],
        rates["decoding alone"],
    )
    return {
        "ours in float32 / slower limit": turns(
            lambda a, b, c: a / min(b, c), rates["ours, float32"], network, decode
        ),
        "ours in float32 / both limits together": turns(
            lambda a, b, c: a * (1 / b + 1 / c), rates["ours, float32"], network, decode
        ),
        "ours in float32 / one at a time": turns(
            lambda a, b: a / b, rates["ours, float32"], rates["one at a time"]
        ),
        "ours in float32 / open_clip with DataLoader": turns(
            lambda a, b: a / b, rates["ours, float32"], rates["open_clip with DataLoader"]
        ),
    }


def print_results(device: str, rates: dict[str, list[float]], ratios: dict[str, float]) -> None:
    """A table of rates, and the ratios below it."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "photographs/s", "lowest", "highest", title=f"on {device}")
    for name, values in rates.items():
        table.add_row(name, *(f"{value:,.1f}" for value in (median(values), min(values), max(values))))
    console = Console(width=100 if not sys.stdout.isatty() else None)
    console.print(table)
    targets = {"ours in float32 / slower limit": 0.9, "ours in float32 / one at a time": 3.0}
    for name, ratio in ratios.items():
        judged = (
            f"(target {targets[name]}) {'✓' if ratio >= targets[name] else '✗'}" if name in targets else ""
        )
        console.print(f"{name}: {ratio:.2f}x {judged}", highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photographs", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clip", default="ViT-B-32-quickgelu", help="architecture")
    parser.add_argument("--json", type=Path, help="where the numbers go too")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    table = write_photographs(folder, options.photographs, size=(640, 480))
    paths = [folder / path for path in table["path"]]
    about = {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": version("torch"),
        "open_clip": version("open_clip_torch"),
        "architecture": options.clip,
        "photographs": options.photographs,
        "data": "synthetic, random weights",
    }
    results = {}
    for device in ["cpu", "cuda"][: 1 + torch.cuda.is_available()]:
        rates = measure(load_clip(clip_recipe(options.clip, "random:1"), device), paths, options.repeats)
        results[device] = {"rates": rates, "ratios": summary(rates)}
        print_results(device, rates, results[device]["ratios"])
    print("; ".join(f"{name} {value}" for name, value in about.items()))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
