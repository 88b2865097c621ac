"""Every command that writes something, on a small world of synthetic inputs, in this process or in one that dies."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd

# command -> its line: {0} is the folder of the inputs, OUT what it makes
COMMANDS = {
    "sample": "sample OUT.jsonl --rows 50",
    "convert": "convert {0}/rows.jsonl OUT --shard-size 30",
    "convert a store": "convert {0}/store OUT --dtype int8",
    "convert downloads": "convert {0}/downloads/context.csv {0}/downloads/pe.jsonl OUT",
    "embed": "embed {0}/photographs OUT --clip ViT-S-32-alt --pretrained random:1 --image-size 64 --shard-size 2",
    "evaluate": "evaluate {0}/store --model {0}/types --report OUT.html",
    "predict": "predict {0}/rows.jsonl --model {0}/types --out OUT.csv",
    "export": "export {0}/types --out OUT.json",
    "suggest": "suggest {0}/store --model {0}/types --out OUT.csv",
    "suggest with pages": "suggest {0}/store --model {0}/types --out OUT.csv --pages pages",
    "context prepare": "context prepare {0}/challenge OUT",
    "context pictures": "context pictures {0}/prepared OUT",
    "context evaluate": "context evaluate {0}/prepared {0}/store --model {0}/context --figure OUT.png",
    "context submit": "context submit {0}/prepared {0}/store OUT.csv.zip --model {0}/context",
    "context predict": "context predict {0}/store --model {0}/context --out OUT.csv",
    "locate photographs": "locate photographs {0}/store --model {0}/places --gallery britain-50km --out OUT.csv",
    "locate words": "locate words {0}/labels.txt --model {0}/words --gallery britain-50km --map OUT.png",
    "locate evaluate": "locate evaluate {0}/store --model {0}/places --gallery britain-50km --all --out OUT.csv",
    "locate calibrate": "locate calibrate {0}/store OUT.json --model {0}/places --gallery britain-50km",
    "locate check": "locate check {0}/store {0}/check.json --model {0}/places --gallery britain-50km --out OUT.csv",
    "coordinates prepare geograph": "coordinates prepare geograph {0}/rows.jsonl OUT.csv",
    "coordinates prepare osv": "coordinates prepare osv {0} OUT.csv",
    "coordinates evaluate": "coordinates evaluate {0}/table.csv --model {0}/coordinates --store {0}/store "
    "--report OUT.html",
    "coordinates predict": "coordinates predict {0}/store --model {0}/coordinates --out OUT.csv",
    "places add": "places add {0}/table.csv OUT.csv --columns climate",
    "places climates": "places climates {0}/table.csv OUT.csv --per split",
    "places plot": "places plot {0}/table.csv OUT.png",
    "places errors": "places errors {0}/table.csv {0}/table.csv --out OUT.csv",
    "zeroshot classify": "zeroshot classify {0}/vectors.npy --out OUT.csv --prompts county --only {0}/labels.txt "
    "--features {0}/features.npz --piece-rows 5",
    "zeroshot score": "zeroshot score {0}/results.csv --out OUT.csv",
    "zeroshot confusion": "zeroshot confusion {0}/results.csv --out OUT.csv --figure OUT.png",
    "zeroshot map": "zeroshot map {0}/countries.csv OUT.html --areas {0}/areas.geojson",
    "zeroshot label-counts": "zeroshot label-counts {0}/captions --labels {0}/labels.txt --out OUT.csv --workers 1",
    "zeroshot dedupe by position": "zeroshot dedupe {0}/table.csv OUT.csv",
    "zeroshot dedupe by likeness": "zeroshot dedupe {0}/vectors.npy OUT.csv --by likeness",
    "review rank": "review rank {0}/store --model {0}/types --out OUT.parquet",
    "review promise": "review promise {0}/store --model {0}/types --out OUT.json",
    "review export": "review export {0}/answers.sqlite --out OUT.csv",
    "review report": "review report {0}/answers.sqlite --out OUT.html",
    "demo": "demo OUT",
}
STEPS = (
    "convert",
    "embed",
    "prepare",
    "classify",
    "label-counts",
    "likeness",
    "pictures",
    "pages",
    "demo",
)  # what is done in several steps
NEEDS = {  # what is in an extra
    "zeroshot label-counts": "ahocorasick_rs",
    "embed": "open_clip",
    "locate words": "open_clip",
    "context pictures": "wordcloud",
}


def make_world(folder: Path) -> None:
    """Inputs of all commands: photographs, rows, stores, tables, models; nothing in them is real."""
    from PIL import Image

    from geograph_types.context import CONTEXT, ContextHead
    from geograph_types.coordinates import CoordinateModel, CoordinatePredictor, PlaceLabels, SphereTarget
    from geograph_types.data import convert
    from geograph_types.model import GeographModel
    from geograph_types.recipe import Recipe
    from geograph_types.retrieval import GeoModel
    from geograph_types.review import Answer, AnswerFile
    from geograph_types.synthetic import VectorStatistics, make_platform, write_downloads, write_sample
    from geograph_types.zeroshot import TextFeatures

    rows, dice = 60, np.random.default_rng(0)
    write_sample(folder / "rows.jsonl", rows)
    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    lat, lon = dice.uniform(51, 56, rows).round(4), dice.uniform(-4, 0, rows).round(4)
    split = (["tra"] * 6 + ["val"] * 2 + ["tes"] * 2) * 6
    for line, *place in zip(lines, lat.tolist(), lon.tolist(), split):
        line |= dict(zip(("lat", "lon", "split"), place))
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    convert(folder / "rows.jsonl", folder / "store", dtype="float32", quiet=True)
    ids = [line["gridimage_id"] for line in lines]
    table = pd.DataFrame({"id": ids, "lat": lat, "lon": lon, "split": split})
    table.to_csv(folder / "table.csv", index=False)
    (folder / "photographs").mkdir()
    names = [f"photographs/{row % 5}.png" for row in range(rows)]
    table.assign(image_path=names, state="Kent").to_csv(folder / "pictured.csv", index=False)
    (folder / "downloads").mkdir()
    write_downloads(folder / "downloads", make_platform(30, seed=1))
    for number in range(5):
        Image.new("RGB", (64, 48), (40 * number, 90, 30)).save(folder / f"photographs/{number}.png")
    for name in ("prepared", "challenge", "captions"):
        (folder / name).mkdir()
    labels = pd.DataFrame(np.eye(49, dtype=np.uint8)[np.arange(rows) % 49], columns=CONTEXT.columns)
    labels.assign(gridimage_id=ids).to_parquet(folder / "prepared/labels.parquet")
    pd.DataFrame({"gridimage_id": ids}).to_parquet(folder / "prepared/test.parquet")
    pictured = pd.DataFrame({"gridimage_id": ids, "title": "A synthetic church", "lat": lat, "lon": lon})
    pictured["path"] = [str(folder / name) for name in names]
    pictured.to_parquet(folder / "prepared/train.parquet")
    named = labels.copy()
    named.insert(0, "gridimage_id", ids)
    named[:40].to_csv(folder / "challenge/train.csv", index=False)
    named[["gridimage_id"]][40:].to_csv(folder / "challenge/test.csv", index=False)
    metadata = {"gridimage_id": ids, "title": "Synthetic", "grid_reference": "TQ3080"}
    pd.DataFrame(metadata).to_csv(folder / "challenge/metadata.csv", index=False)
    osv = {"id": ["1"], "latitude": [32.0], "longitude": [-99.0], "captured_at": [1_600_000_000_000]}
    osv |= {
        "climate": [14],
        "region": ["Texas"],
        "unique_sub-region": ["Some County"],
        "unique_city": ["Some City"],
    }
    pd.DataFrame(osv).to_csv(folder / "train_mini.csv", index=False)
    (folder / "train_images/Texas").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(folder / "train_images/Texas/1.jpg")
    GeographModel().save_pretrained(folder / "types")
    ContextHead("linear", ["img"], "waves").save_pretrained(folder / "context")
    GeoModel(512, 16, waves=8, hidden=16, dim=8).save_pretrained(folder / "places")
    network = CoordinateModel(512, 3, context=False)
    CoordinatePredictor(network, SphereTarget(), PlaceLabels(), recipe=Recipe()).save(folder / "coordinates")
    small = {"model": "ViT-S-32-alt", "pretrained": "random:1", "dim": 256}
    GeoModel(256, 16, waves=8, hidden=16, dim=8, recipe=small).save_pretrained(folder / "words")
    session = AnswerFile(folder / "answers.sqlite").session("anna")
    session.record(*(Answer(number, "accept", "Geograph", "Geograph", kind="random") for number in ids[:5]))
    np.save(folder / "vectors.npy", VectorStatistics.of("image").draw(20, dice))
    TextFeatures(("Kent", "Fife"), np.eye(2, 512, dtype=np.float32), 20.0).write(folder / "features.npz")
    (folder / "labels.txt").write_text("Kent\nFife\n")
    for number in range(4):
        (folder / f"captions/{number}.txt").write_text("a church in Kent\n" * (number + 1))
    result = "\t['Kent', 'Fife']\t[0.6, 0.4]\n"
    results = "Gold\tPredictions\tProbabilities\n" + f"Kent{result}Fife{result}"
    (folder / "results.csv").write_text(results)
    corners = [[[0, 40], [5, 40], [5, 50], [0, 40]]]
    areas = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Polygon", "coordinates": corners},
        }
        for name in ("France", "Peru")
    ]
    (folder / "areas.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": areas}))
    (folder / "countries.csv").write_text(results.replace("Kent", "France").replace("Fife", "Peru"))


def line_of(name: str, world: Path) -> list[str]:
    """The words of a command whose output is `out` in the current folder."""
    return COMMANDS[name].format(world).replace("OUT", "out").split()


def run(words: list[str], folder: Path) -> tuple[int, str]:
    """A command in this process, in a folder; its exit status and, where it ends with a sentence, that."""
    from geograph_types.cli.root import main

    if words[0] == "demo":
        from geograph_types.demo import run_demo

        run_demo.__defaults__ = ("geograph-demo", 300, 2, True)  # smaller than it is shown to people
    before, argv, handler = Path.cwd(), sys.argv, signal.signal
    os.chdir(folder)
    sys.argv, signal.signal = ["geograph-types", *words], lambda *_: None
    try:
        main()
    except SystemExit as end:
        return (end.code or 0, "") if isinstance(end.code, (int, type(None))) else (1, end.code)
    finally:
        sys.argv, signal.signal = argv, handler
        os.chdir(before)
    return 0, ""


def die(words: list[str], folder: str, moment: int) -> None:
    """The same, killed before or after one of the moments when a file goes into its place."""
    moments, renames = iter(range(1, 10_000)), {name: getattr(os, name) for name in ("replace", "rename")}

    def when_due() -> None:
        if next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def moving(name: str):
        def move(*paths, **options) -> None:
            when_due()
            renames[name](*paths, **options)
            when_due()

        return move

    for name in renames:
        setattr(os, name, moving(name))
    sys.stdout = sys.stderr = open(os.devnull, "w")
    raise SystemExit(run(words, Path(folder))[0])
