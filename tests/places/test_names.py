"""One vocabulary: every name in the published lists, prompts and polygons, and in Natural Earth's units."""

import ast
import json

import pandas as pd
import pytest

from geograph_types.places import (
    BRITISH_ISLES,
    CLIMATES,
    COUNTRY_SPELLINGS,
    UN_M49,
    climate_code,
    load_areas,
    unmatched,
)
from geograph_types.zeroshot import PROMPTS

pyogrio = pytest.importorskip("pyogrio", reason="the extra `geo` is not installed")

# parts of countries, and disputed land, that the published borders draw apart
APART = set(
    "Abyei; Aksai Chin; Arunachal Pradesh; Azores Islands; Glorioso Islands; Guantanamo; Hala'ib Triangle; "
    "Ilemi Triangle; Jammu-Kashmir; Jarvis Island; Kuril Islands; Ma'tan al-Sarra; Madeira Islands; Midway Is.; "
    "Netherlands Antilles; Paracel Islands; Spratly Islands".split("; ")
)


def strange(names) -> set[str]:
    """Names that are no country here, in whatever spelling."""
    return {name for name in names if COUNTRY_SPELLINGS.get(name, name) not in UN_M49.labels}


def answers(table: pd.DataFrame) -> set[str]:
    """Every label in a table of published results, right or not."""
    return set(table["Gold"]) | {name for row in table["Predictions"] for name in ast.literal_eval(row)}


def test_published_lists_and_answers_are_countries_here(published):
    folder = published / "geoguessr"
    gold = pd.read_csv(folder / "country100.csv", header=None, names=["id", "country"])["country"]
    converter = json.loads((folder / "country_converter.json").read_text("utf-8"))
    regions = [json.loads((folder / f"{a}_to_{b}.json").read_text("utf-8")) for a, b in
               (("country", "region"), ("region", "country"))]  # fmt: skip
    named = {name for table in regions for names in table.values() for name in names}
    found = answers(pd.read_csv(folder / "resultcsv" / "country100_results.csv", sep="\t"))
    assert len(found) == 115 and len(named) > 150 and len(converter) > 5
    assert not strange({*gold, *found, *named, *converter, *converter.values()})


def test_published_borders_are_countries_here(published):
    path = published / "geoguessr" / "boundaries" / "world-administrative-boundaries.shp"
    names = pyogrio.read_dataframe(path, columns=["name"], read_geometry=False, encoding="utf-8")["name"]
    assert len(names) > 200 and strange(names) == APART


def test_prompts_for_states_and_regions_ask_for_names_of_maps(published):
    table = pd.read_csv(published / "geoguessr" / "resultcsv" / "France_states_max100_results.csv", sep="\t")
    assert answers(table) == set(PROMPTS["french-region"].labels)


def test_states_and_nations_are_those_of_the_units():
    country, county = load_areas("country").names, load_areas("county").names
    states = set(county[country == "United States"])
    assert set(PROMPTS["state"].labels) == states and len(states) == 51
    assert set(BRITISH_ISLES) <= set(load_areas("nation").names)
    assert len(unmatched(BRITISH_ISLES.labels, county)) == 118 - 76  # historic counties that are none today


def test_published_climates_are_of_the_thirty(published):
    folder = published / "geoguessr"
    labels = pd.read_csv(folder / "climates30k.csv", header=None, names=["id", "climate"])["climate"]
    polygons = pyogrio.read_dataframe(folder / "koppen" / "koppen_geiger_2007.shp", read_geometry=False)
    column = next(name for name in polygons if polygons[name].astype(str).str.startswith("Cfb").any())
    assert {climate_code(label) for label in {*labels, *polygons[column]}} <= set(CLIMATES)
