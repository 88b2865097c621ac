"""Every command that reads, given every kind of input: an answer with a sum, or an error in a sentence; nothing is lost.

The tests hand every third kind to one door in turn. `python tests/cli/test_doors.py [OUT.md]` hands every
kind to every door, and writes a table of what happened.
"""

import hashlib
import importlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest

pytest.importorskip("h3", reason="needs h3: pip install 'geograph_types[geo]'")
pytest.importorskip("open_clip", reason="needs open_clip: pip install 'geograph_types[clip]'")
if not hasattr(os, "fork"):
    pytest.skip("commands run in forked processes", allow_module_level=True)

from doors import DOORS, MADE, Door, Kind, World, make_inputs

pytestmark = pytest.mark.slow

SUM = re.compile(
    r"([\d,]+) (?:\w+ )?in\b:? ([\d,]+) (?:\w+ )?used\b(?: \([^)]*\))?, ([\d,]+) (?:\w+ )?rejected\b"
)
LIMIT = 120  # seconds; a command that takes longer hangs
KNOWN: dict[str, str] = {}  # door and kind, as patterns -> a defect that is known and not mended yet
LONGEST = 2000  # characters of an error
MEMORY = 12 << 30  # bytes of addresses


class Ended(NamedTuple):
    """How a command ended, and what it left."""

    status: int | None  # None if it was stopped
    out: str
    err: str
    seconds: float
    left: str = ""  # of the files that it wrote

    @property
    def sums(self) -> list[tuple[int, int, int]]:
        """All that it said of rows: in, used, rejected."""
        found = SUM.findall(self.out + "\n" + self.err)
        return [tuple(int(number.replace(",", "")) for number in one) for one in found]


def _child(call, log: Path, where: Path) -> None:
    """Runs a command in a forked process, which ends here."""
    status, known = 70, {*sys.modules}
    try:
        for number, name in ((0, os.devnull), (1, f"{log}.out"), (2, f"{log}.err")):
            opened = os.open(
                name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644
            )
            os.dup2(opened, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")
        os.chdir(where)
        try:
            call()
            status = 0
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
            status = 1 if isinstance(end.code, str) else end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        Path(f"{log}.modules").write_text("\n".join({*sys.modules} - known))
    finally:
        os._exit(status)


def command(words: list[str]):
    """A call of the command line."""
    from geograph_types.cli.root import main

    def call() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.argv = ["geograph-types", *words]
        main()

    return call


def ended(call, where: Path, limit: float = LIMIT) -> Ended:
    """How a call ends in a process of its own."""
    begun, log = time.monotonic(), where / ".log"
    child = os.fork()
    if child == 0:
        _child(call, log, where)
    status = None
    while time.monotonic() < begun + limit:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(0.005)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    logs = [Path(f"{log}.{name}") for name in ("out", "err", "modules")]
    out, err, modules = (path.read_text(errors="replace") if path.exists() else "" for path in logs)
    seconds = time.monotonic() - begun
    for name in modules.split():
        with suppress(Exception):
            importlib.import_module(name)  # once for all: the next command finds it
    return Ended(status, out, err, seconds)


def _left(where: Path) -> str:
    """What a command wrote, without names of files and times, so that it can be compared."""
    import numpy as np
    import pandas as pd

    found = []
    for path in sorted(where.rglob("*")):
        name = str(path.relative_to(where))
        if not name.startswith("out") or not path.is_file() or "rejects" in name or "lightning" in name:
            continue
        if path.suffix in (".csv", ".jsonl") or name == "out":
            data = path.read_bytes().decode("utf-8", "replace")
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path)
            data = table.drop(columns=["line"], errors="ignore").to_csv()
        elif path.suffix == ".npy":
            data = hashlib.sha256(np.load(path).tobytes()).hexdigest()
        else:
            continue
        found.append(f"{name}\n{data}")
    return re.sub(r"bad[\w.]*", "BAD", "\n".join(found).replace(str(where), ""))


def _placed(door: Door, world: Path, bad: Path, where: Path) -> tuple[str, Path] | None:
    """The line of a door whose input lies in a folder, and what is handed in; None where it can have no such name."""
    folder, _, name = door.place.partition("/")
    kind = Path(name).suffix
    if bad.exists() and not (bad.suffix == kind or bad.suffix in (".csv", "") and kind == ".parquet"):
        return None
    shutil.copytree(world / folder, where / folder, copy_function=os.link)
    target = where / door.place
    target.unlink(missing_ok=True)
    if bad.is_relative_to(where):
        if bad.exists():
            bad.rename(target)
    else:
        target.symlink_to(bad)
    return door.line.replace(f"WORLD/{folder}", str(where / folder)), target


