"""Doors, the places where a command reads something, and kinds, what people may hand in there; all of it synthetic."""

import csv
import gzip
import io
import json
import os
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from broken_rows import vector_with
from commands import make_world
from PIL import Image

from geograph_types.store import encode_vector

ROWS = 57  # of every table that is handed in; the inputs beside it have another number


@dataclass(frozen=True)
class Table:
    """A good table, of which a kind makes a bad one."""

    rows: list[dict]
    id: str | None  # its column of numbers or names of photographs
    text: str  # its column of free text
    header: bool = True  # whether a CSV file of it has one

    def with_value(self, column: str, value: object, row: int = 3) -> "Table":
        """The same with another value in one row."""
        return replace(self, rows=[{**r, column: value} if n == row else r for n, r in enumerate(self.rows)])

    def with_all(self, column: str, change: Callable[[object], object]) -> "Table":
        """The same with every value of a column changed."""
        return replace(self, rows=[{**r, column: change(r[column])} for r in self.rows])

    def column(self, *names: str) -> str | None:
        """Its column of one of these names."""
        return next((name for name in self.rows[0] if name.lower() in names), None)


@dataclass(frozen=True)
class Kind:
    """What is handed in: how it is made, and what must become of it."""

    make: Callable  # (Table or folder of the good input, path without ending) -> path, or None where it does not apply
    rows: (
        int | None
    ) = -1  # how many rows the sum must be about; -1 for as many as the good input, None for unknown
    same: bool = False  # whether the outcome must be that of the good input
    fails: bool = False  # whether it must end with an error: there is no row
    bytes: bool = False  # whether the file is the same under any name, so that .parquet may be asked for


@dataclass(frozen=True)
class Door:
    """Where a command reads: its line, with WORLD for the folder of the inputs, BAD for what is handed in, and OUT."""

    line: str
    takes: str  # the name of a table, or rows, photographs, store, array, bytes
    place: str = ""  # where BAD must lie: a path in a folder of the world, which is copied
    sums: bool = True  # whether it says what became of the rows of BAD
    beside: str = ""  # a table whose rows are in the same sum
    few: bool = (
        False  # whether the whole matrix has only every fourth kind: it takes long, and reads as others do
    )


# ---- tables


def delimited(table: Table, delimiter: str = ",", end: str = "\n") -> str:
    """The table as CSV."""
    text, names = io.StringIO(), list(dict.fromkeys(name for row in table.rows for name in row))
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerows([names] * table.header)
    writer.writerows([["" if r.get(name) is None else r[name] for name in names] for r in table.rows])
    return text.getvalue()


def write(path: Path, data: str | bytes, ending: str = ".csv", encoding: str = "utf-8") -> Path:
    """A file of these bytes, or of this text."""
    path = path.with_name(path.name + ending)
    path.write_bytes(data.encode(encoding) if isinstance(data, str) else data)
    return path


def as_csv(
    change: Callable[[Table], Table | None] = lambda table: table, encoding: str = "utf-8"
) -> Callable:
    """Writes a table as CSV, after a change."""
    return lambda table, path: (
        None if (changed := change(table)) is None else write(path, delimited(changed), ".csv", encoding)
    )


def as_lines(change: Callable[[Table], Table | None] = lambda table: table) -> Callable:
    """Writes a table as JSON Lines, after a change."""

    def make(table: Table, path: Path) -> Path | None:
        changed = change(table)
        return changed and write(path, "".join(json.dumps(row) + "\n" for row in changed.rows), ".jsonl")

    return make


def as_parquet(change: Callable[[pa.Table, Table], pa.Table] = lambda made, table: made) -> Callable:
    """Writes a table as Parquet, after a change of it."""

    def make(table: Table, path: Path) -> Path:
        path = path.with_name(path.name + ".parquet")
        pq.write_table(change(pa.Table.from_pylist(table.rows), table), path)
        return path

    return make


def edited(edit: Callable[[list[str]], list[str]], ending: str = ".csv") -> Callable:
    """Writes a table as CSV whose lines are edited."""
    return lambda table, path: write(path, "".join(edit(delimited(table).splitlines(True))), ending)


def raw(data: bytes, ending: str = ".csv") -> Callable:
    """Writes these bytes, whatever the table is."""
    return lambda table, path: write(path, data, ending)


def ids(change: Callable[[int], object], one: bool = False) -> Callable:
    """Changes the numbers of a table's photographs, or one of them."""

    def made(table: Table) -> Table | None:
        if table.id is None:
            return None
        return (
            table.with_value(table.id, change(table.rows[3][table.id]))
            if one
            else table.with_all(table.id, change)
        )

    return made


def text(value: object) -> Callable[[Table], Table]:
    """Puts another text into one row."""
    return lambda table: table.with_value(table.text, value)


def distances(table: Table) -> Table | None:
    """Distances that lost their type."""
    if "distance" not in table.rows[0]:
        return None
    return table.with_all("distance", lambda value: f"{value}.0" if str(value).isdecimal() else value)


def positions(lat: object, lon: object) -> Callable[[Table], Table | None]:
    """Puts another position into one row."""

    def made(table: Table) -> Table | None:
        names = table.column("lat", "latitude"), table.column("lon", "longitude")
        return None if None in names else table.with_value(names[0], lat).with_value(names[1], lon)

    return made


def decimal_commas(table: Table, path: Path) -> Path | None:
    """A table as spreadsheets in Germany write it."""
    if not (names := [name for name in table.rows[0] if isinstance(table.rows[0][name], float)]):
        return None
    for name in names:
        table = table.with_all(name, lambda value: str(value).replace(".", ","))
    return write(path, delimited(table, ";"))


def replaced(old: str, new: str) -> Callable[[list[str]], list[str]]:
    """Puts a text into the fourth row without quoting it."""
    return lambda lines: [line.replace(old, new) for line in lines]


def unquoted(value: str) -> Callable:
    """Writes a table with this text in one row as it is, whatever CSV asks for."""

    def make(table: Table, path: Path) -> Path:
        text = delimited(table.with_value(table.text, "PLACEHOLDER"))
        return write(path, text.replace("PLACEHOLDER", value))

    return make


def not_utf8(made: pa.Table, table: Table) -> pa.Table:
    """A text whose bytes are not UTF-8."""
    place, values = made.column_names.index(table.text), made[table.text].to_pylist()
    data = [str(value).encode() for value in values]
    data[3] = b"Caf\xe9"
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    column = pa.StringArray.from_buffers(len(data), pa.py_buffer(offsets), pa.py_buffer(b"".join(data)))
    return made.set_column(place, table.text, column)


def lists(made: pa.Table, table: Table) -> pa.Table:
    """Lists where a text is wanted."""
    place = made.column_names.index(table.text)
    return made.set_column(
        place, table.text, pa.array([[str(value)] for value in made[table.text].to_pylist()])
    )


def zipped(names: list[str]) -> Callable:
    """The table in a .zip, once for each name."""

    def make(table: Table, path: Path) -> Path:
        path = path.with_name(path.name + ".csv.zip")
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, delimited(table))
        return path

    return make


