"""Context heads: an epoch the published way and ours, and what both protocols reach on the same held-out rows.

    python benchmarks/context.py FOLDER [--speed] [--signal] [--grid] [--ablation] [--rows N] [--epochs N]

Needs the published train.csv.zip (in the folder that GEOGRAPH_PUBLISHED names, or ../shared/published). Labels and
numbers are real; images, titles and places are synthetic (geograph_types.synthetic.context.make_context_sample) and kept in
FOLDER, 4 KB a photograph.

--speed: seconds of an epoch of linear-img-txt-loc, and of linear-img, on 517,679 rows at batch 4096, the published loop
(published_context.py; all of its data in memory) and ours (`train_context`; vectors memory-mapped) in turn, each in a
process of its own; and the peak memory of ours, mapped pages included.
--signal: linear-img and linear-txt by the published protocol and a random split, beside what was published.
--grid: the published protocol with and without MixUp, and ours, for every head and modality set, on test rows of the
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
from typing import TYPE_CHECKING

ROWS = 517_679  # the published training rows


if TYPE_CHECKING:
    from geograph_types.context import ContextData


def labels_path() -> Path:
    root = Path(__file__).resolve().parents[2] / "shared" / "published"
    path = Path(os.environ.get("GEOGRAPH_PUBLISHED") or root) / "landscape" / "train.csv.zip"
    if not path.exists():
        sys.exit(f"{path}: not there. Set GEOGRAPH_PUBLISHED to the folder with landscape/train.csv.zip")
    return path


def sample(folder: Path, rows: int | None = None) -> "ContextData":
    """Synthetic features for the first rows of the published labels."""
    import numpy as np

    from geograph_types.context import ContextData, read_labels
    from geograph_types.synthetic import SIGNAL, make_context_sample

    here = folder / f"{rows or 'all'}"
    here.mkdir(parents=True, exist_ok=True)
    note, wanted = here / "signal.json", json.dumps(SIGNAL)
    if not note.exists() or note.read_text() != wanted:
        ids, labels = read_labels(labels_path())
        data = make_context_sample(ids[:rows], labels[:rows], here)
        np.savez(here / "rows.npz", ids=data.gridimage_id, lat=data.lat, lon=data.lon, labels=data.labels)
        note.write_text(wanted)
    table = np.load(here / "rows.npz")
    vectors = (np.load(here / f"{name}.npy", mmap_mode="r") for name in ("image", "title"))
    return ContextData(table["ids"], *vectors, table["lat"], table["lon"], table["labels"])


# --- speed -----------------------------------------------------------------------------------------------------------


def time_published(folder: Path, modalities: list[str]) -> dict:
    """An epoch of the published loop."""
    import numpy as np
    from published_context import published_epochs

    data = sample(folder, ROWS + 1)
    squares = data.squares()
    places = dict(zip(squares, ({"lat": lat, "lon": lon} for lat, lon in zip(data.lat, data.lon))))
    places.pop("", None)
    image, title = (np.array(vectors) for vectors in (data.image, data.title))
    square_of = dict(zip(data.gridimage_id.tolist(), squares))
    seconds = published_epochs(
        data.gridimage_id, image, title, data.labels, square_of, places, ROWS, modalities
    )
    return {"seconds": seconds, "peak_mb": memory_mb("VmHWM")}


def time_ours(folder: Path, modalities: list[str]) -> dict:
    """An epoch of `train_context`, until validation begins: the median of three, after a first."""
    import tempfile

    import numpy as np

    from geograph_types.context import training as context_training

    libraries_mb = memory_mb("VmRSS")
    data, starts, ends = sample(folder, ROWS + 1), [], []

    class TimedTask(context_training.ContextTask):
        def on_train_epoch_start(self) -> None:
            starts.append(time.perf_counter())

        def on_validation_start(self) -> None:
            ends.append(time.perf_counter())

    context_training.ContextTask = TimedTask
    split = np.full(len(data), "tra", dtype=object)
    split[-1] = "val"
    config = context_training.ContextConfig(modalities=tuple(modalities), epochs=4, patience=4, max_tags=None)
    with tempfile.TemporaryDirectory() as run:
        context_training.train_context(data, split, run, config, quiet=True)
    seconds = [end - start for start, end in zip(starts, ends)]
    return {"seconds": median(seconds[1:]), "peak_mb": memory_mb("VmHWM"), "libraries_mb": libraries_mb}


def memory_mb(field: str) -> float:
    """Memory of this process in MB, file pages that it has mapped included."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field))


