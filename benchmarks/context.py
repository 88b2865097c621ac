"""Context heads: an epoch the published way and ours, and what both recipes reach on the same held-out rows.

    python benchmarks/context.py FOLDER [--speed] [--signal] [--grid] [--ablation] [--rows N] [--epochs N]

Needs the published train.csv.zip (in the folder that GEOGRAPH_PUBLISHED names, or ../shared/published). Labels and
numbers are real; images, titles and places are synthetic (geograph_types.context_data.make_context_sample) and kept in
FOLDER, 4 KB a photograph.

--speed: seconds of an epoch of linear-img-txt-loc on 517,679 rows at batch 4096, the published loop
(published_context.py; all of its data in memory) and ours (`train_context`; vectors memory-mapped) in turn, each in a
process of its own; and the peak memory of ours. The first epoch of each process does not count.
--signal: linear-img and linear-txt by the published recipe and a random split, beside what was published.
--grid: the published recipe with and without MixUp, and ours, for every head and modality set, on test rows of the
grouped split. --ablation: what each change brings.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import median

ROWS = 517_679  # the published training rows


def labels_path() -> Path:
    root = Path(__file__).resolve().parents[2] / "shared" / "published"
    path = Path(os.environ.get("GEOGRAPH_PUBLISHED") or root) / "landscape" / "train.csv.zip"
    if not path.exists():
        sys.exit(f"{path}: not there. Set GEOGRAPH_PUBLISHED to the folder with landscape/train.csv.zip")
    return path


def sample(folder: Path, rows: int | None = None) -> "ContextData":
    """Synthetic features for the first rows of the published labels."""
    import numpy as np
    from geograph_types.context_data import SIGNAL, ContextData, make_context_sample, read_labels

    ids, labels = read_labels(labels_path())
    ids, labels = ids[:rows], labels[:rows]
    here = folder / f"{len(ids)}"
    here.mkdir(parents=True, exist_ok=True)
    note, wanted = here / "signal.json", json.dumps(SIGNAL)
    if not note.exists() or note.read_text() != wanted:
        data = make_context_sample(ids, labels, here)
        np.savez(here / "places.npz", lat=data.lat, lon=data.lon)
        note.write_text(wanted)
    places = np.load(here / "places.npz")
    vectors = (np.load(here / f"{name}.npy", mmap_mode="r") for name in ("image", "title"))
    return ContextData(ids, *vectors, places["lat"], places["lon"], labels)


# --- speed -----------------------------------------------------------------------------------------------------------


def time_published(folder: Path, epochs: int) -> dict:
    """Epochs of the published loop, without the first."""
    import numpy as np
    from published_context import published_epochs

    data = sample(folder, ROWS + 1)
    squares = data.squares()
    places = dict(zip(squares, ({"lat": lat, "lon": lon} for lat, lon in zip(data.lat, data.lon))))
    places.pop("", None)
    image, title = (np.array(vectors) for vectors in (data.image, data.title))
    square_of = dict(zip(data.gridimage_id.tolist(), squares))
    seconds = published_epochs(data.gridimage_id, image, title, data.labels, square_of, places, ROWS, epochs)
    return {"seconds": median(seconds[1:]), "peak_mb": memory_mb("VmHWM")}


def time_ours(folder: Path, epochs: int) -> dict:
    """Epochs of `train_context`, until validation begins, without the first."""
    import tempfile

    import numpy as np
    from geograph_types import context_training

    data, starts, ends = sample(folder, ROWS + 1), [], []

    class TimedTask(context_training.HeadTask):
        def on_train_epoch_start(self) -> None:
            starts.append(time.perf_counter())

        def on_validation_start(self) -> None:
            ends.append(time.perf_counter())

    context_training.HeadTask = TimedTask
    split = np.full(len(data), "tra", dtype=object)
    split[-1] = "val"
    config = context_training.ContextConfig(epochs=epochs, patience=epochs, max_tags=None)
    with tempfile.TemporaryDirectory() as run:
        context_training.train_context(data, split, run, config, quiet=True)
    seconds = [end - start for start, end in zip(starts, ends)]
    return {"seconds": median(seconds[1:]), "peak_mb": memory_mb("VmHWM")}


def memory_mb(field: str) -> float:
    """Memory of this process in MB, file pages that it has mapped included."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def speed(folder: Path, repeats: int) -> None:
    """Both ways in turn, and their ratio."""
    pairs = []
    sample(folder, ROWS + 1)
    for number in range(repeats):
        pair = {}
        for task, epochs in (("time_published", 2), ("time_ours", 4)):
            command = [sys.executable, __file__, str(folder), "--task", task, "--epochs", str(epochs)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            pair[task] = json.loads(output.splitlines()[-1])
        pairs.append(pair)
        ratio = pair["time_published"]["seconds"] / pair["time_ours"]["seconds"]
        print(f"pair {number + 1}: published {pair['time_published']['seconds']:.1f} s, ours {pair['time_ours']['seconds']:.2f} s "
              f"an epoch, ratio {ratio:.1f}; load {os.getloadavg()[0]:.1f}", flush=True)
    features = ROWS * 1026 * 4 / 2**20
    ratio = median(pair["time_published"]["seconds"] / pair["time_ours"]["seconds"] for pair in pairs)
    peak = max(pair["time_ours"]["peak_mb"] for pair in pairs)
    print(f"ratio {ratio:.1f} (median of {repeats}); peak memory of ours {peak:,.0f} MB, {peak / features:.2f} of the features' "
          f"{features:,.0f} MB; of the published loop {pairs[0]['time_published']['peak_mb']:,.0f} MB")


# --- scores ----------------------------------------------------------------------------------------------------------


def signal(folder: Path, epochs: int) -> None:
    """The published protocol on the synthetic vectors: random 80/20, up to five tags."""
    import numpy as np
    from geograph_types.context_training import ContextConfig, train_context

    data = sample(folder)
    split = np.random.default_rng(42).choice(["tra", "val"], len(data), p=[0.8, 0.2]).astype(object)
    for name, published in (("img", (0.2228, 0.4129)), ("txt", (0.2778, 0.5062))):
        config = ContextConfig.of("published", "linear", [name], epochs=epochs)
        run = train_context(data, split, folder / "runs" / f"signal-{name}", config, quiet=True)
        best = run.history.iloc[run.best_epoch]
        print(f"linear-{name}, {int((data.labels.sum(axis=1) <= 5).sum()):,} rows: exact match "
              f"{best['val_exact_match']:.4f} (published {published[0]}), macro-F1 {best['val_f1']:.4f} (published "
              f"{published[1]}), best epoch {run.best_epoch} of {len(run.history)}", flush=True)


def grid(folder: Path, rows: int | None, epochs: int, heads: list[str], mixups: list[bool]) -> None:
    """Both recipes over the grid, judged on the test rows of the grouped split."""
    import pandas as pd
    from geograph_types.context_data import split_rows
    from geograph_types.context_training import run_grid

    data, tables = sample(folder, rows), []
    split = split_rows(data.gridimage_id, data.lat, data.lon)
    shares = pd.Series(split).value_counts()
    print(f"{len(data):,} rows: " + ", ".join(f"{name or 'left out'} {count:,}" for name, count in shares.items()), flush=True)
    for recipe in ("published", "ours"):
        where = folder / "runs" / f"grid-{recipe}-{len(data)}"
        table = run_grid(data, split, where, recipe, heads, mixups=mixups if recipe == "published" else [False],
                         quiet=True, epochs=epochs)
        tables.append(table.assign(recipe=recipe))
    columns = ["recipe", "run", "tes exact_match", "tes macro_f1", "tes mean_tags", "best_epoch", "epochs"]
    print(pd.concat(tables)[columns].round(4).to_string(index=False))


def ablation(folder: Path, rows: int | None, epochs: int) -> None:
    from geograph_types.context_data import split_rows
    from geograph_types.context_training import ablate

    data = sample(folder, rows)
    split = split_rows(data.gridimage_id, data.lat, data.lon)
    table = ablate(data, split, folder / "runs" / f"ablation-{len(data)}", epochs=epochs)
    print(f"{len(data):,} rows, linear-img-txt-loc\n{table.round(4).to_string()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name in ("speed", "signal", "grid", "ablation"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--rows", type=int, help="of the labels; all unless given")
    parser.add_argument("--heads", nargs="+", choices=("linear", "mlp"), default=["linear", "mlp"], help="of the grid")
    parser.add_argument("--no-mixup", action="store_true", help="only the runs of the grid without MixUp")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(globals()[options.task](options.folder, options.epochs)))
        return
    print(f"{datetime.now():%Y-%m-%d %H:%M}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if options.speed:
        speed(options.folder, options.repeats)
    if options.signal:
        signal(options.folder, options.epochs)
    if options.grid:
        grid(options.folder, options.rows, options.epochs, options.heads, [False] if options.no_mixup else [False, True])
    if options.ablation:
        ablation(options.folder, options.rows, options.epochs)


if __name__ == "__main__":
    main()