def half_parquet(table: Table, path: Path) -> Path:
    """The first half of a Parquet file."""
    path = as_parquet()(table, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def pipe(table: Table, path: Path) -> Path:
    """A named pipe into which nobody writes."""
    path = path.with_name(path.name + ".csv")
    os.mkfifo(path)
    return path


def folder(table: Table, path: Path) -> Path:
    """An empty folder under a table's name."""
    path = path.with_name(path.name + ".csv")
    path.mkdir()
    return path


def without(table: Table) -> Table:
    """The table without its first column that is not free text."""
    lost = table.id or next(iter(table.rows[0]))
    return replace(table, rows=[{name: r[name] for name in r if name != lost} for r in table.rows])


NOISE = random.Random(1).randbytes(3000)
PNG = io.BytesIO()
Image.new("RGB", (8, 8)).save(PNG, "PNG")
APPLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100)

TABLE_KINDS = {
    "good": Kind(as_csv(), same=True),
    "one field too many": Kind(edited(lambda lines: [*lines[:4], lines[4].rstrip() + ",more\n", *lines[5:]])),
    "one field too few": Kind(
        lambda table, path: (
            edited(lambda lines: [*lines[:4], lines[4].rpartition(",")[0] + "\n", *lines[5:]])(table, path)
            if len(table.rows[0]) > 1
            else None
        )
    ),
    "a stray quotation mark": Kind(unquoted('a 5" gun')),
    "an open quotation mark": Kind(unquoted('"open')),
    "Windows-1252": Kind(as_csv(text("Café – “x”"), "cp1252")),
    "Latin-1": Kind(as_csv(text("Café £"), "latin-1")),
    "HTML entities": Kind(as_csv(text("Caf&eacute; &amp; &#8217;"))),
    "UTF-16": Kind(as_csv(encoding="utf-16"), same=True),
    "UTF-16 without a mark": Kind(as_csv(encoding="utf-16-le"), rows=None),
    "semicolons": Kind(lambda table, path: write(path, delimited(table, ";")), same=True),
    "tabs": Kind(lambda table, path: write(path, delimited(table, "\t"), ".tsv"), same=True),
    "decimal commas": Kind(decimal_commas, same=True),
    "NA as text": Kind(as_csv(text("NA"))),
    "null as text": Kind(as_csv(text("null"))),
    "no text": Kind(as_csv(text(None))),
    "ids as 6602.0": Kind(as_csv(ids(lambda number: f"{number}.0")), same=True),
    "ids as numbers with a point": Kind(as_lines(ids(float)), same=True),
    "ids as text": Kind(as_lines(ids(str)), same=True),
    "ids with leading zeros": Kind(as_csv(ids(lambda number: f"{number:08d}")), same=True),
    "a negative id": Kind(as_csv(ids(lambda number: -number, one=True))),
    "a fraction as id": Kind(as_csv(ids(lambda number: number + 0.5, one=True))),
    "an id beyond 64 bits": Kind(as_csv(ids(lambda number: 2**70, one=True))),
    "an id twice": Kind(
        as_csv(lambda table: table.id and table.with_value(table.id, table.rows[2][table.id]))
    ),
    "ids as paths": Kind(as_csv(ids(lambda number: f"photos/{number}.jpg"))),
    "ids with dots": Kind(as_csv(ids(lambda number: f"{number}.v2.jpg"))),
    "an object as id": Kind(as_lines(ids(lambda number: {"number": number}, one=True))),
    "no id": Kind(as_csv(ids(lambda number: None, one=True))),
    "distances as 512.0": Kind(as_csv(distances), same=True),
    "0, 0 as position": Kind(as_csv(positions(0, 0))),
    "words as position": Kind(as_csv(positions("north", "west"))),
    "a position out of range": Kind(as_csv(positions(512.0, 4.0))),
    "an infinite position": Kind(as_csv(positions("inf", "nan"))),
    "an object as position": Kind(as_lines(positions({"deg": 51}, [1]))),
    "JSON Lines": Kind(as_lines(), same=True),
    "a JSON array": Kind(lambda table, path: write(path, json.dumps(table.rows), ".json"), same=True),
    "a JSON array, indented": Kind(
        lambda table, path: write(path, json.dumps(table.rows, indent=2), ".json"), same=True
    ),
    "an object as text": Kind(as_lines(text({"a": {"b": [1, {}]}}))),
    "a list as text": Kind(as_lines(text(["a", 1, None]))),
    "a number as text": Kind(as_lines(text(17))),
    "true as text": Kind(as_lines(text(True))),
    "100,000 brackets": Kind(raw(b"[" * 100_000, ".json"), fails=True),
    "100,000 brackets in a row": Kind(
        lambda table, path: write(
            path,
            "".join(json.dumps(row) + "\n" for row in table.rows[:-1]) + '{"a":' + "[" * 100_000 + "\n",
            ".jsonl",
        )
    ),
    "an object in an object, 900 deep": Kind(as_lines(text(json.loads('{"a":' * 900 + "1" + "}" * 900)))),
    "no objects in JSON": Kind(raw(b"[1, 2, 3]\n", ".json"), fails=True),
    "a field of 16 MB": Kind(as_csv(text("x" * (1 << 24)))),
    "a line of 34 MB": Kind(as_csv(text("x" * (34 << 20)))),
    "Parquet": Kind(as_parquet(), same=True),
    "Parquet, all as text": Kind(
        as_parquet(lambda made, _: pa.table({n: made[n].cast(pa.string()) for n in made.column_names})),
        same=True,
    ),
    "Parquet with text that is not UTF-8": Kind(as_parquet(not_utf8)),
    "Parquet with lists as text": Kind(as_parquet(lists)),
    "half a Parquet file": Kind(half_parquet, fails=True),
    "an empty Parquet file": Kind(as_parquet(lambda made, _: made[:0]), fails=True),
    "a Parquet file called .csv": Kind(
        lambda table, path: as_parquet()(table, path).rename(path.with_name("called.csv")), rows=None
    ),
    "an empty file": Kind(raw(b""), fails=True, bytes=True),
    "a header only": Kind(lambda table, path: write(path, ",".join(table.rows[0]) + "\n"), fails=True),
    "noise": Kind(raw(NOISE), fails=True, bytes=True),
    "noise called .jsonl": Kind(raw(NOISE, ".jsonl"), fails=True),
    "a picture called .csv": Kind(raw(PNG.getvalue()), rows=None, bytes=True),
    ".gz": Kind(
        lambda table, path: write(path, gzip.compress(delimited(table).encode()), ".csv.gz"), same=True
    ),
    ".gz cut short": Kind(
        lambda table, path: write(path, gzip.compress(delimited(table).encode())[:-20], ".csv.gz"), rows=None
    ),
    ".zip": Kind(zipped(["table.csv"]), same=True),
    ".zip from a Mac": Kind(zipped(["table.csv", "__MACOSX/._table.csv"]), same=True),
    ".zip of two": Kind(zipped(["a.csv", "b.csv"]), fails=True),
    "an AppleDouble file": Kind(
        lambda table, path: write(path.with_name("._" + path.name), APPLE), fails=True, bytes=True
    ),
    "a named pipe": Kind(pipe, fails=True, bytes=True),
    "/dev/null": Kind(lambda table, path: Path("/dev/null"), fails=True),
    "a folder": Kind(folder, fails=True, bytes=True),
    "a missing file": Kind(lambda table, path: path.with_name("missing.csv"), fails=True),
    "a byte order mark": Kind(as_csv(encoding="utf-8-sig"), same=True),
    "CRLF": Kind(lambda table, path: write(path, delimited(table, end="\r\n")), same=True),
    "CR": Kind(lambda table, path: write(path, delimited(table, end="\r")), same=True),
    "NUL bytes": Kind(unquoted("a\0b")),
    "blank lines": Kind(edited(lambda lines: [line + "\n" for line in lines]), same=True),
    "no line end at the end": Kind(lambda table, path: write(path, delimited(table).rstrip("\n")), same=True),
    "spaces in the header": Kind(edited(lambda lines: [lines[0].replace(",", " , "), *lines[1:]]), rows=None),
    "unknown columns": Kind(
        as_csv(lambda table: replace(table, rows=[{**r, "mood": "x", "=1+1": 7} for r in table.rows]))
    ),
    "two columns of one name": Kind(
        edited(lambda lines: [line.rstrip("\n") + "," + line.split(",")[0] + "\n" for line in lines]),
        rows=None,
    ),
    "a column lost": Kind(as_csv(without), rows=None),
}


