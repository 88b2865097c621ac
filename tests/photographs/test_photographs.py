"""Photographs that are broken in every way we know of, sources that are, and servers that misbehave."""

import gzip
import http.server
import io
import itertools
import os
import pickle
import random
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFile, ImageOps, features

from geograph_types import fetch
from geograph_types.photographs import (
    REASONS,
    ImageError,
    PoliteFetcher,
    decode_image,
    exif_position,
    open_source,
    survey_source,
)
from geograph_types.photographs.web import _turn_file
from geograph_types.synthetic import KINDS, draw_photograph, write_photographs

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL"
)  # pytest undoes what `decode_image` has set
PICTURE = draw_photograph("Geograph", 5, (96, 72))


def encoded(image=PICTURE, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, depth, colour, rows, *more):
    """A PNG made by hand: Pillow writes neither bombs nor 16 bits a colour."""
    chunk = lambda name, body: (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    )
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def outcome(load):
    """The reason why `load` fails, or none; anything but an ImageError of our words is an error."""
    try:
        load()
    except ImageError as error:
        assert error.reason in REASONS and error.detail
        return error.reason


PHOTO = encoded(quality=90)
BOMB = png(60_000, 60_000, 8, 2, bytes(1000))


# Content


def heic():
    """A HEIC, if pillow-heif is there."""
    try:
        import pillow_heif
    except ImportError:
        return {}
    file = io.BytesIO()
    pillow_heif.from_pillow(PICTURE).save(file, quality=90)
    return {"HEIC": file.getvalue()}


