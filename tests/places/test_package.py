"""Country, nation, county and climate from what travels in the package, without a network or a file."""

import socket
import zipfile

import numpy as np
import pandas as pd
import pytest

from geograph_types.earth import grid_to_lat_lon, land_squares
from geograph_types.places import (
    COUNTRY_SPELLINGS,
    UN_M49,
    Areas,
    climate_code,
    climate_of,
    country_of,
    county_of,
    load_areas,
    nation_of,
    read_areas,
)

geopandas = pytest.importorskip("geopandas", reason="the extra `geo` is not installed")
shapely = pytest.importorskip("shapely")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No test here may open a connection."""

    def refuse(*arguments):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def photographs(published) -> pd.DataFrame:
    """id, country, LAT, LON of the 11,500 published photographs."""
    countries = pd.read_csv(published / "geoguessr" / "country100.csv", header=None, names=["id", "country"])
    positions = pd.read_csv(published / "geoguessr" / "country100_geoestimation.csv")
    positions["id"] = positions["IMG_ID"].str.removesuffix(".jpg")
    return countries.merge(positions, on="id", validate="one_to_one")


def test_published_countries(photographs):
    found = country_of(photographs["LAT"], photographs["LON"])
    assert f"{(found == photographs['country']).mean():.3f}" == "0.974"


def test_published_climates(published, photographs):
    """The package has another climatology than the published polygons: they agree on two in three."""
    climates = pd.read_csv(published / "geoguessr" / "climates30k.csv", header=None, names=["id", "climate"])
    shared = photographs.merge(climates, on="id")
    found = climate_of(shared["LAT"], shared["LON"])
    assert len(shared) == 437
    assert f"{(found == shared['climate'].map(climate_code)).mean():.3f}" == "0.673"


PLACES = {
    "St Kilda": (57.813, -8.585, "Scotland", "Na h-Eileanan Siar"),
    "Fair Isle": (59.53, -1.63, "Scotland", "Shetland"),
    "Foula": (60.13, -2.07, "Scotland", "Shetland"),
    "Lundy": (51.18, -4.67, "England", "Devon"),
    "Skellig Michael": (51.771, -10.54, "Ireland", "Kerry"),
    "Sule Skerry": (59.084, -4.407, "Scotland", "Orkney"),
    "Rockall": (57.5963, -13.6874, "Scotland", "Na h-Eileanan Siar"),
    "Castlefinn": (54.80, -7.60, "Ireland", "Donegal"),
    "Pettigo": (54.549, -7.832, "Ireland", "Donegal"),
    "Lifford": (54.832, -7.483, "Ireland", "Donegal"),
    "Strabane": (54.827, -7.46, "Northern Ireland", "Strabane"),
    "Blacklion": (54.291, -7.881, "Ireland", "Cavan"),
    "Belcoo": (54.296, -7.87, "Northern Ireland", "Fermanagh"),
    "Knighton": (52.344, -3.049, "Wales", "Powys"),
    "Berwick": (55.77, -2.0, "England", "Northumberland"),
    "St Helier": (49.19, -2.11, "Jersey", "Jersey"),
    "St Peter Port": (49.455, -2.54, "Guernsey", None),
    "Douglas": (54.15, -4.48, "Isle of Man", "Isle of Man"),
    "Pristina": (42.66, 21.16, "Kosovo", None),
    "Longyearbyen": (78.22, 15.65, "Svalbard and Jan Mayen", None),
    "Saint-Denis": (-20.88, 55.45, "Réunion", None),
    "Cayenne": (4.92, -52.3, "French Guiana", None),
    "Adamstown": (-25.066, -130.1, "Pitcairn", None),
    "Gustavia": (17.896, -62.85, "Saint Barthélemy", None),
    "Wrangel Island": (71.2, -179.5, "Russia", None),
}


@pytest.mark.parametrize("name", PLACES)
def test_islands_and_border_towns(name):
    lat, lon, nation, county = PLACES[name]
    assert nation_of(lat, lon) == nation
    assert county is None or county_of(lat, lon) == county


def test_no_coast_is_missed():
    """Against every edge within 60 km, for 500 points near coasts all over the world."""
    areas = load_areas("country")
    edges = areas._edges()
    order = np.argsort(edges.start[:, 1])
    south = edges.start[order, 1]
    rng = np.random.default_rng(0)
    near = edges.start[rng.choice(len(edges.start), 500)] + rng.normal(0, 0.1, (500, 2))
    lat, lon = np.clip(near[:, 1], -84, 84), near[:, 0]
    expected = areas.of(lat, lon)
    for row in [row for row, name in enumerate(expected) if name is None]:
        begin, end = np.searchsorted(south, [lat[row] - 6, lat[row] + 6])
        there = order[begin:end]  # edges are at most 5 degrees long
        away = (edges.start[there, 0] - lon[row] + 180) % 360 - 180
        there = there[np.abs(away) < 5 + 0.6 / np.cos(np.radians(lat[row]))]
        distance_km = edges._distance_km(np.full(len(there), lat[row]), np.full(len(there), lon[row]), there)
        if len(there) and distance_km.min() <= 25:
            expected[row] = areas.names[areas._owner[edges.part[there[distance_km.argmin()]]]]
    assert sum(name is not None for name in expected) > 300
    assert country_of(lat, lon).tolist() == expected.tolist()


def test_no_point_gets_a_county_of_another_nation():
    """Counties of the North alone, drawn far beyond the border and over each other; 4,000 points on both sides."""
    rng = np.random.default_rng(1)
    middle = np.stack([rng.uniform(-8.0, -5.9, 40), rng.uniform(54.2, 55.1, 40)], axis=1)
    squares = [shapely.Point(place).buffer(0.35) for place in middle]
    counties = Areas([f"county {number}" for number in range(40)], squares)
    lat, lon = rng.uniform(53.9, 55.3, 4000), rng.uniform(-8.6, -5.5, 4000)
    nation = nation_of(lat, lon)
    owner = {}
    for name, square in zip(counties.names, squares):
        grid = rng.uniform(-0.35, 0.35, (1500, 2)) + square.centroid.coords[0]
        inside = grid[shapely.intersects_xy(square, grid[:, 0], grid[:, 1])]
        names = pd.Series(nation_of(inside[:, 1], inside[:, 0])).value_counts(normalize=True)
        owner[name] = names.index[0] if names.iloc[0] > 0.55 else None  # too close to say
    found = county_of(lat, lon, counties)
    assert sum(name is not None for name in found) > 1000
    assert counties.of(lat, lon)[nation == "Ireland"].astype(bool).any()
    for name, there in zip(found, nation):
        assert name is None or owner[name] in (None, there)


def test_a_finer_file_is_cut_at_the_nations_border_or_brings_its_own():
    """A county file with a line of its own through Pettigo's river: our line decides, or that of the nations given."""
    drawn = Areas(
        ["Fermanagh", "Donegal"], [shapely.box(-8.1, 54.4, -7.5, 54.6), shapely.box(-8.6, 54.4, -8.1, 54.6)]
    )
    lat, lon = np.full(60, 54.52), np.linspace(-8.55, -7.6, 60)  # the border is near -8.05
    side = {"Fermanagh": "Northern Ireland", "Donegal": "Ireland", None: None}
    nation, found = nation_of(lat, lon), county_of(lat, lon, drawn)
    assert set(nation) == {"Northern Ireland", "Ireland"}
    assert (nation != [side[name] for name in drawn.of(lat, lon)]).any()  # the two lines differ
    assert all(name is None or side[name] == there for name, there in zip(found, nation))
    finer = Areas(["Northern Ireland", "Ireland"], drawn.polygons)
    assert county_of(lat, lon, drawn, nations=finer).tolist() == drawn.of(lat, lon).tolist()