def vectors(value: object, column: str = "embeddings") -> Callable[[Table], Table]:
    """Puts another vector, or another value of a column, into one row."""
    return lambda table: table.with_value(column, value)


ROW_KINDS = {
    **TABLE_KINDS,
    "base64 with line breaks": Kind(
        as_lines(
            lambda table: table.with_all(
                "embeddings", lambda t: "\n".join(t[n : n + 76] for n in range(0, len(t), 76))
            )
        ),
    ),
    "a vector with NaN": Kind(as_lines(vectors(vector_with(np.nan)))),
    "an infinite vector": Kind(as_lines(vectors(vector_with(np.inf)))),
    "a vector of zeros": Kind(as_lines(vectors(encode_vector(np.zeros(512))))),
    "a vector of another length": Kind(as_lines(vectors(encode_vector([1, 2, 3])))),
    "a vector that is a list": Kind(as_lines(vectors([0.1] * 512))),
    "no vector": Kind(as_lines(vectors(None))),
    "a weight beyond float32": Kind(as_lines(vectors(1e39, "weight"))),
    "a weight below float32": Kind(as_lines(vectors(1e-50, "weight"))),
    "no split": Kind(as_lines(vectors(None, "split"))),
    "no weight": Kind(as_lines(vectors(None, "weight"))),
    "no splits": Kind(
        as_lines(
            lambda table: replace(
                table, rows=[{k: v for k, v in r.items() if k != "split"} for r in table.rows]
            )
        )
    ),
    "an unknown tag": Kind(as_lines(vectors("Geograph,Selfie", "types"))),
    "tags as a list": Kind(as_lines(vectors(["Geograph"], "types"))),
    "a missing vector column": Kind(
        as_lines(
            lambda table: replace(
                table, rows=[{k: v for k, v in r.items() if k != "embeddings"} for r in table.rows]
            )
        ),
        fails=True,
    ),
}


# ---- photographs: the good input is a folder of five


def copied(change: Callable[[Path], object], count: int | None) -> Callable:
    """A copy of the folder, changed."""

    def make(good: Path, path: Path) -> Path:
        shutil.copytree(good, path)
        change(path)
        return path

    return make


def added(name: str, data: bytes) -> Callable[[Path], object]:
    """Adds a file to a folder."""
    return lambda path: (path / name).write_bytes(data)


def picture(mode: str = "RGB", size: tuple[int, int] = (40, 30), form: str = "JPEG", **options) -> bytes:
    """The bytes of a picture."""
    data = io.BytesIO()
    Image.new(mode, size).save(data, form, **options)
    return data.getvalue()


def noise_picture() -> bytes:
    """A JPEG that has something to cut off."""
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(data, "JPEG")
    return data.getvalue()


def deep() -> bytes:
    """A PNG of 16 bits a pixel."""
    data = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(data, "PNG")
    return data.getvalue()


def moving() -> bytes:
    """An animated GIF."""
    frames = [Image.new("P", (40, 30), n) for n in range(3)]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    return data.getvalue()


