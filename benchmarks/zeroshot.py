"""Zero-shot, label counts and near-duplicates: ours, and the published ways on a sample, in one run.

    python benchmarks/zeroshot.py [--captions 5000000] [--positions 750000] [--vectors 100000] [--json FILE]

Published ways: for counts as words, one search for each label in each caption, anywhere in it; for counts as tokens,
each caption through CLIP's tokenizer, and a test for each label whether its tokens are among the caption's. Both are
timed on a sample, before and after ours, and compared by the caption. Everything is synthetic: captions are generated
with a known number of names. Each task has a process of its own, whose peak memory is given.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LABELS = 115
FILES = 20


def labels() -> list[str]:
    from geograph_types.places import UN_MEMBERS

    return sorted({*UN_MEMBERS[: LABELS - 2], "Niger", "Nigeria"})[:LABELS]


def words(dice: random.Random) -> list[str]:
    """Synthetic words; none holds a label."""
    syllables = [
        "ka",
        "lo",
        "mi",
        "ter",
        "vin",
        "sho",
        "pra",
        "gle",
        "un",
        "est",
        "ri",
        "do",
        "wa",
        "qui",
        "ble",
        "ny",
    ]
    return ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(30_000)]


def write_corpus(folder: Path, captions: int) -> dict[str, int]:
    """Captions of some ten words in twenty files, and how many hold each label."""
    dice, names = random.Random(1), labels()
    vocabulary, held = words(dice), dict.fromkeys(names, 0)
    folder.mkdir()
    for number in range(FILES):
        lines = []
        for _ in range(captions // FILES):
            line = dice.choices(vocabulary, k=dice.randint(6, 14))
            chance = dice.random()
            if chance < 0.15:
                line[dice.randrange(len(line))] = name = names[int(dice.random() ** 3 * len(names))]
                held[name] += 1
            elif chance < 0.2:
                line[0] = "Nigerian"  # holds the letters of Niger and Nigeria, and neither word
            lines.append(" ".join(line))
        (folder / f"{number:02}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return held


def sample(folder: Path, count: int) -> list[str]:
    lines = []
    for path in sorted(folder.glob("*.txt")):
        with open(path, encoding="utf-8") as file:
            lines += [next(file).rstrip("\n") for _ in range(count // FILES)]
    return lines


def published_words(captions: list[str], names: list[str]) -> float:
    """Seconds a caption: every label is looked for in every caption."""
    small, counts = [name.lower() for name in names], dict.fromkeys(names, 0)
    started = time.perf_counter()
    for caption in captions:
        caption = caption.lower()
        for name, lower in zip(names, small):
            if lower in caption:
                counts[name] += 1
    return (time.perf_counter() - started) / len(captions)


def published_tokens(captions: list[str], names: list[str]) -> float:
    """Seconds a caption: CLIP's tokenizer, and the tokens of every label among them."""
    from open_clip import get_tokenizer

    tokenizer = get_tokenizer("ViT-B-32")
    wanted, counts = [set(tokenizer.encode(name)) for name in names], [0] * len(names)
    started = time.perf_counter()
    for caption in captions:
        tokens = set(tokenizer(caption)[0].tolist())
        for number, label in enumerate(wanted):
            if label <= tokens:
                counts[number] += 1
    return (time.perf_counter() - started) / len(captions)


def count(folder: Path, method: str) -> dict:
    """Ours on the whole corpus, the published way on a sample before and after."""
    from geograph_types.zeroshot import count_labels

    names, held = labels(), json.loads((folder / "held.json").read_text())
    published = published_words if method == "words" else published_tokens
    captions = sample(folder / "captions", 40_000 if method == "words" else 4_000)
    before = published(captions, names)
    started = time.perf_counter()
    table = count_labels(
        [folder / "captions"], names, folder / f"journal-{method}", method, nested=False, quiet=True
    )
    seconds = time.perf_counter() - started
    after = published(captions, names)
    found = table.set_index("label")["count"].to_dict()
    exact = found == held
    theirs, ours = (before + after) / 2, seconds / table.attrs["captions"]
    return {
        "captions": table.attrs["captions"],
        "seconds": seconds,
        "ours_us": 1e6 * ours,
        "published_us": 1e6 * theirs,
        "ratio": theirs / ours,
        "known answer": exact,
    }


def count_words(folder: Path, options) -> dict:
    return count(folder, "words")


