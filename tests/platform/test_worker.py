"""The worker beside a server that misbehaves: killed, stopped, cut off, and nothing is lost."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections import Counter
from dataclasses import asdict
from html import unescape
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

pytest.importorskip("starlette")
from platform_server import FAULTS, ReferenceQueue, label_program, label_queue, serving
from processes import PROCESSES

from geograph_types.clip import clip_recipe, embed_photographs, load_clip
from geograph_types.context import ContextHead
from geograph_types.errors import JobError
from geograph_types.heads import FeatureHead
from geograph_types.model import GeographModel
from geograph_types.photographs import PoliteFetcher
from geograph_types.platform import (
    ApiHead,
    EventLog,
    Outbox,
    PhotographLabeller,
    PhotographQueue,
    QueueError,
    VectorLabeller,
    VectorQueue,
    Worker,
    WorkerSettings,
)
from geograph_types.store import decode_vector, encode_vector
from geograph_types.synthetic import VectorStatistics, write_photographs

RECIPES = {
    "clip-image": clip_recipe("ViT-S-32-alt", "random:0"),
    "pe-image": clip_recipe("ViT-S-32-alt", "random:1"),  # in the place of Perception Encoder's
}


@pytest.fixture(scope="session")
def types(tmp_path_factory) -> Path:
    """An untrained head of types."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("heads") / "types.pth"
    GeographModel().save_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def rows() -> list[dict]:
    """1,000 synthetic vectors; every third row has no distance, numbers come as text."""
    vectors = VectorStatistics.of("image").draw(1000, np.random.default_rng(0))
    distances = [["16", "Unknown", ""][number % 3] for number in range(len(vectors))]
    return [
        {"gridimage_id": str(number), "embeddings": encode_vector(vector), "distance": distance}
        for number, (vector, distance) in enumerate(zip(vectors, distances), 100)
    ]


def expected(head: ApiHead, rows: list[dict]) -> dict[tuple, float]:
    """(photograph, label) -> score, as geograph.md has it: all above .2, else None."""
    inputs = {
        "clip-image": np.array([decode_vector(row["embeddings"]) for row in rows]),
        "distance": np.array([5 if row["distance"] == "16" else 22 for row in rows]),
    }
    found = {}
    for row, scores in zip(rows, 1 / (1 + np.exp(-head.logits(inputs).astype(float)))):
        given = {(int(row["gridimage_id"]), head.names[i]): s for i, s in enumerate(scores) if s > 0.2}
        found |= given or {(int(row["gridimage_id"]), "None"): 0.0}
    return found


def check_labels(queue: ReferenceQueue, head: ApiHead, rows: list[dict]) -> None:
    """Every label is there once, and no other."""
    wanted = expected(head, rows)
    got = {(image, label): score for (image, model, label), score in queue.labels.items()}
    assert {model for _, model, _ in queue.labels} == {"types"}
    assert got.keys() == wanted.keys()
    assert max(abs(got[key] - wanted[key]) for key in wanted) < 1e-5


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short pauses between tries, and where the server does not say how long."""
    from geograph_types.platform import LabelQueue, worker

    monkeypatch.setattr(worker, "_LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr(LabelQueue, "default_sleep_s", 0.05)


def vector_worker(url: str, types: Path, outbox: Path, batch: int = 100, **settings: object) -> Worker:
    queue = VectorQueue(url, "types", batch=batch, number=3, timeout_s=0.3)
    settings = WorkerSettings(**{"until_empty": True, **settings})
    log = EventLog(outbox.with_suffix(".jsonl"))
    return Worker(queue, VectorLabeller([ApiHead.open(types)]), outbox, settings, log)


def kept(outbox: Path, url: str) -> dict[str, int]:
    """What an outbox holds."""
    with Outbox(outbox, {"url": url, "queue": "types", "kind": "vectors"}) as file:
        return file.counts()


def test_every_row_is_labelled_once_and_asked_for_as_described(rows, types, tmp_path):
    queue = ReferenceQueue(rows, sleep_s=0)
    with serving(queue) as url:
        counts = vector_worker(url, types, tmp_path / "outbox.sqlite", batch=500).run().counts
    check_labels(queue, ApiHead.open(types), rows)
    assert set(queue.received.values()) == {1}
    assert counts["kept"] == counts["labelled"] == len(rows) and counts["labels"] == len(queue.labels)
    assert counts["handed_out"] == counts["kept"] + counts["again"] + counts["rejected"]
    assert counts["requests"] == len(queue.requests) < 40


def test_faults_of_all_kinds_lose_nothing_and_repeat_nothing_that_was_answered(rows, types, tmp_path):
    queue = ReferenceQueue(rows, sleep_s=0, faults=0.3, hang_s=0.4, seed=1)
    with serving(queue) as url:
        rates = vector_worker(url, types, tmp_path / "outbox.sqlite", batch=50).run()
        assert set(kept(tmp_path / "outbox.sqlite", url).values()) == {0}
    check_labels(queue, ApiHead.open(types), rows)
    assert set(queue.met) == set(FAULTS)
    assert queue.needless == 0
    assert len(queue.requests) < 3 * 2 * len(rows) / 50
    assert rates.counts["troubles"] >= sum(queue.met.values()) / 2


@pytest.fixture(scope="session")
def context() -> multiprocessing.context.BaseContext:
    """What makes processes that have the package loaded."""
    return PROCESSES


def answered_and_not_noted(queue: ReferenceQueue, outbox: Path, url: str) -> int:
    """Labels that a killed worker would send although the server's whole answer to them has gone out."""
    time.sleep(0.05)  # for a request that the server has already
    with Outbox(outbox, {"url": url, "queue": "types", "kind": "vectors"}) as file:
        return sum((row["image_id"], "types", row["label"]) in queue.answered for row in file.labels(10**6))


