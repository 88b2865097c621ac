"""Country and climate of the published positions, from the published polygons."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from geograph_types.places import (
    COUNTRY_SPELLINGS,
    Geocoder,
    climate_code,
    climate_of,
    country_of,
    load_areas,
    read_areas,
)

pytest.importorskip("geopandas", reason="the extra `geo` is not installed")


@pytest.fixture(scope="module")
def photographs(published) -> pd.DataFrame:
    """id, country, LAT, LON of the 11,500 published photographs."""
    folder = published / "geoguessr"
    countries = pd.read_csv(folder / "country100.csv", header=None, names=["id", "country"])
    positions = pd.read_csv(folder / "country100_geoestimation.csv")
    positions["id"] = positions["IMG_ID"].str.removesuffix(".jpg")
    return countries.merge(positions, on="id", validate="one_to_one")


def test_countries_agree_as_published(published, photographs):
    boundaries = published / "geoguessr" / "boundaries" / "world-administrative-boundaries.shp"
    lat, lon, expected = photographs["LAT"], photographs["LON"], photographs["country"]
    others = {spelling: name for spelling, name in COUNTRY_SPELLINGS.items() if name != "North Macedonia"}
    as_published = read_areas(boundaries, "name", others)  # where that country has another name

    def agreement(names) -> str:
        return f"{(names == expected).mean():.4f}"

    assert agreement(as_published.of(lat, lon)) == "0.8996"
    assert agreement(as_published.nearest_in_degrees(lat, lon)) == "0.9543"
    assert agreement(load_areas("country", boundaries).nearest_in_degrees(lat, lon)) == "0.9630"
    assert (
        agreement(country_of(lat, lon, boundaries)) == "0.9627"
    )  # nearest in km: four photographs at 59 degrees north


def test_only_polygons_whose_box_holds_a_position_are_looked_at(published, photographs, monkeypatch):
    """A search tree stands before the polygons: few pairs of a position and a polygon are left to be tested."""
    import shapely

    boundaries = published / "geoguessr" / "boundaries" / "world-administrative-boundaries.shp"
    areas = load_areas("country", boundaries)
    tested, whole = [], shapely.intersects_xy

    def counted(polygons, *where):
        tested.append(len(polygons))
        return whole(polygons, *where)

    monkeypatch.setattr(shapely, "intersects_xy", counted)
    areas.of(photographs["LAT"], photographs["LON"])
    assert len(photographs) == 11_500 and len(tested) == 1 and tested[0] < 10 * 11_500


def test_climates_agree_as_published(published, photographs):
    folder = published / "geoguessr"
    climates = pd.read_csv(folder / "climates30k.csv", header=None, names=["id", "climate"])
    shared = photographs.merge(climates, on="id")
    polygons = folder / "koppen" / "koppen_geiger_2007.shp"
    expected = shared["climate"].map(climate_code)
    assert len(shared) == 437
    assert (
        f"{(climate_of(shared['LAT'], shared['LON'], polygons, within_km=0) == expected).mean():.4f}"
        == "0.8627"
    )
    assert (climate_of(shared["LAT"], shared["LON"], polygons) == expected).all()


class _Nominatim(BaseHTTPRequestHandler):
    """Answers as OpenStreetMap's service does."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = (
            b'{"lat": "50", "lon": "14", "display_name": "Praha", "address": {"country": "Czech Republic"}}'
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass


def test_the_online_geocoder_waits_between_questions_and_remembers(tmp_path, monkeypatch):
    from geopy.geocoders import Nominatim

    now, waits = [1000.0], []

    def sleep(seconds: float) -> None:
        waits.append(round(seconds))
        now[0] += seconds + 1e-6

    monkeypatch.setattr("geopy.extra.rate_limiter.sleep", sleep)
    monkeypatch.setattr("geopy.extra.rate_limiter.default_timer", lambda: now[0])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Nominatim)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        service = Nominatim(user_agent="tests", domain=f"127.0.0.1:{server.server_port}", scheme="http")
        for _ in range(2):
            geocoder = Geocoder(tmp_path / "answers.sqlite", "tests", service, min_delay_s=60)
            assert geocoder.of([50.0, 50.1, 50.2], [14.0, 14.0, 14.0]).tolist() == ["Czechia"] * 3
    finally:
        server.shutdown()
    assert _Nominatim.asked == 3 and waits == [60, 60]