def count_tokens(folder: Path, options) -> dict:
    return count(folder, "tokens")


def classify(folder: Path, options) -> dict:
    """11,500 embeddings, 115 prompts, answers at once; the prompts are encoded once before."""
    from geograph_types.zeroshot import TextFeatures, classify

    rng = np.random.default_rng(0)
    features = rng.normal(size=(LABELS, 768)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    text = TextFeatures(tuple(map(str, range(LABELS))), features, 100.0)
    vectors = rng.normal(size=(11_500, 768)).astype(np.float32)
    started = time.perf_counter()
    classify(vectors, text)
    return {"seconds": time.perf_counter() - started}


def brute_force(unit: np.ndarray, limit: float) -> np.ndarray:
    """Which rows are kept if each is compared with all kept before: by inner product."""
    kept: list[int] = []
    for row in range(len(unit)):
        if not kept or (unit[kept] @ unit[row]).max() <= limit:
            kept.append(row)
    return np.array(kept)


def positions(folder: Path, options) -> dict:
    """Sequences of photographs 45 m apart along 2,500 roads."""
    from geograph_types.earth import unit_vectors
    from geograph_types.photographs import near_duplicates

    rng, road = np.random.default_rng(0), np.arange(options.positions) // 300
    start, heading = rng.uniform(-60, 60, (road[-1] + 1, 2)), rng.uniform(0, 2 * np.pi, road[-1] + 1)
    along = np.arange(options.positions) % 300 * 0.0004
    lat = start[road, 0] + along * np.cos(heading[road])
    lon = start[road, 1] + along * np.sin(heading[road]) / np.cos(np.radians(lat))
    started = time.perf_counter()
    kept = near_duplicates(lat, lon) < 0
    seconds = time.perf_counter() - started
    few = rng.permutation(options.positions)[:200]
    few = np.concatenate([np.arange(3000), few])  # whole roads, and some others
    same = brute_force(unit_vectors(lat[few], lon[few]), np.cos(1 / 6371))
    equal = np.array_equal(np.flatnonzero(near_duplicates(lat[few], lon[few]) < 0), same)
    return {"seconds": seconds, "kept": int(kept.sum()), "equals brute force on a sample": bool(equal)}


def likeness(folder: Path, options) -> dict:
    """Vectors around fewer places than there are vectors, so that about half have a near-copy."""
    from geograph_types.photographs import similar_photographs

    rng, rows = np.random.default_rng(0), options.vectors
    places = rng.normal(size=(int(rows * 0.6), 512)).astype(np.float32)
    vectors = places[rng.integers(len(places), size=rows)]
    vectors += 0.2 * rng.normal(size=vectors.shape).astype(np.float32)
    started = time.perf_counter()
    kept = similar_photographs(vectors) < 0
    seconds = time.perf_counter() - started
    few = vectors[:3000] / np.linalg.norm(vectors[:3000], axis=1, keepdims=True)
    equal = np.array_equal(np.flatnonzero(similar_photographs(vectors[:3000]) < 0), brute_force(few, 0.9))
    return {"seconds": seconds, "kept": int(kept.sum()), "equals brute force on a sample": bool(equal)}


TASKS = {
    function.__name__: function for function in (classify, count_words, count_tokens, positions, likeness)
}
TARGETS = {
    "classify": "< 1 s",
    "count_words": ">= 3x, known answer",
    "count_tokens": ">= 20x",
    "positions": "minutes, < 4 GB",
    "likeness": "minutes, < 4 GB",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=int, default=5_000_000)
    parser.add_argument("--positions", type=int, default=750_000)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        numbers = TASKS[options.task](options.folder, options)
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(json.dumps(numbers | {"peak_mb": peak / 1024}))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if {"count_words", "count_tokens"} & set(options.only):
            (folder / "held.json").write_text(json.dumps(write_corpus(folder / "captions", options.captions)))
        for task in options.only:
            command = [
                sys.executable,
                __file__,
                "--task",
                task,
                "--folder",
                folder,
                "--positions",
                options.positions,
                "--vectors",
                options.vectors,
            ]
            load = os.getloadavg()[0]
            output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout
            results[task] = json.loads(output.splitlines()[-1]) | {"load": round(load, 1)}
            shown = ", ".join(
                f"{name} {value:,.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in results[task].items()
            )
            print(f"{task:13} target {TARGETS[task]}: {shown}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
