"""Downloads from servers that misbehave in every way we know of; all on this machine's loopback address."""

import gzip
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import types
from email.utils import formatdate

import pytest

from geograph_types import fetch
from geograph_types.fetch import DownloadError, download, download_checkpoint, download_dataset

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Answers request number i with answers[i], the last one from then on; remembers what was asked."""

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.ranges, self.paths = list(answers), [], []
        self.url = f"http://127.0.0.1:{self.server_port}/file.bin"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers["Range"])
        server.paths.append(self.path)
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        answer(self)

    def log_message(self, *args):
        pass

    def send(self, status, body=b"", length=True, **headers):
        """Status line, headers (underscores become hyphens) and body."""
        self.send_response(status)
        if length:
            self.send_header("Content-Length", str(len(body) if length is True else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)


def whole(content=CONTENT, stop=None, etag='"a"'):
    """Sends everything whatever was asked; `stop` hangs up after that many bytes."""
    return lambda handler: handler.send(200, content[:stop], len(content), ETag=etag)


def ranged(content=CONTENT, etag='"a"', stop=None, heed_if_range=True):
    """Honours Range, and If-Range unless told not to; `stop` hangs up after that many bytes of the answer."""

    def answer(handler):
        asked, mark = handler.headers["Range"], handler.headers["If-Range"]
        if not asked or (heed_if_range and mark != etag):
            return handler.send(200, content[:stop], len(content), ETag=etag)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return handler.send(416, Content_Range=f"bytes */{len(content)}")
        rest = content[start:]
        handler.send(
            206,
            rest[:stop],
            len(rest),
            ETag=etag,
            Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
        )

    return answer


def status(code, **headers):
    return lambda handler: handler.send(code, **headers)


@pytest.fixture
def serve(monkeypatch):
    """Starts a Server with the given answers; waits between tries are cut to a hundredth of a second."""
    monkeypatch.setattr(fetch, "_FIRST_WAIT_S", 0.01)
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def get(server, path, **options):
    """Downloads, and makes sure that nothing but the file is left."""
    arrived = download(server.url, path, sha256=SHA256, quiet=True, **options)
    assert arrived == path and path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_goes_on_where_the_connection_broke(serve, tmp_path):
    server = serve(ranged(stop=100_000), ranged(stop=50_000), ranged())
    get(server, tmp_path / "f")
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_server_that_ignores_range(serve, tmp_path):
    server = serve(whole(stop=100_000), whole())
    get(server, tmp_path / "f")
    assert server.ranges == [None, "bytes=100000-"]


def test_server_without_any_mark_is_started_again(serve, tmp_path):
    def unmarked(stop=None):
        return lambda handler: handler.send(200, CONTENT[:stop], len(CONTENT))

    server = serve(unmarked(100_000), unmarked())
    get(server, tmp_path / "f")
    assert server.ranges == [None, None]


def test_weak_etag_falls_back_to_last_modified(serve, tmp_path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    asked = []

    def first(handler):
        handler.send(200, CONTENT[:1000], len(CONTENT), ETag='W/"a"', Last_Modified=date)

    def second(handler):
        asked.append(handler.headers["If-Range"])
        handler.send(
            206,
            CONTENT[1000:],
            ETag='W/"a"',
            Last_Modified=date,
            Content_Range=f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}",
        )

    get(serve(first, second), tmp_path / "f")
    assert asked == [date]


@pytest.mark.parametrize("heed_if_range", [True, False])
def test_file_that_changes_midway(serve, tmp_path, heed_if_range):
    old = os.urandom(len(CONTENT))
    server = serve(ranged(old, '"old"', stop=100_000), ranged(CONTENT, '"new"', heed_if_range=heed_if_range))
    get(server, tmp_path / "f")


def test_another_range_than_asked_for(serve, tmp_path):
    def wrong(handler):
        handler.send(206, CONTENT[5:], ETag='"a"', Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")

    server = serve(ranged(stop=100_000), wrong, ranged())
    get(server, tmp_path / "f")


def test_file_that_became_shorter(serve, tmp_path):
    longer = CONTENT + b"more"
    server = serve(ranged(longer, stop=len(CONTENT) + 1), ranged(), ranged())
    get(server, tmp_path / "f")


def test_always_truncated_ends_in_an_error_and_keeps_the_part(serve, tmp_path):
    server = serve(whole(stop=100_000))
    with pytest.raises(DownloadError, match="100,000 bytes are kept.*put it at"):
        download(server.url, tmp_path / "f", retries=2, quiet=True)
    assert len(server.ranges) == 3
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["f.part", "f.part.json"]


def test_cut_short_without_content_length_is_caught_by_size(serve, tmp_path):
    server = serve(lambda handler: handler.send(200, CONTENT[:-1], length=False))
    with pytest.raises(DownloadError, match="299,999 bytes where 300,000 were expected"):
        download(server.url, tmp_path / "f", size=len(CONTENT), quiet=True)
    assert not list(tmp_path.iterdir())


def test_wrong_size_is_refused_before_the_body(serve, tmp_path):
    server = serve(whole())
    with pytest.raises(DownloadError, match="has 300,000 bytes where 7 were expected"):
        download(server.url, tmp_path / "f", size=7, quiet=True)
    assert not list(tmp_path.iterdir())


def test_wrong_sha256_is_deleted(serve, tmp_path):
    server = serve(whole())
    with pytest.raises(DownloadError, match=f"SHA-256 {SHA256} where {'0' * 64} was expected"):
        download(server.url, tmp_path / "f", sha256="0" * 64, quiet=True)
    assert len(server.ranges) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_refusals_are_not_retried(serve, tmp_path, code):
    server = serve(status(code))
    with pytest.raises(DownloadError, match=f"{server.url} answered {code}.*put it at"):
        download(server.url, tmp_path / "f", quiet=True)
    assert len(server.ranges) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_troubles_are_retried(serve, tmp_path, code):
    server = serve(status(code), status(code), whole())
    get(server, tmp_path / "f")
    assert len(server.ranges) == 3


def test_troubles_are_retried_a_bounded_number_of_times(serve, tmp_path):
    server = serve(status(503))
    with pytest.raises(DownloadError, match="answered 503"):
        download(server.url, tmp_path / "f", retries=3, quiet=True)
    assert len(server.ranges) == 4


def test_retry_after_is_heeded(serve, tmp_path):
    server = serve(status(429, Retry_After=1), whole())
    start = time.monotonic()
    get(server, tmp_path / "f")
    assert time.monotonic() - start >= 1


def test_retry_after_as_a_date_and_its_bound(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "_LONGEST_ASKED_WAIT_S", 0.02)
    get(serve(status(503, Retry_After=formatdate(time.time() + 3600, usegmt=True)), whole()), tmp_path / "f")


def test_retries_are_announced_unless_quiet(serve, tmp_path, capsys):
    download(serve(status(503), whole()).url, tmp_path / "f")
    captured = capsys.readouterr()
    assert "answered 503 Service Unavailable; trying again in" in captured.err and not captured.out


def test_redirects_are_followed(serve, tmp_path):
    target = serve(whole())
    get(serve(status(302, Location=target.url)), tmp_path / "f")


def test_addresses_that_cannot_work(tmp_path):
    for url in ["ftp://127.0.0.1/file", "not an address", "http://127.0.0.1:99999999/"]:
        with pytest.raises(DownloadError, match="put it at"):
            download(url, tmp_path / "f", retries=0, quiet=True)


def test_a_file_brought_by_hand_needs_no_server(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    download("http://127.0.0.1:9/nobody", tmp_path / "f", sha256=SHA256)
    download("http://127.0.0.1:9/nobody", tmp_path / "f", size=len(CONTENT))
    download("http://127.0.0.1:9/nobody", tmp_path / "f")


def test_a_file_that_does_not_match_is_replaced(serve, tmp_path):
    (tmp_path / "f").write_bytes(b"an older edition")
    get(serve(whole()), tmp_path / "f")


def test_an_old_file_stays_until_the_new_one_is_whole(serve, tmp_path):
    (tmp_path / "f").write_bytes(b"an older edition")
    with pytest.raises(DownloadError):
        download(serve(whole(stop=5)).url, tmp_path / "f", sha256=SHA256, retries=0, quiet=True)
    assert (tmp_path / "f").read_bytes() == b"an older edition"


@pytest.mark.parametrize("notes", ["", "{", '{"mark": "a"}'])
def test_damaged_notes_mean_a_fresh_start(serve, tmp_path, notes):
    (tmp_path / "f.part").write_bytes(b"whatever")
    (tmp_path / "f.part.json").write_text(notes)
    get(serve(ranged()), tmp_path / "f")


def test_a_whole_part_is_not_fetched_again(serve, tmp_path):
    server = serve(whole())
    (tmp_path / "f.part").write_bytes(CONTENT)
    (tmp_path / "f.part.json").write_text(
        json.dumps({"url": server.url, "mark": '"a"', "size": len(CONTENT)})
    )
    get(server, tmp_path / "f")
    assert server.ranges == []


CLIENT = "import sys; from geograph_types.fetch import download; download(*sys.argv[1:4], quiet=True)"


def test_a_killed_client_goes_on(serve, tmp_path):
    """SIGKILL at several moments; what has arrived is used by the next run."""

    def slow(handler):
        asked = handler.headers["Range"]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        ends = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.send_response(206 if asked else 200)
        for name, value in [
            ("ETag", '"a"'),
            ("Content-Length", len(CONTENT) - start),
            ("Content-Range", ends),
        ]:
            handler.send_header(name, str(value))
        handler.end_headers()
        try:
            for block in range(start, len(CONTENT), 10_000):
                handler.wfile.write(CONTENT[block : block + 10_000])
                time.sleep(0.02)
        except OSError:
            pass  # the client is gone

    server, part = serve(slow), tmp_path / "f.part"
    for goal in (40_000, 120_000):
        client = subprocess.Popen([sys.executable, "-c", CLIENT, server.url, str(tmp_path / "f"), SHA256])
        for _ in range(600):
            if part.exists() and part.stat().st_size >= goal:
                break
            time.sleep(0.02)
        client.kill()
        client.wait(30)
        assert part.stat().st_size >= goal
    get(server, tmp_path / "f")
    assert len(server.ranges) == 3 and server.ranges[0] is None and None not in server.ranges[1:]


def test_processes_that_want_the_same_file_fetch_it_once(serve, tmp_path):
    def unhurried(handler):
        time.sleep(1)
        whole()(handler)

    server = serve(unhurried)
    clients = [
        subprocess.Popen([sys.executable, "-c", CLIENT, server.url, str(tmp_path / "f"), SHA256])
        for _ in range(3)
    ]
    assert [client.wait(60) for client in clients] == [0, 0, 0]
    assert len(server.ranges) == 1 and [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_published_checkpoints(serve, tmp_path, published, monkeypatch):
    """The real files, served as a mirror: fetched once, found in the cache, repaired when damaged."""

    def answer(handler):
        file = published / "geograph" / handler.path.rpartition("/")[2]
        handler.send(200, file.read_bytes()) if file.exists() else handler.send(404)

    server = serve(answer)
    monkeypatch.setenv("GEOGRAPH_TYPES_MIRROR", server.url.rpartition("/")[0] + "/")
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    here = [
        version
        for version, (url, _) in fetch.PUBLISHED_CHECKPOINTS.items()
        if (published / "geograph" / url.rpartition("/")[2]).exists()
    ]
    assert here, "no published checkpoint lies in the folder geograph"
    for version in here:
        path = download_checkpoint(version)
        assert path.parent == tmp_path / "cache" and path.suffix == ".pth"
        asked = len(server.paths)
        assert download_checkpoint(version) == path and len(server.paths) == asked
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        download_checkpoint(version)
        assert (
            fetch.file_sha256(path) == fetch.PUBLISHED_CHECKPOINTS[version][1]
            and len(server.paths) == asked + 1
        )


def test_cache_folder(monkeypatch, tmp_path):
    for name in ("GEOGRAPH_TYPES_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert fetch.cache_folder() == tmp_path / ".cache" / "geograph_types"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.cache_folder() == tmp_path / "xdg" / "geograph_types"
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", "~/mine")
    assert fetch.cache_folder() == tmp_path / "mine"
    assert not list(tmp_path.iterdir())


def test_dataset_from_the_site(serve, tmp_path, monkeypatch):
    server, content = serve(whole(dataset(10))), dataset(10)
    monkeypatch.setenv("GEOGRAPH_TYPES_MIRROR", server.url.rpartition("/")[0])
    monkeypatch.setattr(fetch, "DATASET_BYTES", len(content))
    monkeypatch.setattr(fetch, "DATASET_ROWS", 10)
    path = download_dataset(tmp_path)
    assert path.name == "types_dataset_1.jsonl.gz" and path.read_bytes() == content
    assert server.paths == ["/types_dataset_1.jsonl.gz"]


def test_dataset_from_kaggle(tmp_path, monkeypatch):
    store = tmp_path / "kaggle" / "versions" / "1"
    store.mkdir(parents=True)
    kagglehub = types.SimpleNamespace(dataset_download=lambda handle: str(store))
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    with pytest.raises(DownloadError, match="holds no .jsonl"):
        download_dataset(tmp_path / "data", source="kaggle")
    (store / "types_dataset_1.jsonl").write_text("{}\n")
    with pytest.raises(DownloadError, match="no photographs"):
        download_dataset(tmp_path / "data", source="kaggle")
    row = '{"gridimage_id": 1, "embeddings": ""}\n'
    (store / "types_dataset_1.jsonl").write_text(row)
    monkeypatch.setattr(fetch, "DATASET_ROWS", 1)
    path = download_dataset(tmp_path / "data", source="kaggle")
    assert path == tmp_path / "data" / "types_dataset_1.jsonl" and path.read_text() == row


def test_kaggle_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # makes the import fail
    with pytest.raises(DownloadError, match=r"pip install 'geograph_types\[kaggle\]'"):
        download_dataset(tmp_path, source="kaggle")


def dataset(rows, key="embeddings"):
    """A made-up dataset of so many rows, compressed."""
    return gzip.compress(
        b"".join(b'{"gridimage_id": %d, "%s": ""}\n' % (n, key.encode()) for n in range(rows)), mtime=0
    )


@pytest.mark.parametrize(
    "content, words",
    [
        (bytes(1000), "no readable rows"),  # as many zeros as the dataset has bytes
        (dataset(9), "9 rows where 10 were expected"),
        (dataset(10)[:-20], "no readable rows"),
        (dataset(10, "vectors"), "no photographs"),
        (gzip.compress(b"<html>", mtime=0), "no readable rows"),
    ],
    ids=["zeros", "a row too few", "cut short", "other columns", "a page"],
)
def test_what_is_as_long_as_the_dataset_need_not_be_it(content, words, serve, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "DATASET_BYTES", len(content))
    monkeypatch.setattr(fetch, "DATASET_ROWS", 10)
    monkeypatch.setenv("GEOGRAPH_TYPES_MIRROR", serve(whole(content)).url.rpartition("/")[0])
    with pytest.raises(DownloadError, match=words):
        download_dataset(tmp_path)
    assert not list(tmp_path.iterdir())
    good = gzip.compress(gzip.decompress(dataset(10))[:-1], mtime=0)  # its last line need not end
    monkeypatch.setattr(fetch, "DATASET_BYTES", len(good))
    monkeypatch.setenv("GEOGRAPH_TYPES_MIRROR", serve(whole(good)).url.rpartition("/")[0])
    assert download_dataset(tmp_path).read_bytes() == good


def test_polygons_and_weights_are_looked_at_before_they_are_kept(serve, tmp_path, monkeypatch):
    from geograph_types.clip import network
    from geograph_types.places import lookup
    from geograph_types.recipe import Recipe

    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path))
    source = lookup.AreaSource(serve(whole(bytes(1000))).url, "NAME")
    monkeypatch.setitem(lookup.AREA_SOURCES, "historic county", source)
    with pytest.raises(DownloadError, match="no .zip in it"):
        lookup.load_areas("historic county")
    monkeypatch.setattr(network, "_tag_address", lambda recipe: ("", source.url))
    with pytest.raises(DownloadError, match="no weights that can be read"):
        network._downloaded(Recipe(), 1)
    hashed = source.url.replace("file.bin", f"{SHA256}/ViT-B-32.pt")
    monkeypatch.setattr(network, "_tag_address", lambda recipe: ("", hashed))
    with pytest.raises(DownloadError, match=f"{SHA256} was expected"):
        network._downloaded(Recipe(), 1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