def test_killed_again_and_again(rows, types, tmp_path, context):
    queue = ReferenceQueue(rows, sleep_s=0.02, faults=0.3, hang_s=0.6, seed=2)
    outbox, kills, lost = tmp_path / "outbox.sqlite", 0, 0
    with serving(queue) as url:
        while kills < 3 or set(kept(outbox, url).values()) != {0} or len(queue.waiting("types")):
            arguments = (url, str(types), str(outbox))
            process = context.Process(target=label_queue, args=arguments, kwargs={"until_empty": kills == 3})
            process.start()
            if kills < 3:
                before = len(queue.labels)
                while len(queue.labels) < before + 150 and process.is_alive():
                    time.sleep(0.005)
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            lost += answered_and_not_noted(queue, outbox, url)
    check_labels(queue, ApiHead.open(types), rows)
    assert queue.needless == lost  # only what a kill came between: the answer and the note of it
    assert len(queue.requests) < 10 * 2 * len(rows) / 100


def test_sigterm_ends_the_program_within_the_batch(rows, types, tmp_path, context):
    queue, outbox = ReferenceQueue(rows, sleep_s=0.2), tmp_path / "outbox.sqlite"
    with serving(queue) as url:
        line = [str(types), "--url", url, "--batch", "100", "--outbox", str(outbox)]
        line += ["--log", "-", "--until-empty", "--liveness", str(tmp_path / "alive")]
        process = context.Process(target=label_program, args=(line, tmp_path))
        process.start()
        while not queue.labels and process.is_alive():
            time.sleep(0.02)
        process.terminate()
        process.join(60)
        out, err = (tmp_path / "out").read_text(), (tmp_path / "err").read_text()
        assert process.exitcode == 143 and "goes on from there" in err and "Traceback" not in err
        events = [orjson.loads(row) for row in out.splitlines()]
        assert events[0]["event"] == "started" and events[-1]["event"] == "ended"
        assert events[-1]["signal"] == signal.SIGTERM
        labelled = {image for image, _, _ in queue.labels}
        left = kept(outbox, url)
        assert events[-1]["kept"] == len(labelled) + left["work"] and not left["labels"]
        assert (tmp_path / "alive").exists()
        queue.sleep_s = 0
        rest = vector_worker(url, types, outbox)
        rest.run()
    check_labels(queue, ApiHead.open(types), rows)
    assert set(queue.received.values()) == {1}


def test_a_server_that_never_answers(rows, types, tmp_path):
    queue = ReferenceQueue(rows, sleep_s=0, faults=1.0, kinds=("hang",), hang_s=5)
    with serving(queue) as url:
        with pytest.raises(QueueError, match="ReadTimeout"):
            vector_worker(url, types, tmp_path / "outbox.sqlite", patience_s=0.5).run()
        assert 2 <= len(queue.requests) < 10


def test_a_server_that_takes_nothing_keeps_its_labels_waiting(rows, types, tmp_path):
    queue, outbox = ReferenceQueue(rows[:200], sleep_s=0), tmp_path / "outbox.sqlite"
    store, queue.labels_or_vectors = queue.labels_or_vectors, None

    async def refusing(request):
        from starlette.responses import Response

        return Response(status_code=500)

    queue.labels_or_vectors = refusing
    with serving(queue) as url:
        with pytest.raises(QueueError, match="500"):
            vector_worker(url, types, outbox, patience_s=0.5).run()
        assert kept(outbox, url)["labels"] and not queue.labels
        queue.labels_or_vectors = store
        asked = len(queue.requests)
        vector_worker(url, types, outbox).run()
        assert queue.requests[asked][0] == "POST"  # what was left goes before any question
    check_labels(queue, ApiHead.open(types), rows[:200])
    assert set(queue.received.values()) == {1}


