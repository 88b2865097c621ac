"""The published way and ours on the same rows, in one run: opening, converting, training, evaluating, predicting.

    python benchmarks/type_tags.py [--rows 121930] [--repeats 3] [--folder FOLDER] [--json FILE]

The published way (published.py) keeps the rows of a JSON Lines file as dictionaries, decodes them one by one in a
`Dataset`, trains with a `DataLoader` of 1024 rows in the same process and with Adam, and predicts row by row. The limit
is the same arithmetic on tensors that lie in memory. The rows are synthetic. Each measurement (measurements.py) has a
process of its own; seconds are medians, without imports, and without the first epoch of a training. To convert, the
published way only parses and decodes: it checks and writes nothing.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import measurements
from measurements import Numbers


def measure(task: Callable, folder: Path, repeats: int) -> Numbers:
    """The numbers of a task, from a process of its own; medians, where there are several."""
    command = [
        sys.executable,
        __file__,
        "--task",
        task.__name__,
        "--folder",
        folder,
        "--repeats",
        str(repeats),
    ]
    outputs = [
        subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        for _ in range(repeats if task in measurements.ONCE else 1)
    ]
    results = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {name: median(result[name] for result in results) for name in results[0]}


def make_sample(folder: Path, rows: int) -> None:
    """Synthetic rows in the published format, plain and compressed, unless they are there."""
    from isal import igzip

    from geograph_types.synthetic import write_sample

    source, compressed = folder / "sample.jsonl", folder / "sample.jsonl.gz"
    if not source.exists():
        os.replace(write_sample(folder / "unfinished.jsonl", rows), source)
    with open(source, "rb") as file:
        found = sum(1 for _ in file)
    if found != rows:
        sys.exit(f"{source} has {found:,} rows, not {rows:,}: choose another folder, or remove it")
    if not compressed.exists():
        with open(source, "rb") as plain, igzip.open(folder / "unfinished.gz", "wb") as file:
            shutil.copyfileobj(plain, file, 1 << 20)
        os.replace(folder / "unfinished.gz", compressed)


def run_all(folder: Path, rows: int, repeats: int) -> dict[str, Numbers]:
    """Every measurement, with a word on the way."""
    make_sample(folder, rows)
    numbers = {}
    for task in (*measurements.ONCE, *measurements.REPEATED):
        print(f"{task.__name__} ...", file=sys.stderr)
        numbers[task.__name__] = measure(task, folder, repeats)
    return numbers


UNITS = {
    "s": lambda value: f"{value:.3g} s",
    "MB": lambda value: f"{value:,.0f} MB",
    "rows/s": lambda seconds_a_row: f"{1 / seconds_a_row:,.0f} rows/s",
}


def line(
    what: str,
    published: float | None,
    ours: float,
    limit: float | None = None,
    unit: str = "s",
    at_least: float | None = None,  # ours should be so many times as good as the published way
    within: float | None = None,  # and need at most so many times the limit
    at_most: float | None = None,  # or be at most this, in its unit
) -> tuple[str, ...]:
    """A row of the table: the numbers, their ratios, and the target with a tick or a cross."""
    ratio, above = published and published / ours, limit and unit != "MB" and ours / limit
    ratios = [f"{ratio:.3g}x" if ratio else "", f"{above:.2f}x the limit" if above else ""]
    targets = [
        (f">= {at_least}x", ratio, at_least),
        (f"<= {within}x the limit", -(above or 0), -(within or 0)),
        (f"<= {at_most} {unit}", -ours, -(at_most or 0)),
    ]
    judged = [f"{text} {'✓' if value >= wanted else '✗'}" for text, value, wanted in targets if wanted]
    values = ["" if value is None else UNITS[unit](value) for value in (published, ours, limit)]
    return what, *values, ", ".join(filter(None, ratios)), ", ".join(judged)


def lines(numbers: dict[str, Numbers], rows: int) -> list[tuple[str, ...]]:
    """The rows of the table."""

    def of(task: str, key: str = "seconds", share: int = 1) -> list[float | None]:
        """A number of the published way, ours and the limit."""
        found = (numbers.get(f"{task}_{way}", {}).get(key) for way in ("published", "ours", "limit"))
        return [value and value / share for value in found]

    _, file, _ = of("predict", "file")
    _, gzip, _ = of("predict", "gzip")
    _, store, _ = of("predict", "store")
    _, converting, _ = of("convert_gzip", share=rows)
    _, converting_mb, _ = of("convert_gzip", "peak_mb")
    return [
        line("open the data", *of("open"), at_least=50),
        line("  and read all metadata", of("open")[0], of("open", "metadata")[1]),
        line("  memory both add", *of("open", "added_mb"), unit="MB", at_most=100),
        line("convert .jsonl.gz", *of("convert_gzip", share=rows), unit="rows/s", at_least=2.5),
        line("convert .jsonl", *of("convert", share=rows), unit="rows/s", at_least=2.5),
        line("  peak memory", None, converting_mb, unit="MB", at_most=700),
        line("train: an epoch", *of("train"), at_least=12, within=1.6),
        line("evaluate the validation rows", *of("train", "evaluate")),
        line("  peak memory of both", *of("train", "peak_mb"), unit="MB"),
        line("predict, from arrays", *of("predict"), unit="rows/s", at_least=25),
        line("predict, from file to file", of("predict")[0], file, unit="rows/s"),
        line("predict .jsonl.gz to Parquet, against convert", converting, gzip, unit="rows/s", at_least=0.8),
        line("predict, from a store to Parquet", None, store, of("predict")[2], unit="rows/s", within=2),
    ]


def print_results(numbers: dict[str, Numbers], about: dict[str, object]) -> None:
    """The table, and where and how it was measured."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{about['rows']:,} rows of synthetic data, medians of {about['repeats']}")
    for column in ("", "published", "ours", "limit", "ratio", "target"):
        table.add_column(column, justify="right" if column in ("published", "ours", "limit") else "left")
    for cells in lines(numbers, about["rows"]):
        table.add_row(*cells)
    limit = numbers["train_limit"]
    flop = 3 * 2 * limit["train_rows"] * (528 * 256 + 256 * 7)  # forwards, and twice as much backwards
    console = Console(width=max(150, Console().width) if not sys.stdout.isatty() else None)
    console.print(table)
    console.print(
        f"Multiplying matrices of an epoch's sizes runs at {limit['gflops']:.0f} GFLOP/s here: an epoch's "
        f"products alone take {flop / limit['gflops'] / 1e9:.2f} s.",
        highlight=False,
    )
    console.print("; ".join(f"{name} {value}" for name, value in about.items()), highlight=False)


def main() -> None:
    """Measure everything and print it; or, with --task, measure one thing for the process that started this one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=121_930)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the sample is, or will be kept; else a temporary one"
    )
    parser.add_argument("--json", type=Path, help="where the numbers go too")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        numbers = getattr(measurements, options.task)(options.folder, options.repeats)
        print(json.dumps(numbers | {"peak_mb": measurements.memory_mb("VmHWM")}))
        return
    about = {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": version("torch"),
        "rows": options.rows,
        "repeats": options.repeats,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        numbers = run_all(folder, options.rows, options.repeats)
    about["load at the end"] = round(os.getloadavg()[0], 2)
    print_results(numbers, about)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "numbers": numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
