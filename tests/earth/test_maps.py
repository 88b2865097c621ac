"""Maps in a browser that has no network: land, marks, legend, and names from the crowd as plain text."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geograph_types.earth import WebMap, guess_map

LAND = (220, 220, 220)


def show(browser, page: WebMap, folder, width: int) -> tuple:
    """A page in the browser, what it asked the network for, and its picture."""
    context = browser.new_context(viewport={"width": width, "height": 700})
    asked, errors = [], []
    context.route("http*://**", lambda route: (asked.append(route.request.url), route.abort()))
    shown = context.new_page()
    shown.on("pageerror", lambda error: errors.append(str(error)))
    shown.goto(page.save(folder / "map.html").as_uri())
    shown.wait_for_selector("canvas")
    shown.wait_for_function("map._loaded && document.querySelectorAll('canvas').length > 0")
    picture = np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("RGB"))
    assert not errors
    return shown, asked, picture


@pytest.mark.parametrize("width", [1280, 390])
def test_guesses_lie_on_land_without_a_network(browser, tmp_path, width):
    bad = "<img src=x onerror=alert(1)>.jpg"
    table = pd.DataFrame(
        {
            "photograph": [bad, bad, "b"],
            "rank": [1, 2, 1],
            "lat": [54.5, 51.5, 53.3],
            "lon": [-3.1, -0.1, -8.0],
            "probability": [0.6, 0.1, 0.5],
        }
    )
    shown, asked, picture = show(browser, guess_map(table, "Three <guesses>"), tmp_path, width)
    assert all("tile.openstreetmap.org" in url for url in asked)
    assert (picture == LAND).all(axis=2).mean() > 0.05  # the islands
    assert shown.inner_text("h1") == "Three <guesses>" and bad in shown.inner_text(".legend")
    assert shown.evaluate("document.images.length - document.querySelectorAll('.leaflet-tile').length") == 0
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    corners = shown.evaluate(
        "content.marks.map(m => { const p = map.latLngToContainerPoint([m.lat, m.lon]), s = map.getSize();"
        " return [p.x / s.x, p.y / s.y]; })"
    )
    assert 0.05 < np.min(corners) and np.max(corners) < 0.95  # padding


def test_a_map_of_areas_asks_nobody_and_has_a_scale(browser, tmp_path):
    square = [[-4.0, 52.0], [-2.0, 52.0], [-2.0, 54.0], [-4.0, 54.0], [-4.0, 52.0]]
    made = WebMap(
        "F1",
        (50.0, -8.0, 58.0, 2.0),
        areas=[{"rings": [square], "colour": "#ff0000", "text": "Land A"}],
        scale={"label": "F1", "low": "0", "high": "1", "colours": ["#000000", "#ffffff"]},
        streets=False,
    )
    shown, asked, picture = show(browser, made, tmp_path, 1280)
    assert asked == [] and "F1" in shown.inner_text(".legend")
    assert (picture[..., 0] > 200).mean() > (picture[..., 1] > 200).mean() + 0.005  # the red square