@pytest.mark.parametrize("place, said", [("http://127.0.0.1:9", "ConnectError"), ("wrong.php", "404")])
def test_a_wrong_address(types, tmp_path, rows, place, said):
    with serving(ReferenceQueue(rows[:1])) as url:
        wrong = place if place.startswith("http") else url.replace("labeler.json.php", place)
        with pytest.raises(QueueError, match=said) as caught:
            vector_worker(wrong, types, tmp_path / "outbox.sqlite", patience_s=1.0).run()
        assert "Is the address right" in str(caught.value)


def test_a_full_disk_ends_the_worker_and_loses_nothing(rows, types, tmp_path, monkeypatch):
    from geograph_types.platform import outbox as module

    queue, path, connected = ReferenceQueue(rows, sleep_s=0), tmp_path / "outbox.sqlite", module._connected

    def small(path):
        connection = connected(path)
        connection.execute("PRAGMA max_page_count = 120")  # 480 KB; SQLite says the same of a full disk
        return connection

    monkeypatch.setattr(module, "_connected", small)
    with serving(queue) as url:
        with pytest.raises(JobError, match="Make room"):
            vector_worker(url, types, path, batch=500).run()
        monkeypatch.setattr(module, "_connected", connected)
        vector_worker(url, types, path, batch=500).run()
    check_labels(queue, ApiHead.open(types), rows)


def test_a_label_that_the_server_does_not_take_holds_up_nothing(rows, types, tmp_path):
    queue, outbox = ReferenceQueue(rows[:300], sleep_s=0), tmp_path / "outbox.sqlite"
    store = queue.labels_or_vectors

    async def all_but_one(request):
        answer = await store(request)
        answer.body = b"".join(line for line in answer.body.splitlines(True) if not line.startswith(b"100:"))
        answer.headers["content-length"] = str(len(answer.body))
        return answer

    queue.labels_or_vectors = all_but_one
    with serving(queue) as url:
        vector_worker(url, types, outbox).run()
        assert kept(outbox, url)["labels"] == len([key for key in queue.labels if key[0] == 100])
    check_labels(queue, ApiHead.open(types), rows[:300])
    assert Counter(key[0] for key in queue.received.elements())[101] <= 8  # 7 classes, or None


def test_two_workers_share_no_outbox(types, tmp_path):
    with Outbox(tmp_path / "outbox.sqlite", {"url": "u", "queue": "types", "kind": "vectors"}):
        with pytest.raises(JobError, match="Another process"):
            vector_worker("http://127.0.0.1:9/", types, tmp_path / "outbox.sqlite").run()


def test_a_token_is_sent_and_never_said(rows, types, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("GEOGRAPH_TOKEN", "s3cret-token")
    queue = ReferenceQueue(rows[:100], sleep_s=0, faults=0.3, kinds=("said",), seed=3)
    store = queue.question

    async def telling(request):
        from starlette.responses import JSONResponse

        if len(queue.requests) == 1:
            return JSONResponse({"error": f"bad {request.headers['authorization']}"})
        return await store(request)

    queue.question = telling
    with serving(queue) as url, caplog.at_level("DEBUG"):
        vector_worker(url + "?key=7", types, tmp_path / "outbox.sqlite", batch=20).run()
    assert {headers["authorization"] for headers in queue.headers} == {"Bearer s3cret-token"}
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("geograph_types")]
    assert ours and not any("s3cret" in text for text in ours)
    assert "s3cret" not in (tmp_path / "outbox.jsonl").read_text()
    assert "key=7" not in (tmp_path / "outbox.jsonl").read_text()


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> tuple[Path, list[dict]]:
    """24 drawn photographs, of which four are broken in as many ways, and one has no title."""
    folder = tmp_path_factory.mktemp("photographs")
    table = write_photographs(folder, 24, seed=0, size=(64, 64))
    rows = [
        {"gridimage_id": str(number), "user_id": "3", "fullpath": f"/{path}", "title": title, "realname": "A"}
        for number, path, title in zip(table["gridimage_id"], table["path"], table["title"])
    ]
    broken = [folder / row["fullpath"][1:] for row in rows[5:9]]
    broken[0].write_bytes(broken[0].read_bytes()[:500])
    broken[1].write_bytes(b"")
    broken[2].write_text("<html>not found</html>")
    broken[3].unlink()
    rows[20]["title"] = ""
    rows[21]["title"] = "Bridge &amp; lock, the &#39;cut&#39;"
    return folder, rows


