"""What the review queue finds, whether promises of precision are kept, and what answers bring.

    python benchmarks/review.py [--queue] [--context] [--promise] [--curve] [--rows N] [--times N] [--seeds N...]

Needs the published checkpoints and heads (in the folder that GEOGRAPH_PUBLISHED names, or ../shared/published). The
photographs are synthetic: vectors that the published models recognise as well as they recognised real ones
(geograph_types.synthetic.like); the generator knows which of its tags are wrong.

--queue: 30,000 photographs like v1's, 3 % of them with planted errors (a third each: other tags, a tag missing, tags
exchanged with another photograph), and the generator's own. Shares of wrong tags in the first 500 of the queue, of its
reasons, of least confidence alone, and at random: mean and range over the seeds. --context: the same with the
challenge's labels.
--promise: 200 times 4,000 held-out photographs; how often the promised precision is kept among 150,000, with the
distance known and unknown, and with one label in ten wrong. --curve: a model that has learnt from the 30,000 learns
further with 100, 500 and 2,000 answers, chosen by rank and at random; F1 on 20,000 others with right tags.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pandas as pd

if TYPE_CHECKING:
    from geograph_types.store import EmbeddingStore
    from geograph_types.synthetic import Sample, TypeWorld
    from geograph_types.types import TypePredictor

PLANTED = 0.03
FIRST = 500


def published(name: str) -> Path:
    root = Path(__file__).resolve().parents[2] / "shared" / "published"
    path = Path(os.environ.get("GEOGRAPH_PUBLISHED") or root) / name
    if not path.exists():
        sys.exit(f"{path}: not there. Set GEOGRAPH_PUBLISHED to the folder with {name}")
    return path


@lru_cache
def v1() -> "tuple[TypePredictor, TypeWorld]":
    """The published model, and a world that it recognises."""
    from geograph_types.synthetic import fit_types
    from geograph_types.types import TypePredictor

    predictor = TypePredictor.open(published("geograph/best_geograph_model_v1.pth"))
    return predictor, fit_types([predictor.model])


def plant(types: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tags (N,) of which 3 % are made wrong: other tags, a tag missing, exchanged."""
    planted, third = types.copy(), round(len(types) * PLANTED / 3)
    known = np.unique(types)
    several = np.flatnonzero([("," in text) for text in types])
    missing = rng.choice(several, min(third, len(several)), replace=False)
    rest = rng.choice(np.setdiff1d(np.arange(len(types)), missing), 2 * third, replace=False)
    for row in missing:
        tags = types[row].split(",")
        planted[row] = ",".join(np.delete(tags, rng.integers(len(tags))))
    for row in rest[:third]:
        planted[row] = rng.choice(known[known != types[row]])
    planted[rest[third:]] = types[np.roll(rest[third:], 1)]
    return planted


def stored(sample: "Sample", folder: Path) -> "EmbeddingStore":
    """A sample as a store."""
    from geograph_types.data import convert
    from geograph_types.store import EmbeddingStore, encode_vector

    folder.mkdir(parents=True)
    with open(folder / "sample.jsonl", "wb") as file:
        for row, vector in zip(sample.metadata.to_dict("records"), sample.embeddings, strict=True):
            file.write(
                orjson.dumps({**row, "embeddings": encode_vector(vector)}, option=orjson.OPT_APPEND_NEWLINE)
            )
    return EmbeddingStore.open(convert(folder / "sample.jsonl", folder / "store", quiet=True).path)


def worse(rows: int, folder: Path, seed: int) -> "tuple[EmbeddingStore, pd.DataFrame]":
    """Photographs like v1's with planted errors, as a store, and what is wrong by number."""
    from geograph_types.synthetic import make_sample

    sample = make_sample(rows, seed, v1()[1])
    types = sample.metadata["types"].to_numpy(object)
    planted = plant(types, np.random.default_rng(seed))
    truth = sample.metadata.set_index("gridimage_id")[["true_types"]]
    truth["planted"] = planted != types
    truth["wrong"] = planted != truth["true_types"].to_numpy()
    sample.metadata["types"] = planted
    return stored(sample, folder), truth