def large() -> bytes:
    """A PNG of a few kilobytes that says that it is 60,000 pixels wide and high."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def heif() -> bytes | None:
    """A HEIC file, if the package is there."""
    try:
        import pillow_heif
    except ImportError:
        return None
    data = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64))).save(data)
    return data.getvalue()


def avif() -> bytes | None:
    """An AVIF file, if Pillow can write one."""
    from PIL import features

    return picture(form="AVIF") if features.check("avif") else None


def archive(good: Path, path: Path, more: Callable[[tarfile.TarFile], None] = lambda tar: None) -> Path:
    """The photographs in a .tar, with more."""
    path = path.with_name(path.name + ".tar")
    with tarfile.open(path, "w") as tar:
        for file in sorted(good.iterdir()):
            tar.add(file, f"./{file.name}")
        more(tar)
    return path


def links(tar: tarfile.TarFile) -> None:
    """A link to a file outside, one to a photograph, a name with dots, and a device."""
    for name, to, kind in (
        ("out.jpg", "../../etc/hostname", b"2"),
        ("in.jpg", "0.png", b"1"),
        ("pipe.jpg", "", b"6"),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, to
        tar.addfile(member)
    data = picture()
    member = tarfile.TarInfo("../dots.jpg")
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def one(data: bytes | None, ending: str) -> Callable:
    """The folder with one more file."""
    return lambda good, path: None if data is None else copied(added("more" + ending, data), 6)(good, path)


def linked(path: Path) -> None:
    """A link to a folder of photographs beside, and one that leads nowhere."""
    beside = path.with_name("beside")
    beside.mkdir()
    (beside / "9.jpg").write_bytes(picture())
    (path / "link").symlink_to(beside)
    (path / "nowhere.jpg").symlink_to(path / "gone.jpg")
    (path / "round").symlink_to(path)


def twins(path: Path) -> None:
    """`1.jpg` beside `1.png`."""
    (path / "1.jpg").write_bytes(picture())


def numbered(path: Path) -> None:
    """Names as Geograph gives them."""
    for n, file in enumerate(sorted(path.iterdir())):
        file.rename(path / f"00{n}123_abcdef0{n}.png")


PHOTOGRAPH_KINDS = {
    "good": Kind(lambda good, path: good, 5, same=True),
    "a broken JPEG": Kind(one(b"\xff\xd8\xff\xe0" + NOISE, ".jpg"), 6),
    "a JPEG cut short": Kind(one(noise_picture()[:-4000], ".jpg"), 6),
    "a JPEG without its last bytes": Kind(one(noise_picture()[:-2], ".jpg"), 6),
    "one pixel": Kind(one(picture(size=(1, 1)), ".jpg"), 6),
    "one pixel high": Kind(one(picture(size=(3000, 1)), ".jpg"), 6),
    "CMYK": Kind(one(picture("CMYK"), ".jpg"), 6),
    "16 bits": Kind(one(deep(), ".png"), 6),
    "a palette with transparency": Kind(one(picture("P", form="PNG", transparency=0), ".png"), 6),
    "an animated GIF": Kind(one(moving(), ".gif"), 6),
    "TIFF": Kind(one(picture(form="TIFF"), ".tif"), 6),
    "WebP": Kind(one(picture(form="WEBP"), ".webp"), 6),
    "HEIC": Kind(one(heif(), ".heic"), 6),
    "AVIF": Kind(one(avif(), ".avif"), 6),
    "no bytes": Kind(one(b"", ".jpg"), 6),
    "a web page": Kind(one(b"<html>not found</html>", ".jpg"), 6),
    "another ending": Kind(one(picture(form="PNG"), ".jpg"), 6),
    "an ending of no photograph": Kind(one(picture(), ".txt"), None),
    "an AppleDouble file": Kind(copied(added("._0.png", APPLE), 5), 5),
    "60,000 pixels a side": Kind(one(large(), ".png"), 6),
    "1.jpg beside 1.png": Kind(copied(twins, 6), 6),
    "Geograph's names": Kind(copied(numbered, 5), 5),
    "links": Kind(copied(linked, None), None),
    "a .tar": Kind(archive, 5, same=True),
    "a .tar with links and dots": Kind(lambda good, path: archive(good, path, links), None),
    "a .tar cut short": Kind(
        lambda good, path: write(path, archive(good, path).read_bytes()[:3000], ".cut.tar"), None
    ),
    "an empty folder": Kind(lambda good, path: path.mkdir() or path, 0, fails=True),
    "a folder of other files": Kind(
        lambda good, path: path.mkdir() or write(path / "notes", "nothing", ".txt").parent, 0, fails=True
    ),
    "a single photograph": Kind(lambda good, path: good / "0.png", 1),
    "a missing photograph": Kind(lambda good, path: good / "9.png", 1, fails=True),
    "a pattern of none": Kind(lambda good, path: good / "*.gif", 0, fails=True),
    "/dev/null": Kind(lambda good, path: Path("/dev/null"), 0, fails=True),
    "a photograph of no bytes alone": Kind(raw(b"", ".jpg"), 1, fails=True),
}


# ---- stores: the good input is one of two shards


def changed(change: Callable[[Path], object], manifest: bool = False) -> Callable:
    """A copy of a store that was changed, with its manifest or, as others make them, without."""

    def make(good: Path, path: Path) -> Path:
        shutil.copytree(good, path)
        if not manifest:
            (path / "manifest.json").unlink()
        change(path)
        return path

    return make


def metadata(change: Callable[[pd.DataFrame], pd.DataFrame], parts: slice = slice(None)) -> Callable:
    """Changes the tables of a store."""

    def made(path: Path) -> None:
        for part in sorted((path / "metadata").glob("m*.parquet"))[parts]:
            change(pd.read_parquet(part)).to_parquet(part, index=False)

    return made


def shards(change: Callable[[np.ndarray], np.ndarray], parts: slice = slice(None)) -> Callable:
    """Changes the vectors of a store."""

    def made(path: Path) -> None:
        for part in sorted((path / "img_emb").glob("i*.npy"))[parts]:
            np.save(part, change(np.load(part)))

    return made


def spoiled(value: float) -> Callable[[np.ndarray], np.ndarray]:
    """Puts a value into one vector."""

    def change(vectors: np.ndarray) -> np.ndarray:
        vectors[3, 7] = value
        return vectors

    return change


def zero(vectors: np.ndarray) -> np.ndarray:
    """A vector of zeros."""
    vectors[3] = 0
    return vectors


def apple(path: Path) -> None:
    """What a Mac leaves beside the parts."""
    for part in [*(path / "metadata").iterdir(), *(path / "img_emb").iterdir()]:
        part.with_name("._" + part.name).write_bytes(APPLE)


def twice(table: pd.DataFrame) -> pd.DataFrame:
    """The first photograph again in the second row."""
    table.loc[1, "gridimage_id"] = table.loc[0, "gridimage_id"]
    return table


def titled(path: Path, parts: int = 2) -> None:
    """Vectors of titles too, of so many parts."""
    (path / "text_emb").mkdir()
    for part in sorted((path / "img_emb").iterdir())[:parts]:
        np.save(path / "text_emb" / part.name.replace("img", "text"), np.load(part)[::-1])


def lost(name: str, number: int = 1) -> Callable[[Path], None]:
    """Removes a part."""
    return lambda path: sorted((path / name).iterdir())[number].unlink()


def drop(*names: str) -> Callable:
    """Removes columns."""
    return metadata(lambda table: table.drop(columns=list(names)))


def paths_for_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Paths instead of numbers."""
    return table.rename(columns={"gridimage_id": "image_path"}).assign(
        image_path=[f"a/{number}.jpg" for number in table["gridimage_id"]]
    )


STORE_KINDS = {
    "good": Kind(lambda good, path: good, 60, same=True),
    "without manifest": Kind(changed(lambda path: None), 60),
    "without metadata": Kind(changed(lambda path: shutil.rmtree(path / "metadata")), 60),
    "without metadata, with manifest": Kind(
        changed(lambda path: shutil.rmtree(path / "metadata"), True), None
    ),
    "metadata of two schemas": Kind(
        changed(metadata(lambda t: t.drop(columns="title").assign(mood=1), slice(1, 2))), 60
    ),
    "numbers as text in one part": Kind(
        changed(metadata(lambda t: t.astype({"gridimage_id": str}), slice(1, 2))), 60
    ),
    "numbers as text": Kind(changed(metadata(lambda t: t.astype({"gridimage_id": str}))), 60),
    "AppleDouble files": Kind(changed(apple), 60),
    "AppleDouble files, with manifest": Kind(changed(apple, True), 60),
    "float16": Kind(changed(shards(lambda v: v.astype(np.float16))), 60),
    "float64": Kind(changed(shards(lambda v: v.astype(np.float64))), 60),
    "more columns": Kind(changed(metadata(lambda t: t.assign(mood="x", similarity=0.5))), 60),
    "image_path instead of gridimage_id": Kind(changed(metadata(paths_for_numbers)), 60),
    "without types": Kind(changed(drop("types")), 60),
    "without distance": Kind(changed(drop("distance")), 60),
    "without positions": Kind(changed(drop("lat", "lon")), 60),
    "without split": Kind(changed(drop("split")), 60),
    "without weight": Kind(changed(drop("weight")), 60),
    "an id twice": Kind(changed(metadata(twice, slice(0, 1))), 60),
    "no number for one": Kind(
        changed(metadata(lambda t: t.assign(gridimage_id=t["gridimage_id"].where(t.index != 3)))), 60
    ),
    "no position for one": Kind(changed(metadata(lambda t: t.assign(lat=t["lat"].where(t.index != 3)))), 60),
    "0, 0 for one": Kind(
        changed(
            metadata(
                lambda t: t.assign(lat=t["lat"].where(t.index != 3, 0), lon=t["lon"].where(t.index != 3, 0))
            )
        ),
        60,
    ),
    "no tags for one": Kind(
        changed(metadata(lambda t: t.assign(types=t["types"].astype(object).where(t.index != 3)))), 60
    ),
    "a strange split for one": Kind(
        changed(
            metadata(lambda t: t.assign(split=t["split"].astype(object).where(t.index != 3, "training")))
        ),
        60,
    ),
    "a shard lost": Kind(changed(lost("img_emb")), None),
    "a shard lost, with manifest": Kind(changed(lost("img_emb"), True), None, fails=True),
    "a part of metadata lost": Kind(changed(lost("metadata")), None),
    "a part of metadata lost, with manifest": Kind(changed(lost("metadata"), True), None, fails=True),
    "a row too few in metadata": Kind(changed(metadata(lambda t: t[:-1], slice(1, 2))), None, fails=True),
    "no shard": Kind(
        changed(lambda path: [part.unlink() for part in (path / "img_emb").iterdir()]), 0, fails=True
    ),
    "a shard cut short": Kind(
        changed(lambda path: os.truncate(sorted((path / "img_emb").iterdir())[1], 20_000)), None, fails=True
    ),
    "a shard of noise": Kind(
        changed(lambda path: sorted((path / "img_emb").iterdir())[1].write_bytes(NOISE)), None, fails=True
    ),
    "half a table": Kind(
        changed(lambda path: os.truncate(sorted((path / "metadata").iterdir())[1], 500)), None, fails=True
    ),
    "a vector with NaN": Kind(changed(shards(spoiled(np.nan), slice(0, 1))), 60),
    "an infinite vector": Kind(changed(shards(spoiled(np.inf), slice(0, 1))), 60),
    "a vector of zeros": Kind(changed(shards(zero, slice(0, 1))), 60),
    "shards of two lengths": Kind(changed(shards(lambda v: v[:, :500], slice(1, 2))), None, fails=True),
    "vectors of titles": Kind(changed(titled), 60),
    "half of the vectors of titles": Kind(changed(lambda path: titled(path, 1)), None),
    "a manifest of noise": Kind(
        changed(lambda path: (path / "manifest.json").write_bytes(NOISE)), None, fails=True
    ),
    "a manifest of brackets": Kind(
        changed(lambda path: (path / "manifest.json").write_text("[" * 100_000)), None, fails=True
    ),
    "an empty folder": Kind(lambda good, path: path.mkdir() or path, 0, fails=True),
    "a missing folder": Kind(lambda good, path: path, 0, fails=True),
}