def handed_in(door: Door, kind: Kind, world: World, where: Path) -> Ended | None:
    """What happens where a kind is handed in at a door; None where it cannot be."""
    good = world.good(door)
    bad, line = kind.make(good, where / "bad"), door.line
    if bad is None:
        return None
    if door.place:
        if door.place.endswith(".parquet") and not kind.bytes and bad.suffix == ".csv" and bad.is_file():
            return None
        if (placed := _placed(door, world.folder, bad, where)) is None:
            return None
        line, bad = placed
    words = [
        word.replace("WORLD", str(world.folder)).replace("OUT", "out").replace("BAD", str(bad))
        for word in line.split()
    ]
    done = ended(command(words), where)
    return done._replace(left=_left(where)) if done.status == 0 else done


def findings(door: Door, kind: Kind, done: Ended, rows: int | None) -> list[str]:
    """What is wrong with an end."""
    said, found = done.out + "\n" + done.err, []
    if done.status is None:
        return [f"hangs: no end in {LIMIT} s"]
    if "Traceback (most recent call last)" in said or "This is a bug" in said:
        found.append("traceback")
    elif done.status not in (0, 1, 2):
        found.append(f"exit status {done.status}")
    found += [f"{a:,} is not {b:,} + {c:,}" for a, b, c in done.sums if a != b + c]
    if done.status == 0 and door.sums and not done.sums:
        found.append("ends well without a sum")
    rejected = any(rejects for *_, rejects in done.sums)
    told = door.beside and (rejected or "holds no row" in said)  # one input of several; the others are used
    if done.status == 0 and kind.fails and not told:
        found.append("ends well, and there is nothing to read")
    if (
        done.status == 0
        and door.sums
        and done.sums
        and not told
        and rows is not None
        and rows not in [a for a, *_ in done.sums]
    ):
        found.append(f"{rows:,} rows were handed in, and no sum is about so many")
    if done.status in (1, 2) and not done.err.strip():
        found.append("ends with an error and no word")
    if done.status in (1, 2) and "traceback" not in found:
        length = len(done.err[max(done.err.find("error: "), 0) :])
        found += [f"an error of {length:,} characters"] * (length > LONGEST)
    return found


# ---- the tests: each kind at one door, each door with one kind or more


def known(name: str, kind: str) -> str:
    """The defect of which a finding is an example, if it is known."""
    return next((why for pattern, why in KNOWN.items() if fnmatchcase(f"{name}: {kind}", pattern)), "")


def some_pairs() -> Iterator[tuple[str, Door, str, Kind]]:
    """Each kind once at one of its doors in turn, and each door at least once; a kind of tables stands for rows too."""
    groups: dict[int, list[str]] = {}
    for name, door in DOORS.items():
        if not door.few:
            groups.setdefault(id(World.kinds(None, door)), []).append(name)
    met: set[int] = set()
    for names in sorted(groups.values(), key=lambda names: DOORS[names[0]].takes in ("array", "rows")):
        kinds = World.kinds(None, DOORS[names[0]])
        new = {kind: made for kind, made in kinds.items() if kind == "good" or id(made) not in met}
        met |= {id(made) for made in new.values()}
        turns = range(max(len(new), len(names)))
        for _, (kind, made), name in zip(turns, cycle(new.items()), cycle(names)):
            yield name, DOORS[name], kind, made


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_ready(tmp_path_factory.mktemp("doors"))


def test_whatever_is_handed_in_is_accounted_for(world, tmp_path):
    wrong, runs = [], 0
    for name, door, kind, made in islice(some_pairs(), 0, None, 3):
        if known(name, kind):
            continue
        where = tmp_path / f"run{runs}"
        where.mkdir()
        if (done := handed_in(door, made, world, where)) is not None:
            runs += 1
            wrong += [f"{name}: {kind}: {one}" for one in findings(door, made, done, world.rows(door, made))]
        shutil.rmtree(where)
    assert not wrong, "\n".join(wrong)
    assert runs > 50


def test_no_command_is_silent_about_vectors_of_zeros(world, tmp_path):
    kinds, silent, runs = {"array": "zeros", "store": "a vector of zeros"}, [], 0
    for name, door in DOORS.items():
        if door.takes in kinds:
            where = tmp_path / f"run{runs}"
            where.mkdir()
            done = handed_in(door, World.kinds(None, door)[kinds[door.takes]], world, where)
            runs += 1
            if "zeros" not in done.out + done.err:
                silent.append((name, done.err))
    assert not silent and runs > 25


def planted(said: str = "", end: object = None) -> Callable[[], None]:
    """A command that says this, and ends so."""

    def call() -> None:
        print(said, file=sys.stderr)
        if isinstance(end, Exception):
            raise end
        if isinstance(end, float):
            time.sleep(end)
        elif end is not None:
            raise SystemExit(end)

    return call


