"""The queue finds planted errors, its random share is drawn blindly, and what it cannot use is refused in a sentence."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from geograph_types.context import ContextHead, ContextPredictor
from geograph_types.data import convert
from geograph_types.errors import InputError, SettingError
from geograph_types.review import (
    QueueSettings,
    ReviewQueue,
    draw_random,
    model_opinion,
    rank_photographs,
)
from geograph_types.store import EmbeddingStore, Records, StoreWriter
from geograph_types.synthetic import make_context_sample, make_sample, random_labels, write_sample
from geograph_types.types import TrainingConfig, TypePredictor, train

ROWS = 2000


@pytest.fixture(scope="module")
def types(tmp_path_factory):
    """A store in which one photograph in thirty has the tags of another one, a model, and which are wrong."""
    import orjson

    folder = tmp_path_factory.mktemp("types")
    write_sample(folder / "right.jsonl", ROWS)
    rows = [orjson.loads(line) for line in open(folder / "right.jsonl", "rb")]
    planted = np.random.default_rng(0).choice(ROWS, ROWS // 30, replace=False)
    for row, other in zip(planted, [rows[one]["types"] for one in np.roll(planted, 1)], strict=True):
        rows[row]["types"] = other
    with open(folder / "s.jsonl", "wb") as file:
        file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    convert(folder / "s.jsonl", folder / "store", quiet=True)
    model = train(folder / "store", folder / "run", TrainingConfig(epochs=3), quiet=True).model
    truth = make_sample(ROWS).metadata.set_index("gridimage_id")["true_types"]
    wrong = pd.Series([row["types"] for row in rows], index=truth.index) != truth
    return EmbeddingStore.open(folder / "store"), TypePredictor(model), wrong


@pytest.fixture(scope="module")
def found(types):
    """The first sixty of the queue."""
    return rank_photographs(*types[:2], QueueSettings(limit=60)).table


def test_planted_errors_come_first(types, found):
    store, model, wrong = types
    assert wrong[found["gridimage_id"]].mean() > 10 * wrong.mean()
    close = np.abs(model_opinion(model, store).probabilities - 0.5).min(axis=1)
    unsure = store.metadata["gridimage_id"].iloc[np.argsort(close)[:60]]
    assert wrong[found["gridimage_id"]].mean() > 4 * wrong[unsure].mean()


def test_the_random_share_is_drawn_from_all_photographs(types, found):
    ids = types[0].metadata["gridimage_id"].to_numpy()
    drawn = ids[draw_random(ids, (found["kind"] == "random").sum())]
    assert sorted(found[found["kind"] == "random"]["gridimage_id"]) == sorted(drawn)
    assert found["gridimage_id"].is_unique and len(drawn) == 3


def test_tags_of_nobody_are_not_doubted(types):
    store, model, _ = types
    bare = EmbeddingStore.open(store.path)
    bare.metadata = store.metadata.assign(types="")
    shares = {"label": 6, "duplicate": 1, "uncertain": 1, "random": 1}
    found = rank_photographs(bare, model, QueueSettings(limit=100, shares=shares)).table
    assert not {*found["kind"]} & {"label", "duplicate"} and (found["given"] == "").all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"settings": QueueSettings(limit=0)}, "expected numbers above 0"),
        ({"settings": QueueSettings(shares={"uncertain": -1, "label": 2})}, "expected numbers above 0"),
        ({"details": pd.DataFrame({"number": [1]})}, "expected also gridimage_id"),
        ({"doubtful": pd.DataFrame({"photograph": [1]})}, "expected also away_km, plausibility"),
        ({"labels": (np.array([1]), np.zeros((1, 49)))}, "its labels are in the store"),
    ],
)
def test_what_cannot_be_used_is_refused(types, options, message):
    store, model, _ = types
    with pytest.raises((InputError, SettingError), match=message):
        rank_photographs(store, model, **options)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A store of image vectors, its labels, and a head."""
    ids, labels = random_labels(900)
    data = make_context_sample(ids, labels)
    path = tmp_path_factory.mktemp("context") / "store"
    columns = dict.fromkeys(("types", "distance", "split", "title"), np.full(len(ids), ""))
    columns |= {"line": np.arange(len(ids)), "gridimage_id": ids}
    with StoreWriter(path, data.recipe) as writer:
        writer.write_shard(Records(pa.table(columns), data.image), [], len(ids))
    return EmbeddingStore.open(path), ids, labels, ContextPredictor(ContextHead("linear", ["img"]))


def test_context_tags_are_ranked_by_the_same_reasons(context, types, tmp_path):
    store, ids, labels, model = context
    half = slice(0, 450)  # the others have no labels
    found = rank_photographs(
        store, model, QueueSettings(limit=80), labels=(ids[half], labels[half]), name="a head"
    )
    assert {*found.table["kind"]} >= {"label", "random"}
    assert found.table[found.table["kind"] == "label"]["gridimage_id"].isin(ids[half]).all()
    found.write(tmp_path / "q.parquet")
    assert ReviewQueue.open(tmp_path / "q.parquet").classes == model.head.tags
    with pytest.raises(InputError, match="expected the tags of the first"):
        rank_photographs(store, model, second=types[1])
    with pytest.raises(InputError, match="labels of 3 tags"):
        rank_photographs(store, model, labels=(ids, labels[:, :3]))
