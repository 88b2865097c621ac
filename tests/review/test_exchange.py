"""Other tools' files in the form that these tools document, a queue's order and quotas, and two people blind."""

import json

import numpy as np
import pandas as pd
import pytest

from geograph_types.errors import FileFormatError
from geograph_types.review import (
    QUEUE_COLUMNS,
    SHARES,
    AnswerFile,
    Review,
    ReviewQueue,
    agreement,
    fiftyone_files,
    krippendorff_alpha,
    label_studio_tasks,
    mix_reasons,
    pages_by_contributor,
    read_fiftyone,
    read_label_studio,
    reply,
)

CLASSES = ["Extra", "Inside"]


def queue(rows: int = 6, **columns) -> ReviewQueue:
    """A queue of a few rows, every second one at random."""
    table = pd.DataFrame(
        {
            "gridimage_id": np.arange(1, rows + 1),
            "reason": "an example",
            "score": np.linspace(1, 0, rows),
            "kind": ["label", "random"] * (rows // 2),
            "tag": "Inside",
            "given": "Extra",
            "proposed": "Inside",
            "probabilities": [[0.2, 0.8]] * rows,
            "title": "<b>Nave</b>",
            "thumbnail": [f"{number}.jpg" for number in range(rows)],
        }
    )
    return ReviewQueue(table.assign(**columns), CLASSES, [0.5, 0.5], "types v1")


# ---- Label Studio: labelstud.io/guide/task_format, and what its JSON export adds


def chosen(*tags: str, **more) -> list[dict]:
    """A result as Label Studio writes it."""
    value = {"choices": list(tags)}
    return [
        {
            "id": "Dx_aB91ISN",
            "type": "choices",
            "value": value,
            "from_name": "tags",
            "to_name": "image",
            **more,
        }
    ]


def annotation(**more) -> dict:
    """An annotation with all that an export has."""
    return {
        "id": 1001,
        "result": chosen("Inside", origin="manual"),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2021-03-09T22:16:08.728353Z",
        "updated_at": "2021-03-09T22:16:08.728378Z",
        "lead_time": 4.288,
        "result_count": 0,
        "task": 1,
        "completed_by": 10,
        "unique_id": "d7a5",
        **more,
    }


def exported(tmp_path, *annotations: dict, predictions: list | None = None, data: dict | None = None):
    """What is read from an export of one task."""
    task = {
        "id": 1,
        "created_at": "2021-03-09T21:52:49.513742Z",
        "updated_at": "2021-03-09T22:16:08.746926Z",
        "project": 83,
        "data": {"image": "https://example.com/1.jpg", "gridimage_id": 7} if data is None else data,
        "annotations": list(annotations),
        "drafts": [],
        "meta": {},
        "predictions": predictions or [],
    }
    (tmp_path / "export.json").write_text(json.dumps([task]))
    return read_label_studio(tmp_path / "export.json")


def test_an_export_of_label_studio_is_read(tmp_path):
    proposal = {"created_ago": "3 hours", "model_version": "types v1", "result": chosen("Inside"), "task": 1}
    second = annotation(completed_by={"id": 11, "email": "ben@example.com"}, result=chosen("Extra", "Inside"))
    table, rejects = exported(tmp_path, annotation(), second, predictions=[proposal])
    assert not rejects and table["gridimage_id"].tolist() == [7, 7]
    assert table["reviewer"].tolist() == ["10", "ben@example.com"]
    assert table["decision"].tolist() == ["accept", "change"]
    assert table["labels"].tolist() == ["Inside", "Extra;Inside"]
    assert table[["proposed", "model", "seen"]].iloc[0].tolist() == ["Inside", "types v1", True]
    assert table["seconds"].iloc[0] == 4.288 and table["answered_at"].iloc[0].year == 2021


@pytest.mark.parametrize("predictions", [[], [17]])  # some exports name predictions by number
def test_without_a_proposal_an_answer_of_label_studio_is_independent(tmp_path, predictions):
    table, rejects = exported(tmp_path, annotation(), predictions=predictions)
    assert not rejects and table[["decision", "seen"]].iloc[0].tolist() == ["change", False]


def test_what_label_studio_skipped_or_left_empty(tmp_path):
    skipped = annotation(was_cancelled=True, result=[])
    table, _ = exported(tmp_path, skipped, annotation(result=[], completed_by=2))
    assert table[["decision", "labels"]].values.tolist() == [["skip", ""], ["accept", ""]]
    table, rejects = exported(tmp_path, annotation(), data={"image": "https://example.com/1.jpg"})
    assert len(table) == 0 and rejects[0]["task"] == 1


def test_tasks_for_label_studio_have_the_form_it_imports():
    task = label_studio_tasks(queue())[0]
    assert {*task} == {"data", "predictions", "annotations"}
    assert task["data"]["image"] == "0.jpg" and task["predictions"][0]["model_version"] == "types v1"
    result = task["predictions"][0]["result"][0]
    assert result == {k: v for k, v in chosen("Inside")[0].items() if k != "id"}
    json.dumps(task, allow_nan=False)


# ---- FiftyOne: docs.voxel51.com/user_guide/import_datasets.html, FiftyOneImageClassificationDataset


def test_fiftyone_finds_a_file_for_every_label():
    mixed = queue(thumbnail=["0.jpg", None, "https://s0.geograph.org.uk/2.jpg", "3.jpg", "4.jpg", "5.jpg"])
    files = fiftyone_files(mixed, "photographs")
    assert {*files["labels.json"]["labels"]} == {*files["data.json"]} == {"1", "4", "5", "6"}
    assert files["labels.json"]["labels"]["1"] == [{"label": "Inside", "confidence": 0.8}]


@pytest.mark.parametrize(
    "target, labels",
    [
        (1, "Inside"),
        ("Inside", "Inside"),
        ({"label": "Inside", "confidence": 0.9, "attributes": {"x": 1}}, "Inside"),
        ([0, {"label": "Inside"}], "Extra;Inside"),
        ([], ""),
    ],
)
def test_every_documented_target_of_fiftyone_is_read(tmp_path, target, labels):
    said = {"classes": CLASSES, "labels": {"7": target, "data/8": None}}
    (tmp_path / "labels.json").write_text(json.dumps(said))
    table, rejects = read_fiftyone(tmp_path / "labels.json", "anna")
    assert not rejects and table[["gridimage_id", "labels"]].values.tolist() == [[7, labels]]


def test_other_json_is_no_dataset_of_fiftyone(tmp_path):
    (tmp_path / "labels.json").write_text('{"images": []}')
    with pytest.raises(FileFormatError, match="FiftyOneImageClassificationDataset"):
        read_fiftyone(tmp_path / "labels.json", "anna")


# ---- the queue's file


def test_a_queue_on_disk_has_its_columns_and_the_first_photograph_first(tmp_path):
    queue().write(tmp_path / "queue.parquet")
    table = pd.read_parquet(tmp_path / "queue.parquet")
    assert [*table][: len(QUEUE_COLUMNS)] == [*QUEUE_COLUMNS]
    assert table["score"].is_monotonic_decreasing and table["gridimage_id"].tolist()[0] == 1


def test_quotas_hold_at_every_length_and_no_photograph_comes_twice():
    rng = np.random.default_rng(0)
    kinds = [kind for kind in SHARES if kind != "random"]
    candidates = pd.DataFrame(
        {"row": rng.integers(0, 3000, 9000), "kind": rng.choice(kinds, 9000), "score": rng.random(9000)}
    ).assign(tag="Inside", reason="an example")
    mixed = mix_reasons(candidates, np.arange(3000), limit=500)
    assert len(mixed) == 500 and mixed["row"].is_unique
    for length in (100, 200, 500):
        counts = mixed["kind"].iloc[:length].value_counts() / length
        for kind, share in SHARES.items():
            assert abs(counts[kind] - share / 100) <= 1.5 / length + 0.005, (length, kind)
    scores = mixed[mixed["kind"] == "label"]["score"]
    assert scores.is_monotonic_decreasing


def test_contributors_come_page_by_page_and_nobody_is_lost():
    people = np.array(["ann", "ben", "cat"])[np.random.default_rng(1).integers(0, 3, 130)]
    order = pages_by_contributor(people, size=20)
    assert sorted(order) == list(range(130))
    pages = [len(one) for one in np.split(order, np.flatnonzero(people[order][1:] != people[order][:-1]) + 1)]
    assert sum(page % 20 == 0 for page in pages) >= len(pages) - 3  # whole pages, and each person's rest
    for person in np.unique(people):
        assert (np.diff(order[people[order] == person]) > 0).all()


# ---- two people


def test_two_people_answer_the_same_queue_blind_and_alpha_is_that_of_their_answers(tmp_path):
    queue(12).write(tmp_path / "queue.parquet")
    said = {"anna": [0, 1] * 6, "ben": [0, 1, 1] * 4}
    for reviewer, tags in said.items():
        review = Review(tmp_path / "queue.parquet", tmp_path / "answers.sqlite", reviewer)
        view, _ = reply(review, {"do": "show"})
        for number, tag in enumerate(tags):
            card = view["cards"][0]
            assert "answer" not in card and view["progress"]["done"] == number
            assert card["hidden"] == (card["kind"] == "random") and "anna" not in json.dumps(card)
            answer = {"id": card["id"], "decision": "keep", "labels": [CLASSES[tag]], "seconds": 2}
            view, _ = reply(review, {"do": "answer", "answers": [answer]})
        assert view["kind"] == "end"
    table = AnswerFile(tmp_path / "answers.sqlite").table()
    assert len(table) == 24 and table["seen"].sum() == 12
    alpha = krippendorff_alpha(np.column_stack([said["anna"], said["ben"]]))
    found = agreement(table).set_index("tag")
    assert found.loc["all tags together", "photographs"] == 12
    assert found.loc["all tags together", "alpha"] == pytest.approx(alpha) and 0 < alpha < 1
    unseen = np.column_stack([said["anna"], said["ben"]])[1::2]
    assert found.loc["Inside", "alpha_unseen"] == pytest.approx(krippendorff_alpha(unseen), nan_ok=True)