@pytest.mark.parametrize(
    "call, found",
    [
        (planted(end=KeyError("x")), "traceback"),
        (planted("This is a bug of geograph_types", 1), "traceback"),
        (planted("t.csv: 57 in: 50 used, 6 rejected"), "57 is not 50 + 6"),
        (planted("57 rows in: 56 used (1 twice), 2 rejected"), "57 is not 56 + 2"),
        (planted("all is well"), "ends well without a sum"),
        (
            planted("56 photographs in: 56 used, 0 rejected"),
            "57 rows were handed in, and no sum is about so many",
        ),
        (planted(end=7), "exit status 7"),
        (planted(end="error: " + "x" * 3000), "an error of 3,0"),
        (planted(end=1), "ends with an error and no word"),
        (planted(end=30.0), "hangs"),
        (planted("1,057 in: 1,057 used, 0 rejected; 57 in: 57 used, 0 rejected"), ""),
        (planted("57 rows in: 50 used (2 of them twice), 7 rejected (5 bad id, 2 no id)"), ""),
        (planted("", "error: t.csv is a folder"), ""),
    ],
)
def test_the_checker_sees_what_is_wrong(call, found, tmp_path):
    done = ended(call, tmp_path, limit=2 if found == "hangs" else LIMIT)
    said = findings(Door("", "places"), Kind(None), done, 57)
    assert len(said) == bool(found) and all(found in one for one in said), (said, done)


# ---- the whole matrix, as a program


def outcome(done: Ended, kind: Kind, good: Ended | None) -> str:
    """An end in a word or two."""
    if done.status is None:
        return "hangs"
    if done.status:
        return f"{done.status}: error"
    sums = "; ".join(f"{a} = {b} + {c}" for a, b, c in dict.fromkeys(done.sums)) or "ok"
    differs = (
        kind.same and good is not None and good.status == 0 and (good.left, good.out) != (done.left, done.out)
    )
    return f"0: {sums}{' (differs)' * differs}"


def make_ready(folder: Path) -> World:
    """All inputs, those too that commands make."""
    world = make_inputs(folder)
    for name, line in MADE.items():
        where = Path(tempfile.mkdtemp(dir=folder))
        done = ended(command(line.replace("WORLD", str(folder)).split()), where)
        assert done.status == 0, done.err
        next(where.glob("out.*")).rename(folder / name)
    return world


def pairs(doors: list[str] | None = None) -> Iterator[tuple[str, Door, str, Kind]]:
    """Every kind at every door; the good one comes first."""
    for name, door in DOORS.items():
        if not doors or any(part in name for part in doors):
            for number, (kind, made) in enumerate(World.kinds(None, door).items()):
                if not door.few or number % 4 == 0:
                    yield name, door, kind, made


def run_all(folder: Path, chosen: list[str]) -> tuple[dict, list]:
    """Door and kind -> outcome; and all findings with what the command said."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0
    world = make_ready(folder)
    table, found, goods = {}, [], {}
    for name, door, kind, made in tqdm(list(pairs(chosen)), unit="run", smoothing=0.02):
        where = Path(tempfile.mkdtemp(dir=folder, prefix="run"))
        done = handed_in(door, made, world, where)
        if done is not None:
            if kind == "good":
                goods[name] = done
                if door.sums and done.status:
                    found.append((name, kind, ["the good input fails"], done))
            table[name, kind] = outcome(done, made, goods.get(name)), done
            if wrong := findings(door, made, done, world.rows(door, made)):
                found.append((name, kind, wrong, done))
                tqdm.write(f"{name}: {kind}: {'; '.join(wrong)}")
        shutil.rmtree(where, ignore_errors=True)
    return table, found


def report(table: dict, found: list, seconds: float) -> str:
    """The whole matrix as Markdown."""
    lines = ["# Every command that reads, given every kind of input", ""]
    counts = Counter(outcome.partition(":")[0] for outcome, _ in table.values())
    ends = ", ".join(f"{count:,} with {status}" for status, count in sorted(counts.items()))
    lines += [f"{len(table):,} runs in {seconds:,.0f} s: {ends}; {len(found):,} with findings.", ""]
    by_door: dict[str, dict] = {}
    for (name, kind), (said, _) in table.items():
        by_door.setdefault(name, {})[kind] = said
    for takes in dict.fromkeys(tuple(kinds) for kinds in by_door.values()):
        doors = [name for name, kinds in by_door.items() if tuple(kinds) == takes]
        lines += ["", "| door | " + " | ".join(takes) + " |", "|---" * (len(takes) + 1) + "|"]
        lines += [
            "| " + " | ".join([name, *(by_door[name][kind] for kind in takes)]) + " |" for name in doors
        ]
    lines += ["", "## Findings", ""]
    for name, kind, wrong, done in found:
        lines += [
            f"### {name}: {kind}: {'; '.join(wrong)}",
            "",
            "```",
            f"{done.status} in {done.seconds:.1f} s",
        ]
        lines += [done.out[-300:].strip(), done.err[-1500:].strip().replace("```", "'''"), "```", ""]
    return "\n".join(lines) + "\n"


def main(out: Path | None, chosen: list[str]) -> None:
    """Hands every kind to every door, and says what happened."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table, found = run_all(Path(folder), chosen)
    seconds = time.monotonic() - begun
    if out:
        out.write_text(report(table, found, seconds), encoding="utf-8")
    new = [one for one in found if not known(*one[:2])]
    print(
        f"{len(table):,} runs, {len(DOORS)} doors, {seconds:,.0f} s: {len(found):,} findings, {len(new):,} not known"
    )
    sys.exit(bool(new))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None, sys.argv[2:])