@pytest.fixture(scope="session")
def heads() -> list[ApiHead]:
    """An untrained context head and one of scores, on the vectors of two small networks."""
    from geograph_types.context import ContextPredictor
    from geograph_types.heads import HeadPredictor

    torch.manual_seed(0)
    context = ContextHead("linear", ["img", "txt"], recipe=asdict(RECIPES["clip-image"]))
    scenic = FeatureHead("scenic", recipes={name: asdict(recipe) for name, recipe in RECIPES.items()})
    return [ApiHead(ContextPredictor(context)), ApiHead(HeadPredictor(scenic))]


def check_photographs(
    queue: ReferenceQueue, folder: Path, rows: list[dict], broken: set[int], scenic: ApiHead
) -> float:
    """All have their labels or Failed, and the vectors of `embed`; the smallest cosine."""
    failed = {image for image, _, label in queue.labels if label == "Failed"}
    assert failed == broken
    assert all(score == -1 for (_, _, label), score in queue.labels.items() if label == "Failed")
    good = [row for row in rows if int(row["gridimage_id"]) not in broken]
    ids = {int(row["gridimage_id"]) for row in good}
    for model in ("clip", "v_bayesian"):
        assert {image for image, of, label in queue.labels if of == model and label != "Failed"} == ids
    assert queue.vectors.keys() == {(image, kind) for image in ids for kind in ("image", "title")}
    encoder, paths = load_clip(RECIPES["clip-image"]), [folder / row["fullpath"][1:] for row in good]
    images = embed_photographs(paths, encoder).records.embeddings
    titles = encoder.embed_texts([unescape(row["title"]) for row in good])
    vectors = {
        "clip-image": images,
        "pe-image": embed_photographs(paths, RECIPES["pe-image"]).records.embeddings,
    }
    numbers = scenic.predictor.predict(vectors)["v_bayesian"]
    sent = [queue.labels[int(row["gridimage_id"]), "v_bayesian", None] for row in good]
    np.testing.assert_allclose(sent, numbers, atol=1e-4)
    cosines = []
    for row, image, title in zip(good, images, titles):
        for kind, ours in (("image", image), ("title", title)):
            sent = decode_vector(queue.vectors[int(row["gridimage_id"]), kind], len(ours))
            cosines.append(ours @ sent / np.linalg.norm(ours) / np.linalg.norm(sent))
            assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(sent), rel=1e-4)
    return min(cosines)


def test_photographs_are_fetched_embedded_and_labelled(photographs, heads, tmp_path):
    folder, rows = photographs
    queue = ReferenceQueue(
        rows, sleep_s=0, faults=0.2, kinds=("busy", "drop", "lost", "cut"), photographs=folder
    )
    with serving(queue) as url:
        asked = PhotographQueue(url, "clip", batch=15, number=3, timeout_s=2)
        labeller = PhotographLabeller(heads, fetcher=PoliteFetcher(requests_per_second=500, retries=0))
        rates = Worker(asked, labeller, tmp_path / "outbox.sqlite", WorkerSettings(until_empty=True)).run()
    broken = {int(row["gridimage_id"]) for row in rows[5:9]}
    assert check_photographs(queue, folder, rows, broken, heads[1]) >= 0.99999
    assert rates.counts["failed"] == 4 and rates.counts["labelled"] == 24
    assert queue.needless == 0


def test_a_thumbnail_server_that_is_down_for_a_while(photographs, heads, tmp_path):
    folder, rows = photographs
    queue = ReferenceQueue(rows[10:14], sleep_s=0, photographs=folder)
    with serving(queue) as url:
        queue.prefix = "http://127.0.0.1:9"
        labeller = PhotographLabeller(heads, fetcher=PoliteFetcher(requests_per_second=500, retries=0))
        asked = PhotographQueue(url, "clip", number=3)
        path, settings = tmp_path / "outbox.sqlite", WorkerSettings(until_empty=True, patience_s=0.5)
        Worker(asked, labeller, path, settings).run()
    assert {label for _, _, label in queue.labels} == {"Failed"}  # and the server queues them again


def test_an_untrusted_certificate_is_refused(types, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out"]
    line += [str(certificate), "-days", "1", "-subj", "/CN=localhost"]
    try:
        subprocess.run(line, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    queue = ReferenceQueue([{"gridimage_id": "1", "embeddings": ""}], sleep_s=0)
    with serving(queue, ssl_keyfile=key, ssl_certfile=certificate) as url:
        address = url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(QueueError, match="CERTIFICATE_VERIFY_FAILED"):
            vector_worker(address, types, tmp_path / "outbox.sqlite", patience_s=30).run()
    assert not queue.requests


def test_a_notebook_gets_the_rates_as_text(types, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    worker = vector_worker("http://127.0.0.1:9/", types, tmp_path / "outbox.sqlite")
    with worker._shown(quiet=False):
        worker.rates.add(kept=7)
    out, err = capsys.readouterr()
    assert "7 rows" in err and not out
