"""Milliseconds to find one photograph among the 100,000 published places: the published way and ours; and memory for a million.

    python benchmarks/retrieval.py [--repeats 5] [--json FILE]

Both start with CLIP's embedding of a photograph (here a random one) and end with the five likeliest places. The published
way is that of the package geoclip, by its own location encoder: it encodes all places for every photograph. The package
is installed into a folder of its own for this (GEOGRAPH_GEOCLIP may name one that holds it), and its weights and places
are used by both. Ours has the places' vectors, without the 5,877 places that come twice, in a file; making that file,
once for all photographs, is a line of its own. Ours also says how sure it is, which the published way does not.

A photograph each way in turn, several times; the ratio is the median of the ratios of a turn.

The million places are random, the model that encodes them is narrower than the published one, and their vectors are as
long. Memory counts pages of the mapped file, which the system may drop, apart from those of the process. Needs Linux.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch

from geograph_types.retrieval import Gallery, GeoModel, GeoRetriever, published_geomodel, read_gallery

TOP_K = 5


def published_package(folder: str) -> Path:
    """The package geoclip, importable without what it needs for CLIP; its folder."""
    package = Path(os.environ.get("GEOGRAPH_GEOCLIP") or folder)
    if not (package / "geoclip").exists():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            package,
            "geoclip>=1.2",
        ]
        subprocess.run(pip, check=True)
    for name in ("geoclip", "geoclip.model"):
        module = types.ModuleType(name)
        module.__path__ = [str(package / name.replace(".", "/"))]
        sys.modules[name] = module
    return package / "geoclip" / "model"


def published_way(model_folder: Path, ours: GeoModel) -> Callable[[np.ndarray], np.ndarray]:
    """What the package's `predict` does after CLIP, with its location encoder and places."""
    encoder = import_module("geoclip.model.location_encoder").LocationEncoder().eval()
    places = read_gallery(
        model_folder / "gps_gallery" / "coordinates_100K.csv", keep_duplicates=True
    ).positions
    places, normalize = torch.from_numpy(places).float(), torch.nn.functional.normalize

    @torch.no_grad()
    def predict(embedding: np.ndarray) -> np.ndarray:
        image = normalize(ours.image_head(torch.from_numpy(embedding)), dim=1)
        logits = ours.logit_scale.exp() * (image @ normalize(encoder(places), dim=1).t())
        best = torch.topk(logits.softmax(dim=-1), TOP_K, dim=1)
        return places[best.indices[0]].numpy()

    return predict


def timed(task: Callable[[], object]) -> tuple[float, object]:
    """Milliseconds, and what came out."""
    start = time.perf_counter()
    result = task()
    return 1000 * (time.perf_counter() - start), result


def speed(repeats: int) -> dict[str, float]:
    """Both ways in turn, on the published places."""
    dice = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        package = published_package(folder)
        model, gallery = (
            published_geomodel(package / "weights"),
            read_gallery(package / "gps_gallery" / "coordinates_100K.csv"),
        )
        theirs = published_way(package, model)
        first_ms, retriever = timed(lambda: GeoRetriever(model, gallery, cache=folder, quiet=True))
        turns = []
        for _ in range(repeats + 1):  # the first one does not count
            embedding = dice.normal(0, 0.5, (1, 768)).astype(np.float32)
            (published_ms, wanted), (ours_ms, found) = (
                timed(lambda: theirs(embedding)),
                timed(lambda: retriever.predict(embedding, TOP_K)),
            )
            turns.append((published_ms, ours_ms))
            best = np.column_stack([found.lat[0], found.lon[0]])
            assert np.allclose(best[0], wanted[0], atol=1e-5), (
                best,
                wanted,
            )  # later ones may be repeats of it there
        many_ms, _ = timed(
            lambda: retriever.predict(dice.normal(0, 0.5, (1000, 768)).astype(np.float32), TOP_K)
        )
    published, ours = zip(*turns[1:])
    return {
        "published": median(published),
        "ours": median(ours),
        "ours, each of 1,000": many_ms / 1000,
        "ours, encoding the places once": first_ms,
        "ratio": median(a / b for a, b in turns[1:]),
    }


def status_mb(field: str) -> float:
    """Memory of this process in MB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def memory() -> dict[str, float]:
    """One photograph, and a hundred, among a million places; in a process of its own."""
    torch.manual_seed(0)
    dice = np.random.default_rng(0)
    gallery = Gallery(dice.uniform(-60, 70, 1_000_000), dice.uniform(-180, 180, 1_000_000))
    with tempfile.TemporaryDirectory() as folder:
        model = GeoModel(waves=8, hidden=16)
        retriever = GeoRetriever(model, gallery, cache=folder, quiet=True)
        before, photographs = status_mb("RssAnon"), dice.normal(size=(100, 768)).astype(np.float32)
        retriever.predict(photographs[:1])
        one_ms, _ = timed(lambda: retriever.predict(photographs[:1]))
        hundred_ms, _ = timed(lambda: retriever.predict(photographs))
        return {
            "ms": one_ms,
            "ms, each of 100": hundred_ms / 100,
            "peak of all, MB": status_mb("VmHWM"),
            "mapped file, MB": 1_000_000 * 512 * 4 / 2**20,
            "own memory before, MB": before,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where the numbers go too")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory()))
        return
    about = {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "torch": version("torch"),
    }
    output = subprocess.run([sys.executable, __file__, "--memory"], check=True, stdout=subprocess.PIPE).stdout
    results = {
        "a million places": json.loads(output.splitlines()[-1]),
        "published places, ms a photograph": speed(options.repeats),
    }
    for title, numbers in results.items():
        print(f"\n{title}")
        for name, value in numbers.items():
            print(f"  {name:32} {value:12,.1f}")
    print("\n" + "; ".join(f"{name} {value}" for name, value in about.items()))
    if options.json:
        options.json.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