def shares(name: str, ids: pd.Series, truth: pd.DataFrame) -> dict:
    """How many of photographs are wrong."""
    found = truth.loc[ids]
    return {"first 500 by": name, "photographs": len(found), **found[["wrong", "planted"]].mean()}


def over_seeds(rows: list[dict], by: str) -> pd.DataFrame:
    """Mean and range of each figure, in the order in which the rows' names came."""
    groups = pd.DataFrame(rows).groupby(by, sort=False)
    found = {}
    for name in pd.DataFrame(rows).columns.drop(by):
        found[name] = groups[name].mean()
        if name != "photographs":
            found[f"{name}: from"], found[f"{name}: to"] = groups[name].min(), groups[name].max()
    return pd.DataFrame(found).reset_index()


def show(title: str, rows: "list[dict] | pd.DataFrame") -> None:
    table = pd.DataFrame(rows)
    print(f"\n{title}\n{table.to_string(index=False, float_format=lambda value: f'{value:.4f}')}", flush=True)


def least_confident(store: "EmbeddingStore", model: object) -> pd.Series:
    """Photographs whose least certain tag is nearest to one half."""
    from geograph_types.review import model_opinion

    close = np.abs(model_opinion(model, store).probabilities - 0.5).min(axis=1)
    return store.metadata["gridimage_id"].iloc[np.argsort(close, kind="stable")[:FIRST]]


def queue_rows(store: "EmbeddingStore", model: object, truth: pd.DataFrame, **options: object) -> list[dict]:
    """The first 500 of the queue, its reasons, and what other ways find."""
    from geograph_types.review import QueueSettings, rank_photographs

    found = rank_photographs(store, model, QueueSettings(limit=FIRST), **options).table
    rows = [shares("queue", found["gridimage_id"], truth)]
    rows += [
        shares(f"  {kind}", part["gridimage_id"], truth) for kind, part in found.groupby("kind", sort=False)
    ]
    rows.append(shares("least confidence alone", least_confident(store, model), truth))
    rows.append(shares("all photographs", store.metadata["gridimage_id"], truth))
    return rows


def run_queue(rows: int, folder: Path, seeds: list[int]) -> None:
    found = []
    for seed in seeds:
        store, truth = worse(rows, folder / f"queue {seed}", seed)
        found += queue_rows(store, v1()[0], truth)
    show(f"{rows:,} photographs like v1's, seeds {seeds}", over_seeds(found, "first 500 by"))


def run_context(rows: int, folder: Path, seeds: list[int]) -> None:
    found = [row for seed in seeds for row in context_rows(rows, folder / f"context {seed}", seed)]
    show(
        f"{rows:,} photographs with the challenge's labels, seeds {seeds}", over_seeds(found, "first 500 by")
    )


def context_rows(rows: int, folder: Path, seed: int) -> list[dict]:
    """The challenge's labels, vectors like those of two published heads, 3 % planted errors."""
    from geograph_types.context import CONTEXT, ContextPredictor, read_labels
    from geograph_types.store import EmbeddingStore
    from geograph_types.synthetic import write_like

    heads = [published(f"landscape/heads/{name}.pth") for name in ("linear-img", "mlp-txt")]
    labels = published("landscape/train.csv.zip")
    write_like(folder, heads, rows, labels=labels, seed=seed)
    store = EmbeddingStore.open(folder / "store")
    ids, known = read_labels(labels)
    ids, known = (
        store.metadata["gridimage_id"].to_numpy(),
        known[pd.Index(ids).get_indexer(store.metadata["gridimage_id"])],
    )
    names = np.array(CONTEXT.columns, dtype=object)
    texts = np.array([",".join(names[row > 0]) for row in known], dtype=object)
    planted = plant(texts, np.random.default_rng(seed))
    wrong = planted != texts
    tags = [set(text.split(",")) for text in planted]
    given = np.array([[name in row for name in CONTEXT.columns] for row in tags], dtype=np.uint8)
    truth = pd.DataFrame({"planted": wrong, "wrong": wrong}, index=ids)
    model = ContextPredictor.open(heads[0])
    return queue_rows(store, model, truth, labels=(ids, given))