GOOD = {
    "JPEG": PHOTO,
    "progressive JPEG": encoded(progressive=True),
    "PNG": encoded(kind="PNG"),
    "WebP": encoded(kind="WEBP"),
    "TIFF": encoded(kind="TIFF", compression="tiff_lzw"),
    "BMP": encoded(kind="BMP"),
    "PPM": encoded(kind="PPM"),
    "JPEG 2000": encoded(kind="JPEG2000"),
    "grey": encoded(PICTURE.convert("L")),
    "grey and alpha": encoded(PICTURE.convert("LA"), "PNG"),
    "one bit": encoded(PICTURE.convert("1"), "PNG"),
    "CMYK": encoded(PICTURE.convert("CMYK")),
    "CMYK TIFF": encoded(PICTURE.convert("CMYK"), "TIFF"),
    "palette": encoded(PICTURE.quantize(32), "PNG"),
    "palette with alpha of its own": encoded(PICTURE.quantize(32), "PNG", transparency=bytes(range(32))),
    "transparent colour": encoded(PICTURE, "PNG", transparency=(0, 0, 0)),
    "RGBA": encoded(PICTURE.convert("RGBA"), "PNG"),
    "animated GIF": encoded(PICTURE, "GIF", save_all=True, append_images=[Image.new("RGB", (96, 72))] * 2),
    "animated WebP": encoded(PICTURE, "WEBP", save_all=True, append_images=[Image.new("RGB", (96, 72))] * 2),
    "animated PNG": encoded(PICTURE, "PNG", save_all=True, append_images=[Image.new("RGB", (96, 72))] * 2),
    "two pages": encoded(PICTURE, "TIFF", save_all=True, append_images=[Image.new("RGB", (96, 72))]),
    "two lenses": encoded(PICTURE, "MPO", save_all=True, append_images=[Image.new("RGB", (96, 72))]),
    "rubbish behind it": PHOTO + b"rubbish" * 100,
    "EXIF that makes no sense": encoded(exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
    **({"AVIF": encoded(kind="AVIF", quality=90)} if features.check("avif") else {}),
    **heic(),
}
HEIC_BEGINNING = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
AVIF_BEGINNING = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(100)


@pytest.mark.parametrize("kind", GOOD)
def test_every_kind_of_picture_becomes_rgb(kind):
    picture = decode_image(GOOD[kind])
    assert (picture.mode, picture.size) == ("RGB", (96, 72))
    if kind not in ("one bit", "palette with alpha of its own"):
        wanted = PICTURE.convert("L").convert("RGB") if "grey" in kind else PICTURE
        assert np.abs(np.asarray(picture, float) - np.asarray(wanted, float)).mean() < 10


def test_an_ordinary_photograph_is_exactly_what_pillow_makes_of_it():
    assert decode_image(PHOTO).tobytes() == Image.open(io.BytesIO(PHOTO)).convert("RGB").tobytes()


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_orientation_is_turned_upright(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    lying = {
        1: PICTURE,
        2: ImageOps.mirror(PICTURE),
        3: PICTURE.rotate(180),
        4: ImageOps.flip(PICTURE),
        5: PICTURE.transpose(Image.Transpose.TRANSPOSE),
        6: PICTURE.rotate(90, expand=True),
        7: PICTURE.transpose(Image.Transpose.TRANSVERSE),
        8: PICTURE.rotate(-90, expand=True),
    }[turn]
    picture = decode_image(encoded(lying, "PNG", exif=exif))
    assert picture.tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize("order", "<>")
def test_sixteen_bits_of_grey_are_scaled(order):
    ramp = np.linspace(0, 65_535, 64).astype(f"{order}u2").reshape(8, 8)
    tags = struct.pack(order + "H", 8)
    for tag, value in ((256, 8), (257, 8), (258, 16), (259, 1), (262, 1), (273, 200), (278, 8), (279, 128)):
        tags += struct.pack(order + "HHII", tag, 4, 1, value)
    tiff = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + tags
    picture = decode_image(tiff.ljust(200, b"\0") + ramp.tobytes())
    assert np.abs(np.asarray(picture)[..., 0] - ramp / 257).max() <= 0.5


def test_sixteen_bits_a_colour_are_scaled():
    rows = np.zeros((4, 1 + 4 * 6), np.uint8)
    rows[:, 1:] = np.frombuffer(struct.pack(">HHH", 0x8000, 0xFFFF, 0x0100) * 4, np.uint8)
    assert decode_image(png(4, 4, 16, 2, rows.tobytes())).getpixel((1, 1)) == (128, 255, 1)


BAD = {
    "nothing": (b"", "empty"),
    "text": (b"This is not a photograph.", "not an image"),
    "a page": (b"<!DOCTYPE html><title>404</title>", "not an image"),
    "a program for a printer": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "a drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    "zeros": (bytes(5000), "not an image"),
    "half of a JPEG": (PHOTO[: len(PHOTO) // 2], "truncated"),
    "half of a PNG": (encoded(kind="PNG")[:2000], "truncated"),
    "half of a GIF": (encoded(PICTURE.quantize(32), "GIF")[:2000], "truncated"),
    "the first bytes of a JPEG": (PHOTO[:3], "damaged"),
    "half of a WebP": (encoded(kind="WEBP")[:500], "damaged"),
    "a PNG with a hole": (GOOD["PNG"][:3000] + bytes(500) + GOOD["PNG"][3500:], "damaged"),
    "a bomb": (BOMB, "too many pixels"),
    "a bomb in GIF": (
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + GOOD["animated GIF"][10:],
        "too many pixels",
    ),
    "a bomb in a comment": (
        png(4, 4, 8, 0, bytes(20), (b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
        "damaged",
    ),
    "a folder of photographs in a .zip": (b"PK\3\4" + bytes(500), "not an image"),
    **({"half of an AVIF": (GOOD["AVIF"][:150], "damaged")} if "AVIF" in GOOD else {}),
    **({"half of a HEIC": (GOOD["HEIC"][:150], "damaged")} if "HEIC" in GOOD else {}),
    "heights": (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "unsupported"),
    "counts": (encoded(Image.fromarray(np.full((4, 4), 10**6, np.int32)), "TIFF"), "unsupported"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_turned_away_with_a_reason(kind):
    data, reason = BAD[kind]
    assert outcome(lambda: decode_image(data)) == reason


@pytest.mark.parametrize(
    "data, kind, line",
    [
        (HEIC_BEGINNING, "HEIF", "pip install 'geograph_types[heic]'"),
        (AVIF_BEGINNING, "AVIF", "pip install 'pillow>=11.3'"),
    ],
)
def test_what_reads_a_kind_is_named_where_it_is_missing(data, kind, line, monkeypatch):
    monkeypatch.setattr("geograph_types.photographs.images._formats", lambda: ["JPEG", "PNG"])
    with pytest.warns(UserWarning, match=kind), pytest.raises(ImageError) as error:
        decode_image(data)
    assert (error.value.reason, error.value.detail) == ("needs a package", f"{kind}: {line}")


def test_a_bomb_is_turned_away_before_its_pixels_are_read(monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("its pixels were read"))
    assert outcome(lambda: decode_image(BOMB)) == "too many pixels"


def test_pictures_cut_anywhere_and_pictures_with_bytes_changed_are_pictures_or_have_a_reason():
    dice, reasons = random.Random(1), set()
    for data in GOOD.values():
        for _ in range(12):
            reasons.add(outcome(lambda: decode_image(data[: dice.randrange(len(data))])))
            changed = bytearray(data)
            for _ in range(dice.choice((1, 5, 50))):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            reasons.add(outcome(lambda: decode_image(bytes(changed))))
            exif_position(bytes(changed))
    assert {None, "truncated", "damaged"} <= reasons


def test_broken_files_print_nothing():
    """Pillow warns about much of what it meets; a run over a million files should not."""
    files = [
        GOOD["TIFF"][:300],
        GOOD["palette with alpha of its own"],
        GOOD["EXIF that makes no sense"],
        BOMB,
    ]
    code = (
        "import pickle, sys\nfrom geograph_types.photographs import ImageError, decode_image\n"
        "for data in pickle.load(sys.stdin.buffer):\n    try: decode_image(data)\n    except ImageError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(files), capture_output=True, check=True
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    "gps",
    [
        {2: (50.0, 49.0, 21.0), 4: (0.0, 8.0, 12.0)},  # no hemispheres
        {1: " ", 2: (50.0, 49.0, 21.0), 3: "W", 4: (0.0, 8.0, 12.0)},  # a hemisphere that says nothing
        {1: "N", 2: (50.0, 49.0, 21.0)},  # no longitude
        {1: "N", 2: (950.0, 49.0, 21.0), 3: "W", 4: (0.0, 8.0, 12.0)},
        {1: "N", 2: (50.0, 70.0, 21.0), 3: "W", 4: (0.0, 8.0, 12.0)},  # 70 minutes
        {},
    ],
)
def test_a_position_that_makes_no_sense_is_none(gps):
    exif = Image.Exif()
    exif[0x8825] = gps
    assert exif_position(encoded(exif=exif)) is None


def gps_in_exif(refs, lat, lon, kind):
    """EXIF by hand, for Pillow writes no signed fractions: kind 5 is RATIONAL, 10 SRATIONAL."""
    entries, values, start = [], b"", 26
    for tag, text, numbers in ((1, refs[0], None), (2, None, lat), (3, refs[1], None), (4, None, lon)):
        if text is not None:
            entries.append(struct.pack("<HHI4s", tag, 2, 2, text.encode() + b"\0"))
        else:
            entries.append(struct.pack("<HHII", tag, kind, len(numbers), start + 54 + len(values)))
            values += b"".join(struct.pack("<ii", *pair) for pair in numbers)
    head = b"Exif\0\0II*\0" + struct.pack("<I", 8) + struct.pack("<HHHIII", 1, 0x8825, 4, 1, start, 0)
    return head + struct.pack("<H", 4) + b"".join(entries) + struct.pack("<I", 0) + values


@pytest.mark.parametrize(
    "refs, lat, lon, kind, want",
    [
        ("SE", [(-38, 1), (1, 1), (31, 1)], [(145, 1), (17, 1), (20, 1)], 10, (-38.025278, 145.288889)),
        ("NW", [(515072, 10000)], [(1275, 10000)], 5, (51.5072, -0.1275)),
        ("NW", [(51, 1), (30432, 1000)], [(0, 1), (7650, 1000)], 5, (51.5072, -0.1275)),
    ],
)
def test_positions_as_programs_write_them(refs, lat, lon, kind, want):
    assert exif_position(encoded(exif=gps_in_exif(refs, lat, lon, kind))) == pytest.approx(want, abs=1e-6)


def test_a_folder_follows_links_once_and_names_what_it_passes_over(tmp_path):
    for name in ("real/x.jpg", "set/a.jfif", "set/b.PJPEG", "set/notes.doc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(GOOD["JPEG"])
    for link in ("more", "again"):
        (tmp_path / "set" / link).symlink_to("../real")
    (tmp_path / "set/round").symlink_to("..")
    with pytest.warns(UserWarning, match="passed over.*1 .doc"):
        names = [photograph.name.rpartition("/")[2] for photograph in open_source(tmp_path / "set")]
    assert sorted(names) == ["a.jfif", "b.PJPEG", "x.jpg"]


def test_a_position_divided_by_zero_is_none():
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (50.0, 49.0, 21.0), 3: "W", 4: (0.0, 8.0, 12.0)}
    good = data = encoded(exif=exif)
    for order in "<>":
        data = data.replace(struct.pack(f"{order}2L", 49, 1), struct.pack(f"{order}2L", 49, 0))
    assert exif_position(good) and exif_position(data) is None


def test_positions_are_read_in_every_hemisphere_without_decoding_the_picture():
    for north, east in itertools.product("NS", "EW"):
        exif = Image.Exif()
        exif[0x8825] = {1: north, 2: (10.0, 30.0, 0.0), 3: east, 4: (20.0, 15.0, 0.0)}
        data = encoded(exif=exif)
        wanted = 10.5 if north == "N" else -10.5, 20.25 if east == "E" else -20.25
        assert exif_position(data) == wanted
        assert exif_position(data[: len(data) // 2]) == wanted


def test_drawings_are_the_same_in_another_process():
    code = (
        "from geograph_types.synthetic import KINDS, draw_photograph\nimport hashlib\n"
        "print(*[hashlib.sha256(draw_photograph(kind, 3).tobytes()).hexdigest() for kind in KINDS])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "12"
    ]
    assert runs[0] == runs[1] and len(set(runs[0].split())) == len(KINDS)


# Sources


def write(path, data=PHOTO):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(source, below):
    return [os.path.relpath(photograph.name, below) for photograph in open_source(source)]


def test_a_folder_is_walked_in_order_and_hidden_and_other_files_are_left_out(tmp_path):
    for name in (
        "b/2.jpg",
        "b/1.JPG",
        "a/z.png",
        "a/notes.txt",
        "c.jpeg",
        ".hidden/1.jpg",
        "a/.thumb.jpg",
        "T.db",
    ):
        write(tmp_path / name)
    assert names(str(tmp_path / "**" / "*.jpg"), tmp_path) == ["b/2.jpg"]
    assert names(str(tmp_path / "a" / "*"), tmp_path) == [
        "a/notes.txt",
        "a/z.png",
    ]  # a pattern is taken at its word
    (tmp_path / "b" / "round").symlink_to(tmp_path)  # not followed
    assert names(tmp_path, tmp_path) == ["c.jpeg", "a/z.png", "b/1.JPG", "b/2.jpg"]


def test_hidden_photographs_and_folders_are_counted(tmp_path):
    for name in ("a.jpg", ".b.jpg", "._a.jpg", ".DS_Store", ".thumbs/a.jpg"):
        write(tmp_path / name)
    with pytest.warns(UserWarning, match="1 hidden .jpg, 1 hidden folders$"):
        assert names(tmp_path, tmp_path) == ["a.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (photograph,) = open_source(tmp_path)
    assert outcome(photograph.load) == "no such file"


def test_a_tar_is_known_by_its_content_and_links_by_any_spelling(tmp_path):
    with tarfile.open(tmp_path / "photographs.bin", "w") as archive:
        member = tarfile.TarInfo("./d/a.jpg")
        member.size = len(PHOTO)
        archive.addfile(member, io.BytesIO(PHOTO))
        for name, kind, target in (
            ("./d/soft.jpg", tarfile.SYMTYPE, "a.jpg"),
            ("d/hard.jpg", tarfile.LNKTYPE, "d/a.jpg"),
            ("chain.jpg", tarfile.SYMTYPE, "d/soft.jpg"),
            ("out.jpg", tarfile.SYMTYPE, "../a.jpg"),
        ):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    found = [outcome(photograph.load) for photograph in open_source(tmp_path / "photographs.bin")]
    assert found == [None] * 4 + ["bad row"]


def test_same_names_are_kept_apart(tmp_path):
    for name in ("a/1.jpg", "b/1.jpg", "a/1.png"):
        write(tmp_path / name)
    assert names(tmp_path, tmp_path) == ["a/1.jpg", "a/1.png", "b/1.jpg"]


def test_names_may_hold_anything(tmp_path):
    odd = ["[1].jpg", 'a,b "c".jpg', "é ☃.jpg", "new\nline.jpg", "*.jpg"]
    for name in odd:
        write(tmp_path / name)
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")))
    photographs = list(open_source(tmp_path))
    assert len(photographs) == 6 and all(photograph.load() == PHOTO for photograph in photographs)
    assert all(
        photograph.name.encode() for photograph in photographs
    )  # each is text that can be written down
    assert [p.load() for p in open_source(tmp_path / "[1].jpg")] == [PHOTO]
    assert len(survey_source(tmp_path)["sha256"]) == 64


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "jsonl", "jsonl.gz"])
def test_the_same_table_in_every_kind_of_file(tmp_path, kind):
    table = write_photographs(tmp_path, 14, size=(64, 48))
    table["lat"], table["lon"], table["weight"], table["colour"] = 54.5, -2.25, 0.5, "red"
    path = tmp_path / f"table.{kind}"
    if kind == "parquet":
        table.to_parquet(path)
    else:
        text = table.to_csv(index=False) if "csv" in kind else table.to_json(orient="records", lines=True)
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    photographs = list(open_source(path))
    for column in ("gridimage_id", "title", "types", "distance", "split", "weight"):
        assert [getattr(photograph, column) for photograph in photographs] == table[column].tolist()
    assert {photograph.position for photograph in photographs} == {(54.5, -2.25)}
    assert [outcome(photograph.load) for photograph in photographs] == [None] * 14


def test_a_careless_table(tmp_path):
    write(tmp_path / "a.jpg")
    rows = (
        "\ufeffpath,gridimage_id,lat,lon,weight",
        "a.jpg,1,54,-2,",
        "",
        "a.jpg,1.5,,,",
        "a.jpg,2,54,,",
        "a.jpg,3,540,-2,",
        "a.jpg,4,,,-1",
        ",5,,,",
        "a.jpg",
        "b.jpg,6,,,",
        "a.jpg,7,north,west,",
        "a.jpg,8,,,",
    )
    photographs = list(open_source(write(tmp_path / "careless.csv", "\r\n".join(rows).encode())))
    assert [photograph.line for photograph in photographs] == list(range(1, 11))
    assert [outcome(photograph.load) for photograph in photographs] == [
        None,
        "bad row",
        "bad row",
        "bad row",
        "bad row",
        "bad row",
        "bad row",
        "no such file",
        "bad row",
        None,
    ]
    assert (photographs[0].position, photographs[-1].gridimage_id) == ((54, -2), 8)


def test_a_parquet_table_with_gaps(tmp_path):
    write(tmp_path / "a.jpg")
    pd.DataFrame(
        {
            "path": ["a.jpg", None, "a.jpg"],
            "url": [None, "http://[bad", None],
            "gridimage_id": [1.0, 2.0, None],
            "title": ["A &amp; B", None, ""],
        }
    ).to_parquet(tmp_path / "gaps.parquet")
    photographs = list(open_source(tmp_path / "gaps.parquet"))
    assert [(p.gridimage_id, p.title) for p in photographs] == [(1, "A & B"), (2, None), (None, "")]
    assert [outcome(photograph.load) for photograph in photographs] == [None, "bad address", None]


def pack(path, files, kind=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=kind) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_of_every_format(tmp_path, kind):
    long = "a" * 80 + "/" + "b" * 90 + ".jpg"
    files = {
        "x/0.jpg": PHOTO,
        "x/0.txt": "Title é".encode(),
        "x/0.cls": b"3",
        long: PHOTO + b"1",
        "y.left.jpg": PHOTO + b"2",
        "y.right.jpg": PHOTO + b"3",
        "y.json": b'{"gridimage_id": 9, "title": "Two"}',
        "._junk.jpg": b"",
        "z.json": b"[1]",
        "z.jpg": PHOTO,
        "w.json": b"{",
        "w.jpg": PHOTO,
    }
    photographs = list(open_source(pack(tmp_path / "a.tar", files, kind)))
    assert [p.title for p in photographs] == ["Title é", None, "Two", "Two", None, None]
    assert [outcome(p.load) for p in photographs] == [None] * 4 + ["bad row"] * 2
    assert [p.load()[-1:] for p in photographs[1:4]] == [b"1", b"2", b"3"]


def test_an_archive_cut_anywhere_gives_what_it_holds_and_says_that_it_was_cut(tmp_path):
    files = {f"{n}.{kind}": data for n in range(4) for kind, data in (("jpg", PHOTO), ("txt", b"Title"))}
    whole = pack(tmp_path / "whole.tar", files).read_bytes()
    starts = [
        member.offset_data for member in tarfile.open(tmp_path / "whole.tar") if member.name.endswith("jpg")
    ]
    for length in [*range(0, len(whole) - 1024 * 8, 512), *range(100, len(whole) - 1024 * 8, 1700)]:
        photographs = list(open_source(write(tmp_path / "cut.tar", whole[:length])))
        good = sum(outcome(photograph.load) is None for photograph in photographs)
        complete = sum(start + len(PHOTO) <= length for start in starts)
        assert complete - 1 <= good <= complete  # the last may lack its title
        if length < starts[-1]:
            assert outcome(photographs[-1].load) == "truncated"


def test_an_archive_damaged_in_its_middle_does_not_end_quietly(tmp_path):
    whole = bytearray(pack(tmp_path / "whole.tar", {f"{n}.jpg": PHOTO for n in range(4)}).read_bytes())
    second = 512 + -(-len(PHOTO) // 512) * 512
    whole[second : second + 512] = os.urandom(512)
    outcomes = [outcome(p.load) for p in open_source(write(tmp_path / "damaged.tar", bytes(whole)))]
    assert outcomes == [None, "truncated"]
    assert [outcome(p.load) for p in open_source(write(tmp_path / "photo.tar", PHOTO))] == ["truncated"]


def test_a_source_with_nothing_in_it_is_reported_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a photograph, a folder"):
        open_source(tmp_path / "nowhere")
    table, archive = write(tmp_path / "t.csv", b"path\n"), pack(tmp_path / "e.tar", {})
    for empty in (tmp_path, [], str(tmp_path / "*.jpg"), table, archive):
        with pytest.raises(ValueError, match="no photographs found"):
            list(open_source(empty))


def test_a_resumed_run_meets_the_same_photographs_under_the_same_numbers(tmp_path):
    write_photographs(tmp_path, 10, size=(32, 24))
    pack(tmp_path / "more.tar", {f"{n}.jpg": PHOTO for n in range(5)})
    source = [tmp_path, tmp_path / "photographs.csv", tmp_path / "gone.jpg"]
    first, second = list(open_source(source)), list(open_source(source))
    assert first == second and [p.line for p in first] == list(range(1, 27))
    assert [p.load() for p in first[:-1]] == [p.load() for p in pickle.loads(pickle.dumps(second[:-1]))]
    assert survey_source(source) == survey_source(source) and survey_source(source)["photographs"] == 26


# The web


class Server(http.server.ThreadingHTTPServer):
    """Serves `pages`: path -> a function of the handler, or the bytes to send."""

    daemon_threads = True
    request_queue_size = 50  # a dozen ask at once, and one that is turned away asks again a second later

    def __init__(self, pages):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.asked, self.site = pages, [], f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, *args):  # clients hang up on some of these answers
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((time.monotonic(), self.path, self.headers["User-Agent"]))
        page = self.server.pages.get(self.path.partition("?")[0])
        if isinstance(page, bytes):
            return self.send(200, page)
        page(self) if page else self.send(404)

    def log_message(self, *args):
        pass

    def send(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, pause, count, piece=b"\xff\xd8\xff"):
        """Sends pieces without ever saying how many."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(count):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(pause)


def status(code, **headers):
    return lambda handler: handler.send(code, **headers)


def in_turn(*answers):
    answers = iter(answers)
    return lambda handler: next(answers)(handler)


def hang_up(handler):
    handler.send(200, PHOTO[:500], len(PHOTO))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


TROUBLES = {  # path: what it does, what becomes of it, and how many requests that takes with two retries
    "/photo.jpg": (PHOTO, None, 1),
    "/slow.jpg": (lambda handler: (time.sleep(0.3), handler.send(200, PHOTO)), None, 1),
    "/stalls.jpg": (lambda handler: time.sleep(3), "timeout", 3),
    "/drips.jpg": (lambda handler: handler.drip(0.1, 60), "timeout", 3),
    "/endless.jpg": (lambda handler: handler.drip(0, 10**6, bytes(65_536)), "too large", 1),
    "/huge.jpg": (lambda handler: handler.send(200, b"", 10**12), "too large", 1),
    "/moved.jpg": (status(302, Location="/photo.jpg"), None, 1),
    "/round.jpg": (status(302, Location="/round.jpg"), "too many redirects", 6),
    "/local.jpg": (status(302, Location="file:///etc/hostname"), "bad address", 1),
    "/promises.jpg": (hang_up, "no connection", 3),
    "/less.jpg": (lambda handler: handler.send(200, PHOTO, 300, Connection="close"), "truncated", 1),
    "/gone.jpg": (status(410), "not found", 1),
    "/missing.jpg": (None, "not found", 1),
    "/private.jpg": (status(403), "refused", 1),
    "/nothing.jpg": (b"", "empty", 1),
    "/down.jpg": (status(500), "server error", 3),
    "/recovers.jpg": (in_turn(status(503), status(502), lambda handler: handler.send(200, PHOTO)), None, 3),
    "/page.jpg": (b"<html>Please log in</html>", "not an image", 1),
    "/bomb.jpg": (BOMB, "too many pixels", 1),
    "/half.jpg": (PHOTO[: len(PHOTO) // 2], "truncated", 1),
}


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(fetch, "_FIRST_WAIT_S", 0.01)
    servers = []
    yield lambda pages: servers.append(Server(pages)) or servers[-1]
    for server in servers:
        server.shutdown()
        server.server_close()


def test_every_photograph_of_a_table_of_addresses_is_accounted_for(serve, tmp_path):
    server = serve({path: page for path, (page, *_) in TROUBLES.items() if page is not None})
    addresses = [server.site + path for path in TROUBLES] + [
        "http://127.0.0.1:9/closed.jpg",
        "ftp://example.org/a.jpg",
    ]
    pd.DataFrame({"url": addresses, "title": "A photograph"}).to_csv(tmp_path / "addresses.csv", index=False)
    fetcher = PoliteFetcher(
        tmp_path / "cache", requests_per_second=200, retries=2, max_bytes=100_000, seconds=1.5
    )

    def run():
        photographs = list(open_source(tmp_path / "addresses.csv", fetcher))
        with ThreadPoolExecutor(12) as workers:
            return list(
                workers.map(lambda photograph: outcome(lambda: decode_image(photograph.load())), photographs)
            )

    wanted = [reason for _, reason, _ in TROUBLES.values()] + ["no connection", "no such file"]
    assert dict(zip(addresses, run())) == dict(zip(addresses, wanted))
    asked = [path for _, path, _ in server.asked]
    expected = {path: count for path, (*_, count) in TROUBLES.items()}
    expected["/photo.jpg"] += 1  # for /moved.jpg
    assert {path: asked.count(path) for path in expected} == expected
    assert all(agent.startswith("geograph_types/") for *_, agent in server.asked)

    server.asked.clear()
    assert run() == wanted  # what arrived, good or bad, is not fetched again
    asked_again = {path for _, path, _ in server.asked}
    assert asked_again == {
        path
        for path, (_, reason, _) in TROUBLES.items()
        if reason not in (None, "not an image", "too many pixels", "truncated")
    }


def test_addresses_in_a_list_are_fetched_once_however_many_ask_at_once(serve, tmp_path):
    server = serve({"/photo.jpg": lambda handler: (time.sleep(0.2), handler.send(200, PHOTO))})
    fetcher = PoliteFetcher(tmp_path, requests_per_second=100)
    photographs = list(open_source([f"{server.site}/photo.jpg#{n}" for n in range(8)], fetcher))
    with ThreadPoolExecutor(8) as workers:
        assert set(workers.map(lambda photograph: photograph.load(), photographs)) == {PHOTO}
    assert len(server.asked) == 1
    assert [path.name for path in tmp_path.rglob("*.lock") if path.parent.name != "hosts"] == []


def test_the_rate_is_kept_across_threads_processes_and_redirects(serve, tmp_path):
    server = serve({"/photo.jpg": PHOTO, "/moved.jpg": status(301, Location="/photo.jpg")})
    code = (
        "import sys\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "from geograph_types.photographs import PoliteFetcher\n"
        "site, folder, me = sys.argv[1:]\nfetcher = PoliteFetcher(folder, requests_per_second=20)\n"
        "addresses = [f'{site}/moved.jpg?{me}{n}' for n in range(6)]\nprint('ready', flush=True)\ninput()\n"
        "with ThreadPoolExecutor(6) as workers: list(workers.map(fetcher.fetch, addresses))\n"
    )
    visitors = [
        subprocess.Popen(
            [sys.executable, "-c", code, server.site, str(tmp_path), me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in "ab"
    ]
    assert [visitor.stdout.readline() for visitor in visitors] == ["ready\n"] * 2
    started = time.time()
    for visitor in visitors:
        visitor.stdin.write("\n")
        visitor.stdin.flush()
    assert [visitor.wait(60) for visitor in visitors] == [0, 0]
    seconds = time.time() - started
    for visitor in visitors:
        visitor.communicate()  # closes the pipes
    assert len(server.asked) == 24
    assert seconds > 23 / 20 - 0.01  # 23 of them wait for a twentieth of a second


def test_a_request_for_patience_holds_for_everyone_and_has_a_limit(serve, tmp_path, monkeypatch):
    server = serve(
        {
            "/busy.jpg": in_turn(status(429, Retry_After=1), lambda handler: handler.send(200, PHOTO)),
            "/never.jpg": status(429, Retry_After=10**6),
            "/photo.jpg": PHOTO,
        }
    )
    fetcher = PoliteFetcher(tmp_path, requests_per_second=100, retries=1)
    with ThreadPoolExecutor(4) as workers:
        busy = workers.submit(fetcher.fetch, f"{server.site}/busy.jpg")
        turn = _turn_file(tmp_path, server.site.removeprefix("http://"))
        while not turn.exists() or turn.stat().st_mtime < time.time() + 0.5:
            time.sleep(0.01)
        others = [workers.submit(fetcher.fetch, f"{server.site}/photo.jpg?{n}") for n in range(3)]
        assert {busy.result(), *[other.result() for other in others]} == {PHOTO}
    assert min(moment for moment, *_ in server.asked[1:]) - server.asked[0][0] > 0.95

    monkeypatch.setattr("geograph_types.photographs.web._LONGEST_HOLD_S", 0.3)
    monkeypatch.setattr(fetch, "_LONGEST_ASKED_WAIT_S", 0.3)
    assert outcome(lambda: fetcher.fetch(f"{server.site}/never.jpg")) == "server error"


def test_a_clock_that_was_set_back_does_not_stop_the_work(tmp_path, monkeypatch, serve):
    server = serve({"/photo.jpg": PHOTO})
    fetcher = PoliteFetcher(tmp_path, requests_per_second=100)
    fetcher.fetch(f"{server.site}/photo.jpg")
    monkeypatch.setattr("geograph_types.photographs.web._LONGEST_HOLD_S", 0.2)
    for turn in (tmp_path / "hosts").iterdir():
        os.utime(turn, (time.time() + 10**6,) * 2)
    started = time.monotonic()
    fetcher.fetch(f"{server.site}/photo.jpg?2")
    assert time.monotonic() - started < 100
