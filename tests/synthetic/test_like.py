"""Real vectors and published weights against made-up vectors: statistics, scores, and who can tell them apart."""

import base64
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geograph_types.context import ContextHead, read_labels
from geograph_types.context.training import head_logits, score_tags
from geograph_types.distance import distance_indices
from geograph_types.labels import CLASSES, TYPES
from geograph_types.model import GeographModel, batch_logits
from geograph_types.synthetic import (
    PUBLISHED_HEADS,
    PUBLISHED_TYPES,
    VectorStatistics,
    fit_context,
    fit_types,
    make_context_sample,
    make_sample,
    write_like,
)

UNKNOWN = 22  # the bucket of an unknown distance
SMALL = {"steps": 120, "rows": 1600}  # of the fits
HEADS = ("mlp-img-mixup", "mlp-txt", "linear-img-txt-loc-mixup")  # that shifts are fitted to
HELD_OUT = ("linear-img", "mlp-img-txt-loc", "linear-loc")  # chosen after a look, as the page says


@pytest.fixture(scope="module")
def real(published):
    """Vectors of 175 real photographs."""
    folder = published / "clip_vectors"
    return np.vstack([np.load(folder / f"photographs_{count}.npy") for count in (125, 50)])


@pytest.fixture(scope="module")
def models(published):
    """Published v1 and v2.3."""
    path = published / "geograph" / "best_geograph_model_{}.pth"
    return {name: GeographModel.load_checkpoint(str(path).format(name))[0] for name in ("v1", "v2.3")}


def told_apart(real, made):
    """Area under the curve of a logistic regression that is to tell real vectors from as many made-up ones."""
    areas = []
    for seed in range(3):
        chosen = np.random.default_rng(seed).choice(len(made), len(real), replace=False)
        vectors = np.vstack([real, made[chosen]]).astype(np.float64)
        truth = np.repeat([1, 0], len(real))
        judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        areas.append(
            roc_auc_score(
                truth, cross_val_predict(judge, vectors, truth, cv=folds, method="decision_function")
            )
        )
    return float(np.mean(areas))


def test_shipped_statistics_are_those_of_the_real_photographs(real):
    measured, shipped = VectorStatistics.measure(real), VectorStatistics.of("image")
    np.testing.assert_allclose(shipped.mean, measured.mean, atol=2e-3)
    np.testing.assert_allclose(shipped.covariance(), measured.covariance(), atol=5e-3)
    lengths = np.linalg.norm(shipped.draw(5000, np.random.default_rng(0)), axis=1)
    assert abs(np.median(lengths) - np.median(np.linalg.norm(real, axis=1))) < 0.3


def test_statistics_of_some_photographs_pass_for_others(real):
    """A Gaussian with the statistics of 100 reached .95 against the rest; even noise is told apart without fail."""
    areas = []
    for seed in range(3):
        order, dice = np.random.default_rng(seed).permutation(len(real)), np.random.default_rng(seed)
        made = VectorStatistics.measure(real[order[:100]]).draw(500, dice)
        areas.append(told_apart(real[order[100:]], made))
    assert np.mean(areas) < 0.8
    assert told_apart(real, np.random.default_rng(0).normal(0, 0.5, (500, 512))) > 0.99
    assert told_apart(real, make_sample(2000).embeddings) < 0.6


def probabilities(model, vectors, bucket):
    return 1 / (
        1 + np.exp(-batch_logits(model, np.atleast_2d(vectors), np.full(len(np.atleast_2d(vectors)), bucket)))
    )


def test_a_real_photograph(published, models):
    """The figures of photograph 7706259, to 2e-3."""
    example = json.loads((published / "geograph" / "example.json").read_text())
    image, title = (
        np.frombuffer(base64.b64decode(example[f"clip-{kind}"]), "<f4").copy() for kind in ("image", "title")
    )
    geograph, far = CLASSES.index("Geograph"), CLASSES.index("Cross Far")
    for name, known, unknown, distant in (("v1", 0.988, 0.986, 0.965), ("v2.3", 0.954, 0.948, 0.960)):
        assert abs(probabilities(models[name], image, 5)[0, geograph] - known) < 2e-3
        assert abs(probabilities(models[name], image, UNKNOWN)[0, geograph] - unknown) < 2e-3
        assert abs(probabilities(models[name], image, 11)[0, far] - distant) < 2e-3
    head = ContextHead.load_published(published / "landscape" / "heads" / "linear-img.pth")
    with torch.no_grad():
        scores = head(torch.from_numpy(image)[None]).sigmoid()[0].numpy()
    assert head.tags[scores.argmax()] == "Energy infrastructure" and abs(scores.max() - 0.661) < 2e-3
    assert abs(np.sort(scores)[-2] - 0.133) < 2e-3
    assert abs(np.linalg.norm(title) - 9.39) < 5e-3 and set(np.abs(title).argsort()[-2:]) == {133, 312}


