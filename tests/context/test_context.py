"""Context tags against the published files: heads, labels, logs, the order of tags, and a submission for the real test ids."""

import numpy as np
import pandas as pd
import pytest
import torch

from geograph_types.context import (
    CONTEXT,
    ContextConfig,
    ContextData,
    ContextHead,
    ContextSchema,
    check_submission,
    fit_decision,
    read_labels,
    read_log,
    read_test_ids,
    submit,
    tag_correlation,
    train_context,
    write_submission,
)
from geograph_types.errors import CheckpointError
from geograph_types.splits import id_blocks, split_rows
from geograph_types.synthetic import VectorStatistics

HEADS = {
    "linear-img": ("linear", ["img"]),
    "linear-loc": ("linear", ["loc"]),
    "mlp-txt": ("mlp", ["txt"]),
    "mlp-img-mixup": ("mlp", ["img"]),
    "mlp-img-txt-loc": ("mlp", ["img", "txt", "loc"]),
    "linear-img-txt-loc-mixup": ("linear", ["img", "txt", "loc"]),
}


@pytest.fixture(scope="session")
def landscape(published):
    return published / "landscape"


@pytest.fixture(scope="session")
def labels(landscape):
    """Numbers and labels of the 609,822 published rows."""
    return read_labels(landscape / "train.csv.zip")


def numpy_logits(path, features):
    """The published arithmetic, in double precision."""
    state = {name: tensor.double().numpy() for name, tensor in torch.load(path, weights_only=True).items()}
    if "weight" in state:
        return features @ state["weight"].T + state["bias"]
    hidden = np.maximum(features @ state["0.weight"].T + state["0.bias"], 0)
    return hidden @ state["3.weight"].T + state["3.bias"]