# ---- arrays: the good input is a .npy file of 57 vectors; and files of which only the bytes count


def array(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Writes vectors after a change."""

    def make(good: Path, path: Path) -> Path:
        np.save(path.with_name(path.name + ".npy"), change(np.load(good)))
        return path.with_name(path.name + ".npy")

    return make


BYTES_KINDS = {
    "an empty file": Kind(raw(b"", ""), fails=True),
    "noise": Kind(raw(NOISE, ""), fails=True),
    "text": Kind(raw(b"What is this?\n", ""), None),
    "Windows-1252": Kind(raw("Café – “x”\n".encode("cp1252"), ""), fails=True),
    "NUL bytes": Kind(raw(b"a\0b\n", ""), None),
    "100,000 brackets": Kind(raw(b"[" * 100_000, ""), None),
    "100,000 braces": Kind(raw(b'{"a":' * 100_000, ""), None),
    "null": Kind(raw(b"null", ""), None),
    "an empty list": Kind(raw(b"[]", ""), None),
    "an empty object": Kind(raw(b"{}", ""), None),
    "a list of numbers": Kind(raw(b"[1, NaN, -1e999]", ""), None),
    "a picture": Kind(raw(PNG.getvalue(), ""), fails=True),
    "an AppleDouble file": Kind(raw(APPLE, ""), fails=True),
    "an empty SQLite file": Kind(raw(b"SQLite format 3\0" + bytes(84), ""), fails=True),
    "a named pipe": Kind(pipe, fails=True),
    "/dev/null": Kind(lambda good, path: Path("/dev/null"), fails=True),
    "a folder": Kind(folder, fails=True),
    "a missing file": Kind(lambda good, path: path, fails=True),
    "half of the good one": Kind(
        lambda good, path: write(path, good.read_bytes()[: good.stat().st_size // 2], good.suffix), None
    ),
}
NO_TEXT = ("noise", "Windows-1252", "a picture", "an AppleDouble file", "an empty SQLite file")
TEXT_KINDS = {  # where lines of any text are read
    name: replace(kind, fails=kind.fails and name not in NO_TEXT) for name, kind in BYTES_KINDS.items()
}
ARRAY_KINDS = {
    "good": Kind(lambda good, path: good, ROWS, same=True),
    "float16": Kind(array(lambda v: v.astype(np.float16)), ROWS),
    "float64": Kind(array(lambda v: v.astype(np.float64)), ROWS, same=True),
    "whole numbers": Kind(array(lambda v: v.astype(np.int64)), None),
    "the other byte order": Kind(array(lambda v: v.astype(">f4")), ROWS),
    "column by column": Kind(array(np.asfortranarray), ROWS),
    "NaN": Kind(array(spoiled(np.nan)), ROWS),
    "infinite": Kind(array(spoiled(np.inf)), ROWS),
    "zeros": Kind(array(zero), ROWS),
    "another length": Kind(array(lambda v: v[:, :500]), None),
    "one vector without its axis": Kind(array(lambda v: v[0]), None),
    "three axes": Kind(array(lambda v: v[None]), None, fails=True),
    "no row": Kind(array(lambda v: v[:0]), 0, fails=True),
    "text": Kind(array(lambda v: v.astype(str)), None, fails=True),
    "complex": Kind(array(lambda v: v.astype(complex)), None, fails=True),
    "objects": Kind(array(lambda v: v.astype(object)[:, :2]), None, fails=True),
    "one row too few": Kind(array(lambda v: v[:-1]), ROWS - 1),
    **{f"bytes: {name}": kind for name, kind in BYTES_KINDS.items()},
}


# ---- doors

CLIP = "--clip ViT-S-32-alt --pretrained random:1 --image-size 64"
PLACES = "--model WORLD/places --gallery britain-50km"
ASK = "--prompts county --only WORLD/labels.txt"
LOOK = {  # commands that take photographs, rows, stores and arrays alike
    "predict": "predict BAD --model WORLD/MODELS/types --out OUT.csv",
    "context predict": "context predict BAD --model WORLD/MODELS/context --out OUT.csv",
    "locate photographs": "locate photographs BAD --model WORLD/MODELS/places --gallery britain-50km --out OUT.csv",
    "coordinates predict": "coordinates predict BAD --model WORLD/MODELS/coordinates --out OUT.csv",
    "zeroshot classify": f"zeroshot classify BAD --out OUT.csv {ASK} --features WORLD/MODELS/features.npz",
}


def looks(models: str) -> dict[str, str]:
    """Their lines with models of published vectors (.), or of a network of random weights (looks)."""
    return {
        name: line.replace("MODELS/", "" if models == "." else f"{models}/") for name, line in LOOK.items()
    }


DOORS = {
    # tables
    "convert --vectors: table": Door("convert BAD OUT --vectors WORLD/vectors57.npy", "labelled"),
    "convert downloads: context.csv": Door(
        "convert BAD WORLD/downloads57/pe.jsonl OUT", "downloads", beside="pe"
    ),
    "embed table": Door(f"embed BAD OUT {CLIP}", "photographs table", few=True),
    **{
        f"{name} table": Door(line, "photographs table", few=name != "predict")
        for name, line in looks("looks").items()
    },
    "train --with": Door("train WORLD/store OUT --epochs 1 --with BAD", "answers"),
    "zeroshot classify --gold": Door(
        f"zeroshot classify WORLD/store --out OUT.csv {ASK} --features WORLD/features.npz --gold BAD", "gold"
    ),
    "context prepare: train.csv": Door(
        "context prepare WORLD/challenge OUT", "labels", "challenge/train.csv"
    ),
    "context prepare: test.csv": Door("context prepare WORLD/challenge OUT", "numbers", "challenge/test.csv"),
    "context prepare: metadata.csv": Door(
        "context prepare WORLD/challenge OUT", "metadata", "challenge/metadata.csv"
    ),
    "context pictures: train.parquet": Door(
        "context pictures WORLD/prepared OUT", "prepared", "prepared/train.parquet"
    ),
    "context submit: test.parquet": Door(
        "context submit WORLD/prepared WORLD/store OUT.csv.zip --model WORLD/context",
        "numbers",
        "prepared/test.parquet",
    ),
    "context train: labels.parquet": Door(
        "context train WORLD/prepared WORLD/store OUT --epochs 1 --modalities img",
        "all labels",
        "prepared/labels.parquet",
    ),
    "locate photographs --gallery": Door(
        "locate photographs WORLD/store --model WORLD/places --gallery BAD --out OUT.csv", "gallery"
    ),
    "locate train table": Door(
        "locate train BAD OUT --epochs 1 --start WORLD/words --clip ViT-S-32-alt --pretrained random:1",
        "img_file",
        few=True,
    ),
    "locate train --positions": Door(
        "locate train WORLD/store OUT --epochs 1 --start WORLD/places --positions BAD", "positions"
    ),
    "locate evaluate table": Door(
        "locate evaluate BAD --model WORLD/words --gallery britain-50km --all", "img_file", few=True
    ),
    "locate evaluate --positions": Door(
        f"locate evaluate WORLD/store {PLACES} --all --positions BAD --out OUT.csv", "positions"
    ),
    "locate calibrate --positions": Door(
        f"locate calibrate WORLD/store OUT.json {PLACES} --positions BAD", "positions"
    ),
    "locate calibrate --audit": Door(f"locate calibrate WORLD/store OUT.json {PLACES} --audit BAD", "audit"),
    "locate check --positions": Door(
        f"locate check WORLD/store WORLD/check.json {PLACES} --out OUT.csv --positions BAD", "positions"
    ),
    "locate check --audit": Door(
        f"locate check WORLD/store WORLD/check.json {PLACES} --out OUT.csv --audit BAD", "audit"
    ),
    "coordinates prepare geograph": Door("coordinates prepare geograph BAD OUT.csv", "geograph"),
    "coordinates prepare osv": Door("coordinates prepare osv WORLD/osv OUT.csv", "osv", "osv/train_mini.csv"),
    "coordinates train": Door(
        "coordinates train BAD OUT --store WORLD/store --target sphere --no-context --epochs 1", "places"
    ),
    "coordinates evaluate": Door(
        "coordinates evaluate BAD --model WORLD/coordinates --store WORLD/store", "places"
    ),
    "coordinates pretrain": Door(f"coordinates pretrain BAD OUT {CLIP} --epochs 1", "pictured", few=True),
    "places add": Door("places add BAD OUT.csv --columns climate", "places"),
    "places climates": Door("places climates BAD OUT.csv --per split", "places"),
    "places plot": Door("places plot BAD OUT.png", "places"),
    "places errors: guesses": Door("places errors BAD WORLD/table.csv --out OUT.csv", "places"),
    "places errors: truth": Door("places errors WORLD/table.csv BAD --out OUT.csv", "places"),
    "zeroshot score": Door("zeroshot score BAD --out OUT.csv", "results"),
    "zeroshot score --against": Door(
        "zeroshot score WORLD/results57.csv --against BAD --out OUT.csv", "results"
    ),
    "zeroshot confusion": Door("zeroshot confusion BAD --out OUT.csv", "results"),
    "zeroshot map": Door("zeroshot map BAD OUT.html --areas WORLD/areas.geojson", "countries"),
    "zeroshot map --positions": Door(
        "zeroshot map WORLD/results60.csv OUT.png --areas WORLD/areas.geojson --positions BAD", "img_id"
    ),
    "zeroshot label-counts": Door(
        "zeroshot label-counts BAD --labels WORLD/labels.txt --out OUT.csv --workers 1", "captions"
    ),
    "zeroshot label-counts --results": Door(
        "zeroshot label-counts WORLD/captions --labels WORLD/six.txt --out OUT.csv --workers 1 --results BAD",
        "six",
    ),
    "zeroshot dedupe": Door("zeroshot dedupe BAD OUT.csv", "places"),
    "review rank --details": Door(
        "review rank WORLD/store --model WORLD/types --out OUT.parquet --details BAD", "details"
    ),
    "review rank --doubtful": Door(
        "review rank WORLD/store --model WORLD/types --out OUT.parquet --doubtful BAD", "doubtful"
    ),
    "review rank --context-labels": Door(
        "review rank WORLD/store --model WORLD/context --out OUT.parquet --context-labels BAD", "labels"
    ),
    "review promise --context-labels": Door(
        "review promise WORLD/store --model WORLD/context --out OUT.json --context-labels BAD", "labels"
    ),
    # rows with vectors
    "convert rows": Door("convert BAD OUT", "rows"),
    **{f"{name} rows": Door(line, "rows") for name, line in looks(".").items()},
    "convert downloads: pe.jsonl": Door(
        "convert WORLD/downloads57/context.csv BAD OUT", "pe", beside="downloads"
    ),
    # photographs
    "embed": Door(f"embed BAD OUT {CLIP}", "photographs"),
    **{f"{name} photographs": Door(line, "photographs") for name, line in looks("looks").items()},
    # stores
    "verify": Door("verify BAD", "store"),
    "convert store": Door("convert BAD OUT --dtype int8", "store"),
    "train": Door("train BAD OUT --epochs 1", "store"),
    "evaluate": Door("evaluate BAD --model WORLD/types", "store"),
    "suggest": Door("suggest BAD --model WORLD/types --out OUT.csv", "store"),
    **{f"{name} store": Door(line, "store") for name, line in looks(".").items()},
    "context train": Door("context train WORLD/prepared BAD OUT --epochs 1 --modalities img", "store"),
    "context train img,loc": Door(
        "context train WORLD/prepared BAD OUT --epochs 1 --modalities img,loc", "store"
    ),
    "context evaluate": Door("context evaluate WORLD/prepared BAD --model WORLD/context", "store"),
    "context submit": Door("context submit WORLD/prepared BAD OUT.csv.zip --model WORLD/context", "store"),
    "locate train": Door("locate train BAD OUT --epochs 1 --start WORLD/places", "store"),
    "locate evaluate": Door(f"locate evaluate BAD {PLACES} --all --out OUT.csv", "store"),
    "locate calibrate": Door(f"locate calibrate BAD OUT.json {PLACES}", "store"),
    "locate check": Door(f"locate check BAD WORLD/check.json {PLACES} --out OUT.csv", "store"),
    "coordinates train --store": Door(
        "coordinates train WORLD/table.csv OUT --store BAD --target sphere --no-context --epochs 1", "store"
    ),
    "coordinates evaluate --store": Door(
        "coordinates evaluate WORLD/table.csv --model WORLD/coordinates --store BAD", "store"
    ),
    "zeroshot dedupe store": Door("zeroshot dedupe BAD OUT.csv --by likeness", "store"),
    "review rank": Door("review rank BAD --model WORLD/types --out OUT.parquet", "store"),
    "review promise": Door("review promise BAD --model WORLD/types --out OUT.json", "store"),
    # arrays
    "convert --vectors": Door("convert WORLD/labelled57.csv OUT --vectors BAD", "array"),
    "zeroshot dedupe array": Door("zeroshot dedupe BAD OUT.csv --by likeness", "array"),
    **{f"{name} array": Door(line, "array") for name, line in looks(".").items()},
    # files of which the bytes count: their good one stands behind
    "zeroshot classify --only": Door(
        "zeroshot classify WORLD/store --out OUT.csv --prompts county --only BAD --features WORLD/features.npz",
        "bytes labels.txt",
        sums=False,
    ),
    "zeroshot classify --features": Door(
        f"zeroshot classify WORLD/store --out OUT.csv {ASK} --features BAD", "bytes features.npz", sums=False
    ),
    "zeroshot classify --regions": Door(
        f"zeroshot classify WORLD/store --out OUT.csv {ASK} --features WORLD/features.npz --way hard --regions BAD",
        "bytes regions.json",
        sums=False,
    ),
    "zeroshot label-counts --labels": Door(
        "zeroshot label-counts WORLD/captions --labels BAD --out OUT.csv --workers 1",
        "bytes labels.txt",
        sums=False,
    ),
    "zeroshot label-counts: captions": Door(
        "zeroshot label-counts BAD --labels WORLD/labels.txt --out OUT.csv --workers 1",
        "bytes captions/3.txt",
        sums=False,
    ),
    "zeroshot map --areas": Door(
        "zeroshot map WORLD/countries.csv OUT.html --areas BAD", "bytes areas.geojson", sums=False
    ),
    "places add --nations": Door(
        "places add WORLD/table.csv OUT.csv --columns nation --nations BAD", "bytes areas.geojson", sums=False
    ),
    "locate check: check.json": Door(
        f"locate check WORLD/store BAD {PLACES} --out OUT.csv", "bytes check.json", sums=False
    ),
    "train --config": Door(
        "train WORLD/store OUT --epochs 1 --config BAD", "bytes settings.toml", sums=False
    ),
    "convert --recipe": Door("convert WORLD/rows.jsonl OUT --recipe BAD", "bytes recipe.json", sums=False),
    "predict --model": Door("predict WORLD/store --model BAD --out OUT.csv", "bytes types.pth", sums=False),
    "context predict --model": Door(
        "context predict WORLD/store --model BAD --out OUT.csv", "bytes types.pth", sums=False
    ),
    "locate photographs --model": Door(
        "locate photographs WORLD/store --model BAD --gallery britain-50km --out OUT.csv",
        "bytes types.pth",
        sums=False,
    ),
    "coordinates predict --model": Door(
        "coordinates predict WORLD/store --model BAD --out OUT.csv", "bytes types.pth", sums=False
    ),
    "review rank --promise": Door(
        "review rank WORLD/store --model WORLD/types --out OUT.parquet --promise BAD",
        "bytes promise.json",
        sums=False,
    ),
    "review promise: queue": Door(
        "review promise BAD --answers WORLD/answers.sqlite --out OUT.json", "bytes queue.parquet", sums=False
    ),
    "review promise --answers": Door(
        "review promise WORLD/queue.parquet --answers BAD --out OUT.json", "bytes answers.sqlite", sums=False
    ),
    "review export": Door("review export BAD --out OUT.csv", "bytes answers.sqlite", sums=False),
    "review export --review-queue": Door(
        "review export WORLD/answers.sqlite --out OUT.json --form label-studio --review-queue BAD",
        "bytes queue.parquet",
        sums=False,
    ),
    "review report": Door("review report BAD", "bytes answers.sqlite", sums=False),
    "review import Label Studio": Door("review import BAD OUT.sqlite", "bytes studio.json", sums=False),
    "review import FiftyOne": Door(
        "review import BAD OUT.sqlite --reviewer anna", "bytes fiftyone.json", sums=False
    ),
    "export": Door("export BAD --out OUT.json", "bytes types.pth", sums=False),
}


# ---- the world


def _answer_lists(names: list[str]) -> list[dict]:
    """A row of results for each of 60 photographs."""
    return [
        {"Gold": names[n % 2], "Predictions": str(names), "Probabilities": "[0.6, 0.4]"} for n in range(60)
    ]


def make_tables(world: Path) -> dict[str, Table]:
    """The good table of each kind of door."""
    from geograph_types.context import CONTEXT

    place = pd.read_csv(world / "table.csv").to_dict("records")[:ROWS]
    rows = [json.loads(line) for line in (world / "rows.jsonl").read_text().splitlines()][:ROWS]
    number = [one["id"] for one in place]
    spot = [{"lat": one["lat"], "lon": one["lon"]} for one in place]
    photo = [str(world / f"photographs/{n % 5}.png") for n in range(ROWS)]
    with open(world / "downloads57/context.csv", newline="") as file:
        downloaded = [{**row, "gridimage_id": int(row["gridimage_id"])} for row in csv.DictReader(file)]
    names, tags = ["Kent", "Fife"], list(CONTEXT.columns)
    marks = [dict.fromkeys(tags, 0) | {tags[n % len(tags)]: 1} for n in range(ROWS)]
    everyone = pd.read_parquet(world / "prepared/labels.parquet").astype(int).to_dict("records")
    result = _answer_lists(names)[:ROWS]
    each = range(ROWS)

    def made(key: str | None, text: str, rows: list[dict], header: bool = True) -> Table:
        return Table(rows, key, text, header)

    keyed = [{"gridimage_id": one} for one in number]
    return {
        "rows": made("gridimage_id", "title", rows),
        "labelled": made(
            "gridimage_id", "title", [{k: v for k, v in r.items() if k != "embeddings"} for r in rows]
        ),
        "downloads": made("gridimage_id", "title", downloaded),
        "pe": made(
            "gridimage_id",
            "embeddings",
            [json.loads(x) for x in (world / "downloads57/pe.jsonl").read_text().splitlines()],
        ),
        "photographs table": made(
            "gridimage_id",
            "title",
            [{**keyed[n], "path": photo[n], "title": f"Synthetic {n}", **spot[n]} for n in each],
        ),
        "answers": made(
            "gridimage_id", "types", [{**keyed[n], "types": "Geograph", "weight": 2.0} for n in each]
        ),
        "gold": made("id", "label", [{"id": number[n], "label": names[n % 2]} for n in each], header=False),
        "labels": made("gridimage_id", tags[0], [{**keyed[n], **marks[n]} for n in each]),
        "all labels": made("gridimage_id", tags[0], everyone),
        "numbers": made("gridimage_id", "gridimage_id", keyed),
        "metadata": made(
            "gridimage_id", "title", [{**k, "title": "Synthetic", "grid_reference": "TQ3080"} for k in keyed]
        ),
        "prepared": made(
            "gridimage_id",
            "title",
            [{**keyed[n], "title": "A church", **spot[n], "path": photo[n]} for n in each],
        ),
        "gallery": made(None, "name", [{"name": f"Place {n}", **spot[n]} for n in each]),
        "img_file": made(
            None,
            "title",
            [
                {"IMG_FILE": photo[n], "LAT": spot[n]["lat"], "LON": spot[n]["lon"], "title": "x"}
                for n in each
            ],
        ),
        "img_id": made(
            "IMG_ID",
            "title",
            [{"IMG_ID": number[n], "LAT": spot[n]["lat"], "LON": spot[n]["lon"], "title": "x"} for n in each],
        ),
        "positions": made("gridimage_id", "title", [{**keyed[n], **spot[n], "title": "x"} for n in each]),
        "audit": made(
            "gridimage_id",
            "verdict",
            [{**keyed[n], "verdict": ("ok", "skip")[n % 2], **spot[n]} for n in each],
        ),
        "geograph": made(
            "gridimage_id", "imagetaken", [{**keyed[n], **spot[n], "imagetaken": "2011-05-01"} for n in each]
        ),
        "osv": made(
            "id",
            "unique_city",
            [
                {
                    "id": number[n],
                    "latitude": 32.5,
                    "longitude": -99.0 - n / 100,
                    "captured_at": 1_600_000_000_000,
                    "climate": 14,
                    "region": "Texas",
                    "unique_sub-region": "Some County",
                    "unique_city": "Some City",
                }
                for n in each
            ],
        ),
        "places": made("id", "split", place),
        "pictured": made(
            "id", "state", [{**place[n], "image_path": photo[n], "state": "Kent"} for n in each]
        ),
        "results": made("Filename", "Gold", [{**result[n], "Filename": number[n]} for n in each]),
        "six": made(
            "Filename",
            "Gold",
            [
                {**result[n], "Gold": ("church", "in", "a", "Kent", "Fife")[n % 5], "Filename": number[n]}
                for n in each
            ],
        ),
        "countries": made(
            "Filename",
            "Gold",
            [
                {
                    "Gold": "France",
                    "Predictions": "['France', 'Peru']",
                    "Probabilities": "[0.6, 0.4]",
                    "Filename": one,
                }
                for one in number
            ],
        ),
        "captions": made(None, "caption", [{"caption": f"a church in {names[n % 2]}"} for n in each]),
        "details": made("gridimage_id", "realname", [{**keyed[n], "realname": f"Anna {n}"} for n in each]),
        "doubtful": made(
            "photograph",
            "note",
            [{"photograph": number[n], "plausibility": 0.001, "away_km": 9.5, "note": "x"} for n in each],
        ),
    }


@dataclass(frozen=True)
class World:
    """The folder of the good inputs, and the tables of which bad ones are made."""

    folder: Path
    tables: dict[str, Table] = field(repr=False)

    def kinds(self, door: Door) -> dict[str, Kind]:
        """What can be handed in at a door."""
        if door.takes.startswith("bytes"):
            return TEXT_KINDS if door.takes.endswith(".txt") else BYTES_KINDS
        named = {
            "photographs": PHOTOGRAPH_KINDS,
            "store": STORE_KINDS,
            "array": ARRAY_KINDS,
            "rows": ROW_KINDS,
        }
        return named.get(door.takes, TABLE_KINDS)

    def rows(self, door: Door, kind: Kind) -> int | None:
        """How many rows the sum must be about."""
        good = self.good(door)
        if kind.rows != -1:
            return kind.rows
        beside = len(self.tables[door.beside].rows) if door.beside else 0
        return len(good.rows) + beside if isinstance(good, Table) else None

    def good(self, door: Door) -> "Table | Path":
        """The good input of a door."""
        if door.takes.startswith("bytes"):
            return self.folder / door.takes.removeprefix("bytes ")
        files = {"photographs": "photographs", "store": "shards", "array": "vectors57.npy"}
        return self.folder / files[door.takes] if door.takes in files else self.tables[door.takes]


def make_models(folder: Path) -> None:
    """Models of a network of random weights, which look at photographs."""
    from geograph_types.clip import clip_recipe
    from geograph_types.context import ContextHead
    from geograph_types.coordinates import (
        Backbone,
        CoordinateModel,
        CoordinatePredictor,
        DegreeTarget,
        PlaceLabels,
    )
    from geograph_types.model import GeographModel
    from geograph_types.retrieval import GeoModel
    from geograph_types.zeroshot import TextFeatures

    folder.mkdir()
    recipe = clip_recipe("ViT-S-32-alt", "random:1", image_size=64)
    GeographModel(clip_dim=recipe.dim, recipe=asdict(recipe)).save_pretrained(folder / "types")
    ContextHead("linear", ["img"], recipe=asdict(recipe)).save_pretrained(folder / "context")
    GeoModel(recipe.dim, 16, waves=8, hidden=16, dim=8, recipe=asdict(recipe)).save_pretrained(
        folder / "places"
    )
    backbone = Backbone("resnet18", "random:1", image_size=64)
    network = CoordinateModel(512, context=False, base_model=backbone.build())
    CoordinatePredictor(network, DegreeTarget(), PlaceLabels(), backbone=backbone).save(
        folder / "coordinates"
    )
    TextFeatures(("Kent", "Fife"), np.eye(2, recipe.dim, dtype=np.float32), 20.0, recipe).write(
        folder / "features.npz"
    )


def make_inputs(folder: Path) -> World:
    """All good inputs; what commands make of them is added by whoever runs these."""
    from geograph_types.data import convert
    from geograph_types.model import GeographModel
    from geograph_types.recipe import Recipe
    from geograph_types.synthetic import make_platform, write_downloads
    from geograph_types.zeroshot import TextFeatures

    make_world(folder)
    make_models(folder / "looks")
    convert(folder / "rows.jsonl", folder / "shards", dtype="float32", shard_size=30, quiet=True)
    np.save(folder / "vectors57.npy", np.load(next((folder / "store/img_emb").glob("*.npy")))[:ROWS])
    (folder / "downloads57").mkdir()
    write_downloads(folder / "downloads57", make_platform(ROWS, seed=1))
    ids = pd.read_csv(folder / "table.csv")["id"]
    pd.DataFrame(_answer_lists(["Kent", "Fife"])).assign(Filename=ids).to_csv(
        folder / "results60.csv", index=False
    )
    TextFeatures(("South", "North"), np.eye(2, 512, dtype=np.float32), 20.0).write(
        folder / "features-regions.npz"
    )
    (folder / "six.txt").write_text("\n".join(["church", "in", "a", "Kent", "Fife", "York"]))
    tables = make_tables(folder)
    for name in ("labelled", "results"):
        write(folder / f"{name}57", delimited(tables[name]))
    (folder / "osv/train_images/Texas").mkdir(parents=True)
    for row in tables["osv"].rows:
        Image.new("RGB", (8, 8)).save(folder / f"osv/train_images/Texas/{row['id']}.jpg")
    write(folder / "settings", "epochs = 1\n", ".toml")
    write(folder / "recipe", json.dumps(asdict(Recipe())), ".json")
    write(folder / "regions", '{"South": ["Kent"], "North": ["Fife"]}', ".json")
    GeographModel().save_checkpoint(folder / "types.pth")
    task = {"data": {"gridimage_id": int(ids[0])}, "annotations": []}
    write(folder / "studio", json.dumps([task]), ".json")
    named = {"classes": ["Geograph"], "labels": {str(ids[0]): "Geograph", str(ids[1]): None, "x": [7]}}
    write(folder / "fiftyone", json.dumps(named), ".json")
    return World(folder, tables)


MADE = {  # what commands make for other doors -> the line, and what it leaves
    "check.json": "locate calibrate WORLD/store out.json " + PLACES,
    "queue.parquet": "review rank WORLD/store --model WORLD/types --out out.parquet",
    "promise.json": "review promise WORLD/store --model WORLD/types --out out.json",
}
