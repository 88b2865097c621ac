"""The commands for places on published files, against services that stand for the online ones, and on bad input."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pandas as pd
import pytest
from typer.testing import CliRunner

from geograph_types.cli.root import app
from geograph_types.errors import FileFormatError, GeographError, InputError
from geograph_types.fetch import DownloadError

pytest.importorskip("geopandas", reason="the extra `geo` is not installed")


def run(*words, fails=None) -> str:
    """What `geograph-types places` says; the error it ends with must be of the kind given."""
    result = CliRunner().invoke(app, ["places", *map(str, words)], env={"COLUMNS": "100", "TERM": "dumb"})
    if fails:
        assert isinstance(result.exception, fails), (result.output, result.exception)
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_guesses_are_as_far_from_the_truth_as_published(published, tmp_path):
    folder = published / "geoguessr"
    guesses, truth = (folder / f"country100_geoestimation{name}.csv" for name in ("_result", ""))
    said = run("errors", guesses, truth, "--out", tmp_path / "errors.csv")
    assert "46,000 rows in: 46,000 used, 0 rejected" in said
    table = pd.read_csv(tmp_path / "errors.csv").set_index("guesses")
    shares = table.loc["hierarchy"].iloc[-5:].round(4).tolist()
    assert shares == [0.0111, 0.0843, 0.1792, 0.3543, 0.5761]
    assert round(table.loc["hierarchy", "median_km"]) == 1695


def test_a_table_that_was_written_can_be_read_again(tmp_path):
    (tmp_path / "rows.csv").write_text("ID,LAT,LON\n1,32.2,-110.9\n2,39.96,-83.0\n3,0,0\n")
    assert "3 rows in: 2 used, 1 rejected" in run("add", tmp_path / "rows.csv", tmp_path / "placed.csv")
    said = run("climates", tmp_path / "placed.csv", tmp_path / "shares.csv", "--country", "United States")
    assert "2 rows in: 2 used, 0 rejected" in said
    assert set(pd.read_csv(tmp_path / "shares.csv")["county"]) == {"Arizona", "Ohio"}


def test_rows_of_mapillary(tmp_path):
    rows = {f"p{k}": {"focal": 0.8, "lat": 50.6 + k / 100, "lon": 6.1, "make": "m"} for k in range(40)}
    rows["bad"] = {"focal": 0.8, "lat": "north", "lon": 6.1}
    (tmp_path / "train.json").write_text(json.dumps(rows))
    said = run("add", tmp_path / "train.json", tmp_path / "out.parquet", "--columns", "country,climate")
    assert "41 rows in: 40 used, 1 rejected" in said
    assert list(pd.read_parquet(tmp_path / "out.parquet")) == [
        "id", "focal", "lat", "lon", "make", "country", "climate",
    ]  # fmt: skip


def test_positions_become_one_page_or_a_picture(tmp_path):
    (tmp_path / "<b>rows.csv").write_text("id,lat,lon\n1,51.5,-0.1\n2,51.5,-0.1\n3,53.4,-2.2\n")
    for name in ("map.html", "map.svg", "map.pdf"):
        run("plot", tmp_path / "<b>rows.csv", tmp_path / "new" / name)
    page = (tmp_path / "new" / "map.html").read_text("utf-8")
    assert "photographs here: 2" in page and "<b>rows" not in page and "<script src" not in page
    assert (tmp_path / "new" / "map.pdf").read_bytes().startswith(b"%PDF")
    said = run("plot", tmp_path / "<b>rows.csv", tmp_path / "map.txt", fails=InputError)
    assert ".svg, .pdf or .html" in said
    run("plot", tmp_path / "<b>rows.csv", tmp_path / "new" / "map.html", fails=GeographError)  # is there


@pytest.mark.parametrize(
    "text, kind",
    [("id,lat,lon\n", FileFormatError), ("id,place\n1,Rome\n", FileFormatError), ("", GeographError)],
)
def test_what_is_no_table_with_positions_is_said(tmp_path, text, kind):
    (tmp_path / "rows.csv").write_text(text)
    assert "rows.csv" in run("add", tmp_path / "rows.csv", tmp_path / "out.csv", fails=kind)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("option", ["nations", "countries", "counties", "climates"])
@pytest.mark.parametrize(
    "content", [b"hello", b"", b"null", b"{}", b'{"type": "Fea', b"PK\3\4", "folder", "pipe"]
)
def test_what_is_no_file_of_polygons_is_said(tmp_path, option, content):
    table, bad = tmp_path / "rows.csv", tmp_path / "bad.geojson"
    table.write_text("id,lat,lon\n1,51,0\n")
    if content == "pipe":
        os.mkfifo(bad)
    elif content == "folder":
        bad.mkdir()
    else:
        bad.write_bytes(content)
    column = {"countries": "country", "counties": "county"}.get(option, option.removesuffix("s"))
    kind = InputError if content == "pipe" else FileFormatError
    words = ["--columns", column, f"--{option}", bad]
    said = run("add", table, tmp_path / "out.csv", *words, fails=kind)
    assert "bad.geojson" in said and len(said) < 500 + len(str(bad)), said
    assert content != "pipe" or "is a pipe or a device" in said


def test_a_broken_train_json_is_said(tmp_path):
    (tmp_path / "train.json").write_text('{"a": {"lat": 1.0, "lon": ')
    run("add", tmp_path / "train.json", tmp_path / "out.csv", fails=FileFormatError)


class _Service(BaseHTTPRequestHandler):
    """Answers as Nominatim (GET) and Overpass (POST) do."""

    asked: list[str] = []

    def _send(self, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked.append(self.headers["User-Agent"])
        address = {"country": "Czech Republic", "county": "okres Kladno"}
        self._send({"lat": "50", "lon": "14", "display_name": "x", "address": address})

    def do_POST(self) -> None:
        self.asked.append(self.headers["User-Agent"])
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        assert "is_in(50.0,14.0)" in parse_qs(body)["data"][0]
        levels = {"2": ("Česko", "Czechia"), "6": ("Středočeský kraj", None), "7": ("x", "x")}
        tags = [
            {"admin_level": level, "name": name, **({"name:en": english} if english else {})}
            for level, (name, english) in levels.items()
        ]
        self._send({"elements": [{"tags": one} for one in tags]})

    def log_message(self, *arguments) -> None:
        pass


@pytest.mark.parametrize("service, county", [("nominatim", "okres Kladno"), ("overpass", "Středočeský kraj")])
def test_services_are_asked_once_and_told_who_asks(tmp_path, monkeypatch, service, county):
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.csv").write_text("id,lat,lon\n1,50,14\n2,50,14\n")
    _Service.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name in ("one.csv", "two.csv"):
            run(
                "add", tmp_path / "rows.csv", tmp_path / name, "--columns", "country,county",
                "--online", service, "--agent", "tests", "--server", f"http://127.0.0.1:{server.server_port}",
            )  # fmt: skip
            table = pd.read_csv(tmp_path / name)
            assert table["country"].tolist() == ["Czechia"] * 2 and table["county"].tolist() == [county] * 2
    finally:
        server.shutdown()
        server.server_close()
    assert _Service.asked == ["tests"]


def test_a_service_that_is_away_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("geopy.extra.rate_limiter.sleep", lambda seconds: None)
    monkeypatch.setenv("GEOGRAPH_TYPES_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.csv").write_text("id,lat,lon\n1,50,14\n")
    words = ("add", tmp_path / "rows.csv", tmp_path / "out.csv", "--online", "overpass")
    assert "--agent" in run(*words, fails=InputError)
    said = run(*words, "--agent", "tests", "--server", "http://127.0.0.1:9", fails=DownloadError)
    assert "Answers so far are kept" in said