@pytest.mark.parametrize("name", HEADS)
def test_published_heads_equal_a_numpy_forward(landscape, name):
    path = landscape / "heads" / f"{name}.pth"
    head = ContextHead.load_published(path)
    assert (
        (head.kind, head.modalities) == HEADS[name] and not head.training and head.tags == list(CONTEXT.tags)
    )
    rng = np.random.default_rng(0)
    draw = {
        "img": lambda: VectorStatistics.of("image").draw(64, rng),
        "txt": lambda: VectorStatistics.of("title").draw(64, rng),
        "loc": lambda: rng.uniform(0, 60, (64, 2)).astype(np.float32),
    }
    features = np.hstack([draw[name]() for name in head.modalities])
    assert features.shape[1] == sum(head.widths)
    with torch.inference_mode():
        logits = head(torch.from_numpy(features)).numpy()
        parts = head(*torch.from_numpy(features).split(head.widths, dim=1)).numpy()
    wanted = numpy_logits(path, features.astype(float))
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(parts, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_what_we_save_is_a_published_file(landscape, tmp_path, name):
    path = landscape / "heads" / f"{name}.pth"
    ContextHead.load_published(path).save_published(tmp_path / f"{name}.pth")
    ours, theirs = (torch.load(file, weights_only=True) for file in (tmp_path / f"{name}.pth", path))
    assert list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_name_that_contradicts_the_shape_is_refused(landscape, tmp_path):
    (tmp_path / "mlp-loc.pth").write_bytes((landscape / "heads" / "mlp-txt.pth").read_bytes())
    with pytest.raises(CheckpointError, match="takes 512 numbers"):
        ContextHead.load_published(tmp_path / "mlp-loc.pth")
    assert ContextHead.load_published(tmp_path / "mlp-loc.pth", ["txt"]).modalities == ["txt"]


def test_the_schema_is_the_published_one(landscape, labels):
    header = ["gridimage_id", *CONTEXT.columns]
    assert ContextSchema.read(landscape / "tags-top.csv", header) == CONTEXT
    assert CONTEXT.columns[0] == "tag479" and CONTEXT.columns[-1] == "tag48550"


def test_published_labels(labels):
    ids, tags = labels
    assert tags.shape == (609_822, 49) and len(np.unique(ids)) == 609_822
    per_row = tags.sum(axis=1)
    assert per_row.min() == 1 and per_row.max() == 20 and (per_row <= 5).sum() == 608_500
    assert round(per_row.mean(), 3) == 1.845
    share = dict(zip(CONTEXT.tags, 100 * tags.mean(axis=0)))
    ranked = sorted(share, key=share.get, reverse=True)
    assert ranked[:3] == ["Roads, Road transport", "Uplands", "Coastal"]
    assert ranked[-2:] == ["Construction, Development", "Barren Plateaux"]
    wanted = {
        "Roads, Road transport": 10.56,
        "Uplands": 7.90,
        "Coastal": 7.80,
        "Construction, Development": 0.77,
        "Barren Plateaux": 0.56,
    }
    assert all(abs(share[name] - percent) < 0.0075 for name, percent in wanted.items())
    packed = np.pad(np.packbits(tags, axis=1), ((0, 0), (0, 1))).view(np.uint64).ravel()
    sets, counts = np.unique(packed, return_counts=True)
    modal = np.unpackbits(sets[[counts.argmax()]].view(np.uint8))[:49].astype(bool)
    assert [tag for tag, has in zip(CONTEXT.tags, modal) if has] == ["Roads, Road transport"]
    assert round(100 * counts.max() / (per_row <= 5).sum(), 2) == 2.68


@pytest.mark.parametrize("name", [name for name in HEADS if name != "linear-loc"])
def test_the_order_of_the_tags(landscape, labels, name):
    """Rows of output weights resemble each other where tags go together, in this order and no other."""
    head = ContextHead.load_published(landscape / "heads" / f"{name}.pth")
    rows = (head.layers if head.kind == "linear" else head.layers[-1]).weight.detach().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    phi, upper = tag_correlation(labels[1]), np.triu_indices(49, 1)

    def agreement(order):
        return np.corrcoef((rows @ rows.T)[upper], phi[np.ix_(order, order)][upper])[0, 1]

    rng = np.random.default_rng(0)
    assert agreement(np.arange(49)) > 0.5
    assert max(abs(agreement(rng.permutation(49))) for _ in range(20)) < 0.2
    table = pd.read_csv(landscape / "tags-top.csv")
    assert agreement([CONTEXT.columns.index(column) for column in table["col"]]) < 0.1


def test_published_logs(landscape):
    for name, best, stated, scores in (
        ("linear-img", 33, 43, (0.2228, 0.4129)),
        ("mlp-img-txt-loc", None, None, (0.3249, 0.5425)),
        ("linear-img-txt-loc-mixup", None, None, (0.3278, 0.5970)),
    ):
        log = read_log(landscape / "logs" / f"{name}.txt")
        assert (log.exact_match, log.macro_f1) == scores and log.stated_epoch - log.best_epoch == 10
        row = log.history.set_index("epoch").loc[log.best_epoch]
        assert (row["val_exact_match"], row["val_f1"]) == scores
        assert best is None or (log.best_epoch, log.stated_epoch) == (best, stated)


def test_neighbours_stay_together(labels):
    """On all published numbers, with synthetic places: no block of numbers and no square in two parts."""
    ids, tags = labels[0][:60_000], labels[1][:60_000]
    lat, lon = make_places(ids, tags)
    split = split_rows(ids, lat, lon)
    data = ContextData(ids, None, None, lat, lon)
    used = split != ""
    assert used.mean() > 0.7 and set(split) == {"tra", "val", "tes", ""}
    for groups in (id_blocks(ids), data.squares()):
        frame = pd.DataFrame({"group": groups, "split": split})[used & (groups != "")]
        assert frame.groupby("group")["split"].nunique().max() == 1


def make_places(ids, tags):
    from geograph_types.synthetic.context import places

    return places(ids, tags, np.random.default_rng(0))


@pytest.fixture(scope="module")
def trained(labels, tmp_path_factory):
    """A head on synthetic places of 6,000 real label rows."""
    ids, tags = labels[0][:6000], labels[1][:6000]
    data = ContextData(ids, None, None, *make_places(ids, tags), tags)
    split = split_rows(ids, data.lat, data.lon)
    config = ContextConfig.of("ours", "linear", ["loc"], epochs=2)
    return train_context(data, split, tmp_path_factory.mktemp("context") / "run", config, quiet=True).model


def test_a_submission_for_the_published_test_ids(landscape, trained, tmp_path):
    ids = read_test_ids(landscape / "test.csv")
    assert len(ids) == 135_489
    rng = np.random.default_rng(0)
    data = ContextData(ids[::-1], None, None, rng.uniform(50, 58, len(ids)), rng.uniform(-5, 1, len(ids)))
    assert submit(trained, data, ids, tmp_path / "mine.csv.zip") == 0
    table = pd.read_csv(tmp_path / "mine.csv.zip")
    assert list(table.columns) == ["gridimage_id", *CONTEXT.columns]
    assert table.shape == (135_489, 50) and (table["gridimage_id"] == ids).all()
    assert table.iloc[:, 1:].isin([0, 1]).all(axis=None) and (table.iloc[:, 1:].sum(axis=1) >= 1).all()
    check_submission(tmp_path / "mine.csv.zip", ids, ["gridimage_id", *CONTEXT.columns])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda table: table[::-1], "another order"),
        (lambda table: table.rename(columns={"tag479": "tag1"}), "columns differ"),
        (lambda table: table.assign(tag479=2), "other than 0 and 1"),
        (lambda table: table.iloc[1:], "rows, expected"),
        (lambda table: table.assign(**dict.fromkeys(CONTEXT.columns, 0)), "without a tag"),
    ],
)
def test_a_bad_submission_is_refused(tmp_path, spoil, message):
    ids = np.arange(1, 11)
    write_submission(tmp_path / "good.csv.zip", ids, np.eye(49, dtype=bool)[:10])
    spoil(pd.read_csv(tmp_path / "good.csv.zip")).to_csv(tmp_path / "bad.csv.zip", index=False)
    with pytest.raises(ValueError, match=message):
        check_submission(tmp_path / "bad.csv.zip", ids)


def test_the_decision_is_the_likeliest_set_on_real_labels(labels):
    """Scores that know the labels but for noise: sets beat separate tags in exact match, on rows not fitted on."""
    tags = labels[1][np.random.default_rng(1).permutation(len(labels[1]))[:20_000]]
    noise = np.random.default_rng(2).normal(0, 2, tags.shape)
    logits = (6 * tags - 5 + noise).astype(np.float32)
    decision = fit_decision(logits[:8000], tags[:8000], tags[:15_000])
    unseen = torch.from_numpy(logits[15_000:])
    given = decision(unseen).numpy()
    right = (given == tags[15_000:]).all(axis=1).mean()
    assert given.any(axis=1).all()
    assert right > ((logits[15_000:] > 0) == tags[15_000:]).all(axis=1).mean() + 0.1
    marginals = decision.probabilities(unseen).numpy()
    assert abs(marginals.mean() - tags.mean()) < 0.003