def pool(rows: int) -> dict[str, np.ndarray]:
    """What v1 says of photographs, with the distance known and unknown, and what they show."""
    from geograph_types.labels import TYPES
    from geograph_types.synthetic import make_sample

    parts: dict[str, list] = {"known": [], "unknown": [], "truth": []}
    for seed in range(100, 100 + max(1, rows // 30_000)):
        sample = make_sample(min(rows, 30_000), seed, v1()[1])
        metadata = sample.metadata
        parts["known"].append(v1()[0].probabilities(sample.embeddings, metadata["distance"]))
        parts["unknown"].append(v1()[0].probabilities(sample.embeddings, None))
        parts["truth"].append(TYPES.encode(metadata["true_types"], metadata["distance"]) > 0)
    return {name: np.concatenate(part) for name, part in parts.items()}


def promise_table(
    data: dict[str, np.ndarray], distance: str, times: int, noise: float, held_out: int
) -> list[dict]:
    """For each tag, how often the promise is kept."""
    from geograph_types.labels import CLASSES
    from geograph_types.review import promise_precision

    probabilities, truth = data[distance], data["truth"]
    kept, given, left = (np.zeros((times, len(CLASSES) + 1)) for _ in range(3))  # the last: all suggestions
    rng = np.random.default_rng(1)
    for time in range(times):
        rows = rng.choice(len(truth), held_out, replace=False)
        labels = truth[rows] ^ (rng.random((held_out, len(CLASSES))) < noise)
        limits = promise_precision(probabilities[rows], labels, CLASSES).thresholds
        suggested = probabilities >= limits
        count, right, before = (
            np.append(one.sum(axis=0), one.sum())
            for one in (suggested, suggested & truth, probabilities >= 0.5)
        )
        given[time] = count > 0
        kept[time] = (right >= 0.95 * count) | (count == 0)
        left[time] = count / np.maximum(before, 1)
    columns = {"kept": kept, "suggested at all": given, "left": left}
    rows = [
        {"tag": name, **{column: values[:, place].mean() for column, values in columns.items()}}
        for place, name in enumerate([*CLASSES, "all suggestions together"])
    ]
    used = np.flatnonzero(given[:, :-1].any(axis=0))
    means = {column: values[:, used].mean() for column, values in columns.items()}
    return [*rows, {"tag": "mean of the tags that are suggested", **means}]


def run_promise(rows: int, folder: Path, times: int = 200) -> None:
    data = pool(rows)
    for noise in (0.0, 0.1):
        for distance in ("known", "unknown"):
            title = f"precision >= 0.95, {times} times 4,000 of {len(data['truth']):,}, distance {distance}"
            show(f"{title}, {noise:.0%} of labels wrong", promise_table(data, distance, times, noise, 4000))


def answered(queue: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """What somebody who knows answers."""
    tags = truth.loc[queue["gridimage_id"], "true_types"].to_numpy()
    return pd.DataFrame(
        {
            "gridimage_id": queue["gridimage_id"],
            "labels": [text.replace(",", ";") for text in tags],
            "decision": np.where(tags == queue["given"].str.replace(";", ","), "accept", "change"),
            "seen": True,
        }
    )


def scores_of(model: object, others: "Sample") -> dict:
    """How good a model is on photographs whose right tags are known."""
    from sklearn.metrics import f1_score, log_loss

    from geograph_types.evaluation import exact_match
    from geograph_types.labels import TYPES
    from geograph_types.types import TypePredictor

    right = TYPES.encode(others.metadata["true_types"], others.metadata["distance"])
    probabilities = TypePredictor(model).probabilities(others.embeddings, others.metadata["distance"])
    given = probabilities >= np.array(model.thresholds)
    scores = {name: f1_score(right, given, average=name, zero_division=0) for name in ("micro", "macro")}
    lost = log_loss(right.ravel(), probabilities.ravel(), labels=[0, 1])  # nats a tag
    return {**scores, "every tag right": exact_match(right, given), "log loss": lost}


def curve_rows(rows: int, folder: Path, seed: int, others: "Sample") -> list[dict]:
    """Scores after answers, for one made-up set of photographs."""
    from geograph_types.review import QueueSettings, rank_photographs
    from geograph_types.types import TrainingConfig, TypePredictor, train, with_answers

    store, truth = worse(rows, folder, seed)
    config = TrainingConfig("v1", epochs=10, seed=seed)
    start = train(store, folder / "start", config, quiet=True).model
    whole = store.metadata["gridimage_id"].to_frame().assign(given=store.metadata["types"])
    queues = {"no answers": {0: whole[:0]}, "all right": {rows: whole}}
    for name, settings in {"by rank": {}, "at random": {"shares": {"random": 1}}}.items():
        settings = QueueSettings(limit=2000, seed=seed, **settings)
        queue = rank_photographs(store, TypePredictor(start), settings).table
        queues[name] = {count: queue[:count] for count in (100, 500, 2000)}
    found = [{"answers": "the model to start with", **scores_of(start, others)}]
    for name, parts in queues.items():
        for count, queue in parts.items():
            data = with_answers(store, answered(queue, truth)) if count else store
            model = train(data, folder / f"{name} {count}", config, quiet=True, start=start).model
            changed = int((answered(queue, truth)["decision"] == "change").sum()) if count else 0
            found.append({"answers": f"{count:,} {name}", "changed": changed, **scores_of(model, others)})
    return found


def interval(values: np.ndarray) -> str:
    """A mean with Student's 95 % interval."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.4f} ({values.mean() - half:+.4f} to {values.mean() + half:+.4f})"


def run_curve(rows: int, folder: Path, seeds: list[int]) -> None:
    """Scores after answers, and what these brought beside a run of the same seed without any."""
    from geograph_types.synthetic import make_sample

    others = make_sample(20_000, 99, v1()[1])
    found = pd.DataFrame()
    for seed in seeds:
        new = pd.DataFrame(curve_rows(rows, folder / f"curve {seed}", seed, others)).set_index("answers")
        found = pd.concat([found, new.assign(seed=seed)])
        print(new.to_string(float_format="%.4f"), flush=True)
    show(
        f"20,000 photographs with right tags, seeds {seeds}",
        found.groupby("answers", sort=False).mean().reset_index(),
    )
    if len(seeds) > 1:
        scores = {
            name: found.pivot(columns="seed", values=name)
            for name in ("micro", "macro", "every tag right", "log loss")
        }
        pairs = [
            (f"{count} {way}", "0 no answers")
            for count in ("100", "500", "2,000")
            for way in ("by rank", "at random")
        ]
        pairs += [(f"{count} by rank", f"{count} at random") for count in ("100", "500", "2,000")]
        show(
            "differences of runs of the same seed, mean and 95 % interval",
            [
                {
                    "": f"{one} - {other}",
                    **{
                        name: interval((score.loc[one] - score.loc[other]).to_numpy())
                        for name, score in scores.items()
                    },
                }
                for one, other in pairs
            ],
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("queue", "context", "promise", "curve"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--rows", type=int, help="photographs, if not 30,000 (150,000 with --promise)")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15])
    given = parser.parse_args()
    tasks: dict[str, tuple[Callable, int]] = {
        "queue": (partial(run_queue, seeds=given.seeds), 30_000),
        "context": (partial(run_context, seeds=given.seeds), 30_000),
        "promise": (partial(run_promise, times=given.times), 150_000),
        "curve": (partial(run_curve, seeds=given.seeds), 30_000),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (task, rows) in tasks.items():
            if getattr(given, name) or not any(getattr(given, one) for one in tasks):
                task(given.rows or rows, Path(folder))


if __name__ == "__main__":
    main()