def test_every_square_of_land_has_a_country():
    """Those farthest out: squares that no polygon but their own touches, and a sample of all."""
    for grid in ("GB", "IE"):
        eastings, northings = land_squares(grid)
        lat, lon = grid_to_lat_lon(eastings + 500, northings + 500, grid)
        some = np.arange(0, len(lat), 37)
        far = np.flatnonzero((lat > 59.05) | (lon < -7.3) & (grid == "GB") | (lon < -10.2))
        rows = np.union1d(some, far)
        assert len(far) > 100 and all(name is not None for name in country_of(lat[rows], lon[rows]))


def test_all_countries_are_of_one_vocabulary():
    known = {*UN_M49.labels, "Antarctica"}
    areas = load_areas("country")
    claimed = set(areas.names) - known
    assert claimed == {
        "Akrotiri Sovereign Base Area",
        "Ashmore and Cartier Islands",
        "Clipperton Island",
        "Coral Sea Islands",
        "Dhekelia Sovereign Base Area",
        "Northern Cyprus",
        "Siachen Glacier",
        "Somaliland",
        "Spratly Islands",
    }
    assert {*load_areas("nation").names} <= known | claimed | {
        "England",
        "Scotland",
        "Wales",
        "Northern Ireland",
    }


@pytest.mark.parametrize(
    "spelling", ["Ivory Coast", "Reunion", "Saint Barthelemy", "Pitcairn Islands", "Svalbard"]
)
def test_spellings_lead_into_the_vocabulary(spelling):
    assert COUNTRY_SPELLINGS[spelling] in UN_M49.labels


@pytest.mark.parametrize("encoding_file", [False, True])
def test_a_zipped_shapefile_is_utf8_unless_it_says_otherwise(tmp_path, encoding_file):
    frame = geopandas.GeoDataFrame(
        {"name": ["Côte d'Ivoire"]}, geometry=[shapely.box(-8, 5, -3, 10)], crs=4326
    )
    frame.to_file(tmp_path / "lands.shp", encoding="ISO-8859-1" if encoding_file else "utf-8")
    with zipfile.ZipFile(tmp_path / "lands.zip", "w") as archive:
        for path in sorted(tmp_path.glob("lands.*")):
            if path.suffix not in (".zip", "" if encoding_file else ".cpg"):
                archive.write(path, path.name)
    assert read_areas(tmp_path / "lands.zip").names.tolist() == ["Côte d'Ivoire"]


def test_a_made_up_county_stays_on_its_side(tmp_path):
    """What the issue saw: a file of one side only, and Castlefinn, Pettigo across the border."""
    frame = geopandas.GeoDataFrame(
        {"NAME": ["Tyrone"]}, geometry=[shapely.box(-8.2, 54.45, -6.6, 54.95)], crs=4326
    )
    frame.to_file(tmp_path / "counties.geojson")
    lat, lon = [54.60, 54.80, 54.549], [-7.30, -7.60, -7.832]  # Omagh, Castlefinn, Pettigo
    assert county_of(lat, lon, tmp_path / "counties.geojson").tolist() == ["Tyrone", None, None]