def test_real_photographs_and_a_lecture(published, models):
    """The shares of published v2.3 with unknown distance, in whole percents, and of linear-img."""
    folder = published / "clip_vectors"
    for name, expected in (
        (
            "photographs_125",
            {"Close Look": 54, "Inside": 16, "Aerial": 6, "Geograph": 6, "Extra": 5, "Cross Far": 2},
        ),
        ("lecture_272", {"Close Look": 96, "Inside": 32}),
    ):
        shares = (probabilities(models["v2.3"], np.load(folder / f"{name}.npy"), UNKNOWN) > 0.5).mean(axis=0)
        for class_name, percent in expected.items():
            assert abs(100 * shares[CLASSES.index(class_name)] - percent) <= 1, class_name
    head = ContextHead.load_published(published / "landscape" / "heads" / "linear-img.pth")
    with torch.no_grad():
        scores = head(torch.from_numpy(np.load(folder / "lecture_272.npy"))).sigmoid().numpy()
    assert abs(scores[:, head.tags.index("Educational sites")].mean() - 0.45) < 0.06


def scores(model, sample, bucket=None):
    """Precision, recall and F1 of the classes that have published scores, (3, 6)."""
    truth = TYPES.encode(sample.metadata["types"], sample.metadata["distance"])[:, : len(PUBLISHED_TYPES)]
    index = distance_indices(sample.metadata["distance"])
    index = index if bucket is None else np.full(len(index), bucket)
    given = batch_logits(model, sample.embeddings, index)[:, : truth.shape[1]] > 0
    right = (truth * given).sum(axis=0)
    precision, recall = right / np.maximum(given.sum(axis=0), 1), right / truth.sum(axis=0)
    return np.stack([precision, recall, 2 * precision * recall / np.maximum(precision + recall, 1e-9)])


def fresh_micro_f1(sample):
    """Of a model that is trained on four fifths, on the rest."""
    index = torch.from_numpy(distance_indices(sample.metadata["distance"]).astype(np.int64))
    truth = torch.from_numpy(TYPES.encode(sample.metadata["types"], sample.metadata["distance"]))
    vectors, cut = torch.from_numpy(sample.embeddings), len(truth) * 4 // 5
    torch.manual_seed(0)
    model = GeographModel()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(6):
        for rows in torch.randperm(cut).split(256):
            logits = model.train()(vectors[rows], index[rows])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        given = model.eval()(vectors[cut:], index[cut:]) > 0
    return float(2 * (given * truth[cut:]).sum() / (given.sum() + truth[cut:].sum()))


TARGET = np.array(list(PUBLISHED_TYPES.values())).T
TARGET_F1 = 2 * TARGET[0] * TARGET[1] / TARGET.sum(axis=0)
FAR = list(PUBLISHED_TYPES).index("Cross Far")


def assert_as_published(found):
    assert np.abs(found[:2] - TARGET).max() < 0.05
    assert np.abs(found[2] - TARGET_F1).max() < 0.03


def test_v1_is_as_good_as_published_and_v23_near_it(models, real):
    sample = make_sample(12_000, seed=7, world=fit_types([models["v1"]], **SMALL))
    of_v1, unseen = scores(models["v1"], sample), scores(models["v2.3"], sample)
    assert_as_published(of_v1)
    assert np.abs(unseen[2] - of_v1[2]).max() < 0.15
    assert 0.92 <= fresh_micro_f1(sample) <= 0.96
    assert told_apart(real, sample.embeddings) < 0.95


@pytest.mark.slow
def test_both_types_models_together(models, real):
    sample = make_sample(
        12_000, seed=7, world=fit_types([models["v1"], models["v2.3"]], [False, True], 120, 4000)
    )
    assert_as_published(scores(models["v1"], sample))
    far = scores(models["v2.3"], sample, UNKNOWN)[2, FAR]
    assert abs(far - 0.85) <= 0.05
    assert scores(models["v1"], sample, UNKNOWN)[2, FAR] < far - 0.5
    assert 0.92 <= fresh_micro_f1(sample) <= 0.96


@pytest.mark.slow
def test_context_heads_are_as_good_as_published(published, real):
    folder = published / "landscape"
    heads = {
        name: ContextHead.load_published(folder / "heads" / f"{name}.pth") for name in (*HEADS, *HELD_OUT)
    }
    ids, labels = read_labels(folder / "train.csv.zip")
    worlds = fit_context({name: heads[name] for name in HEADS}, ids, labels, **SMALL)
    judged = np.random.default_rng(1).choice(np.flatnonzero(labels.sum(axis=1) <= 5), 12_000, replace=False)
    data = make_context_sample(ids[judged], labels[judged], seed=3, worlds=worlds)
    for name, head in heads.items():
        found = score_tags(data.labels, head_logits(head, data) > 0)
        target, margin = PUBLISHED_HEADS.get(name, (0, 0)), 0.02 if name in HEADS else 0.05
        assert abs(found["exact_match"] - target[0]) < margin, (name, found)
        assert abs(found["macro_f1"] - target[1]) < margin, (name, found)
    assert told_apart(real, data.image) < 0.95


def test_a_folder_for_context_heads(published, tmp_path):
    from geograph_types.context.kaggle import open_prepared

    head = published / "landscape" / "heads" / "linear-img.pth"
    out = write_like(
        tmp_path / "like", [head], rows=300, steps=3, labels=published / "landscape" / "train.csv.zip"
    )
    data = open_prepared(out, out / "store")
    assert len(data) == 300 and data.title.shape == (300, 512) and data.labels.any(axis=1).all()
    with pytest.raises(Exception, match="is there already"):
        write_like(out, [head], rows=300)
