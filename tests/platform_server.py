"""Geograph's labelling queues as their own description has them, on this machine; and every way to misbehave.

`ReferenceQueue` holds the photographs and what came back for them; `serving` runs it. A share of requests (`faults`) meets
one of `FAULTS`:

    refuse  403, and nothing is done        busy     429 with Retry-After        error   500
    drop    the connection is reset         hang     no answer for `hang_s`      said    {"error": ...} with status 200
    broken  half an answer as if whole      wrong    an answer of another kind
    cut     labels are stored, and the answer ends in the middle; rows end in the middle
    lost    labels are stored, and the connection is reset before the answer
"""

import asyncio
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

FAULTS = ("refuse", "busy", "error", "drop", "hang", "said", "broken", "wrong", "cut", "lost")
MODELS = ("clip", "types", "type", "typev2", "top", "subject")


class Cut(Response):
    """An answer that announces more than it sends, so that the connection breaks."""

    async def __call__(self, scope, receive, send):
        length = str(len(self.body)).encode()
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
        await send(start)
        half = {"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True}
        await send(half)
        receive.__self__.transport.close()


class ReferenceQueue:
    """Photographs that wait for labels, and the labels."""

    def __init__(
        self,
        rows: list[dict],  # gridimage_id, and embeddings and distance, or fullpath and title
        sleep_s: float | None = None,  # seconds; the root of the limit unless given
        faults: float = 0.0,  # share of requests that meet one
        kinds: tuple[str, ...] = FAULTS,
        hang_s: float = 1.0,
        seed: int = 0,
        photographs: Path | None = None,  # folder of thumbnails
    ):
        self.rows = {
            int(row["gridimage_id"]): orjson.dumps({k: v for k, v in row.items() if v != ""}) for row in rows
        }
        self.has_vectors = any("embeddings" in row for row in rows)
        self.sleep_s, self.faults, self.kinds, self.hang_s = sleep_s, faults, kinds, hang_s
        self.dice, self.photographs, self.prefix = random.Random(seed), photographs, ""
        self.labels: dict[tuple, float] = {}  # (photograph, model, label) -> score
        self.vectors: dict[tuple, str] = {}  # (photograph, type) -> base64
        self.received: Counter = Counter()  # the same keys -> how often they came
        self.needless = 0  # labels that came again although their answer had gone out whole
        self.answered: set[tuple] = set()
        self.offsets: dict[tuple, int] = {}  # (address, model, client) -> the last photograph handed out
        self.met: Counter = Counter()  # faults
        self.requests: list[tuple] = []  # (method, moment)
        self.busy_s = 0.0
        self.headers: list[dict] = []

    def waiting(self, model: str) -> list[int]:
        """Photographs without a label."""
        done = {image for image, of, _ in self.labels if of == model or model == "clip"}
        return [image for image in self.rows if image not in done]

    async def question(self, request: Request) -> Response:
        """The next rows."""
        asked = request.query_params
        model, fault = asked.get("model"), await self.fault(request)
        if isinstance(fault, Response):
            return fault
        if model not in MODELS or (asked.get("embeddings") == "1") != self.has_vectors:
            return JSONResponse({"error": f"no queue {model!r}"})
        most = 500 if self.has_vectors else 250
        limit = min(int(asked.get("limit", 40)), most)
        client = (request.client.host, model, int(asked["unique_number"]))
        last, waiting = self.offsets.get(client, -1), self.waiting(model)
        later = [image for image in waiting if image > last]
        given = (later or waiting)[:limit]
        if not given:
            return Response(b"")
        self.offsets[client] = given[-1]
        sleep_s = math.ceil(math.sqrt(limit)) if self.sleep_s is None else self.sleep_s
        rows = b",".join(self.rows[image] for image in given)
        body = b'{"prefix":%b,"sleep":%b,"rows":[%b]}' % (
            orjson.dumps(self.prefix),
            orjson.dumps(sleep_s),
            rows,
        )
        return self.spoiled(request, fault, body, b'{"rows": "many"}')

    async def labels_or_vectors(self, request: Request) -> Response:
        """Store what came, and answer with a line for each."""
        self.headers.append(dict(request.headers))
        rows, fault = orjson.loads(await request.body()), await self.fault(request)
        if isinstance(fault, Response):
            return fault
        if fault in ("broken", "wrong"):  # nothing is stored
            return PlainTextResponse({"broken": "<h1>Gateway", "wrong": '{"rows": []}'}[fault])
        lines, keys = [], []
        for row in rows:
            image = int(row["image_id"])
            if "embeddings" in row:
                key, store, value = (image, row["type"]), self.vectors, row["embeddings"]
            else:
                model = row.get("model", request.query_params["model"])
                key, store, value = (image, model, row.get("label")), self.labels, row["score"]
            self.needless += key in self.answered
            self.received[key] += 1
            lines.append(f"{image}: {2 if key in store else 1}\n")
            store[key] = value
            keys.append(key)
        if fault not in ("lost", "cut"):
            self.answered.update(keys)
        return self.spoiled(request, fault, "".join(lines).encode(), b"")

    async def fault(self, request: Request) -> Response | str | None:
        """Nothing, an answer that is given instead, or the name of a fault for later."""
        if self.dice.random() >= self.faults:
            return None
        kind = self.kinds[sum(self.met.values()) % len(self.kinds)]  # each in turn
        self.met[kind] += 1
        if kind == "hang":
            await asyncio.sleep(self.hang_s)
            return Response(status_code=504)
        if kind == "drop":
            request._receive.__self__.transport.abort()
        instead = {
            "refuse": lambda: Response(status_code=403),
            "busy": lambda: Response(status_code=429, headers={"Retry-After": "0"}),
            "error": lambda: Response(status_code=500),
            "said": lambda: JSONResponse({"error": "Too many connections"}),
            "drop": lambda: Response(),
        }
        return instead[kind]() if kind in instead else kind

    def spoiled(self, request: Request, fault: str | None, body: bytes, wrong: bytes) -> Response:
        """The answer, or what a fault makes of it."""
        if fault == "lost":
            request._receive.__self__.transport.abort()
        if fault == "cut":
            return Cut(body)
        return Response({"broken": body[:-7], "wrong": wrong}.get(fault, body))

    def app(self) -> Starlette:
        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            self.requests.append((request.method, time.monotonic()))
            try:
                asked = request.method == "GET"
                return await (self.question(request) if asked else self.labels_or_vectors(request))
            finally:
                self.busy_s += time.perf_counter() - started

        routes = [Route("/labeler.json.php", endpoint, methods=["GET", "POST"])]
        if self.photographs:
            routes.append(Mount("/photos", StaticFiles(directory=self.photographs)))
        return Starlette(routes=routes)


@contextmanager
def serving(queue: ReferenceQueue, **options: object) -> Iterator[str]:
    """The queue's address, for as long as the block lasts."""
    server = uvicorn.Server(
        uvicorn.Config(queue.app(), host="127.0.0.1", port=0, log_level="critical", **options)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    queue.prefix = f"http://127.0.0.1:{port}/photos"
    try:
        yield f"http://127.0.0.1:{port}/labeler.json.php"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(5)


def label_queue(url: str, head: str, outbox: str, **settings: object) -> None:
    """Serve a queue of vectors: what a process does that a test kills."""
    from geograph_types.platform import ApiHead, VectorLabeller, VectorQueue, Worker, WorkerSettings, worker

    worker._LONGEST_WAIT_S = 0.3
    queue = VectorQueue(url, "types", batch=100, number=3, timeout_s=0.5)
    Worker(queue, VectorLabeller([ApiHead.open(head)]), outbox, WorkerSettings(**settings)).run()