def speed(folder: Path, repeats: int) -> None:
    """Both ways in turn, and their ratio."""
    sample(folder, ROWS + 1)
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
    }  # threads that wait leave the processor to others
    features = ROWS * 1026 * 4 / 2**20
    for modalities in ("img,txt,loc", "img"):
        ratios, peaks = [], []
        for _ in range(repeats):
            results = []
            for task in ("time_published", "time_ours"):
                command = [sys.executable, __file__, str(folder), "--task", task, "--modalities", modalities]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
                results.append(json.loads(output.splitlines()[-1]))
            published, ours = results
            ratios.append(published["seconds"] / ours["seconds"])
            peaks.append(ours["peak_mb"])
            print(
                f"linear-{modalities.replace(',', '-')}: published {published['seconds']:.1f} s, ours {ours['seconds']:.2f} s an "
                f"epoch, ratio {ratios[-1]:.1f}; peak memory {published['peak_mb']:,.0f} and {peaks[-1]:,.0f} MB; load "
                f"{os.getloadavg()[0]:.1f}",
                flush=True,
            )
        print(
            f"linear-{modalities.replace(',', '-')}: ratio {median(ratios):.1f} (median of {repeats}); our peak "
            f"{max(peaks) / features:.3f} of the {features:,.0f} MB of image, title and place; {ours['libraries_mb']:,.0f} MB "
            "of it are libraries",
            flush=True,
        )


# --- scores ----------------------------------------------------------------------------------------------------------


def signal(folder: Path, epochs: int) -> None:
    """The published protocol on the synthetic vectors: random 80/20, up to five tags."""
    import numpy as np

    from geograph_types.context import ContextConfig, train_context

    data = sample(folder)
    split = np.random.default_rng(42).choice(["tra", "val"], len(data), p=[0.8, 0.2]).astype(object)
    for name, published in (("img", (0.2228, 0.4129)), ("txt", (0.2778, 0.5062))):
        config = ContextConfig.of("published", "linear", [name], epochs=epochs)
        run = train_context(data, split, folder / "runs" / f"signal-{name}", config, quiet=True)
        best = run.history.iloc[run.best_epoch]
        print(
            f"linear-{name}, {int((data.labels.sum(axis=1) <= 5).sum()):,} rows: exact match "
            f"{best['val_exact_match']:.4f} (published {published[0]}), macro-F1 {best['val_f1']:.4f} (published "
            f"{published[1]}), best epoch {run.best_epoch} of {len(run.history)}",
            flush=True,
        )


def grid(folder: Path, rows: int | None, epochs: int, heads: list[str], mixups: list[bool]) -> None:
    """Both protocols over the grid, judged on the test rows of the grouped split."""
    import pandas as pd

    from geograph_types.context import run_grid
    from geograph_types.splits import split_rows

    data, tables = sample(folder, rows), []
    split = split_rows(data.gridimage_id, data.lat, data.lon)
    shares = pd.Series(split).value_counts()
    print(
        f"{len(data):,} rows: "
        + ", ".join(f"{name or 'left out'} {count:,}" for name, count in shares.items()),
        flush=True,
    )
    for protocol in ("published", "ours"):
        where = folder / "runs" / f"grid-{protocol}-{len(data)}"
        table = run_grid(
            data,
            split,
            where,
            protocol,
            heads,
            mixups=mixups if protocol == "published" else [False],
            quiet=True,
            epochs=epochs,
        )
        tables.append(table.assign(protocol=protocol))
    columns = ["protocol", "run", "tes exact_match", "tes macro_f1", "tes mean_tags", "best_epoch", "epochs"]
    print(pd.concat(tables)[columns].round(4).to_string(index=False))


def ablation(folder: Path, rows: int | None, epochs: int) -> None:
    from geograph_types.context import ablate
    from geograph_types.splits import split_rows

    data = sample(folder, rows)
    split = split_rows(data.gridimage_id, data.lat, data.lon)
    table = ablate(data, split, folder / "runs" / f"ablation-{len(data)}", epochs=epochs)
    print(f"{len(data):,} rows, linear-img-txt-loc\n{table.round(4).to_string()}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for name in ("speed", "signal", "grid", "ablation"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--rows", type=int, help="of the labels; all unless given")
    parser.add_argument(
        "--heads", nargs="+", choices=("linear", "mlp"), default=["linear", "mlp"], help="of the grid"
    )
    parser.add_argument("--no-mixup", action="store_true", help="only the runs of the grid without MixUp")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    for name in ("task", "modalities"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        print(json.dumps(globals()[options.task](options.folder, options.modalities.split(","))))
        return
    print(f"{datetime.now():%Y-%m-%d %H:%M}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if options.speed:
        speed(options.folder, options.repeats)
    if options.signal:
        signal(options.folder, options.epochs)
    if options.grid:
        grid(
            options.folder,
            options.rows,
            options.epochs,
            options.heads,
            [False] if options.no_mixup else [False, True],
        )
    if options.ablation:
        ablation(options.folder, options.rows, options.epochs)


if __name__ == "__main__":
    main()
