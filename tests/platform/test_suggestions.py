"""What photographers see: their own labels before a model's, names as Geograph shows them, and nothing that runs."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from geograph_types.cli.root import app
from geograph_types.context import CONTEXT, ContextHead, ContextPredictor
from geograph_types.model import GeographModel
from geograph_types.platform import (
    ApiHead,
    PhotographCard,
    PhotographPage,
    made_suggestion,
    read_download,
    suggest,
)
from geograph_types.store import EmbeddingStore
from geograph_types.synthetic import make_platform, write_downloads
from geograph_types.types import TypePredictor

MARKUP = "\"'><script>document.title = 'x'</script><img src=x onerror=alert(1)><b>"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suggestions")
    sample = make_platform(130, seed=6)
    sample.table.loc[30:, "types"] = ""
    sample.table.loc[20, "types"] = "Cross Grid*"  # a suggestion, which nobody has said
    sample.table.loc[21, "types"] = "None"
    sample.table.loc[5:40, "title"] = MARKUP
    sample.table.loc[7:12, "realname"] = MARKUP
    read_download(list(write_downloads(folder, sample, starred=0).values()), folder / "store", quiet=True)
    torch.manual_seed(3)
    TypePredictor(GeographModel()).save(folder / "types")
    return folder, sample


class Elements(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.found = []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def count(self, tag):
        return sum(name == tag for name, _ in self.found)


def test_what_people_said_wins_and_a_star_says_nothing(world):
    folder, sample = world
    store = EmbeddingStore.open(folder / "store")
    found = suggest(ApiHead.open(folder / "types"), store)
    by = dict(zip(store.metadata["gridimage_id"], found.found))
    for row, (number, said) in enumerate(sample.table[["gridimage_id", "types"]].itertuples(index=False)):
        own = row < 30 and row not in (20, 21)
        assert by[number].by == ("contributor" if own else "model"), row
        if own:
            shown = {"Cross Far": "Cross Grid", "From Drone": "From Above"}.get(said, said)
            assert by[number].text == shown


def test_context_is_what_the_head_has_among_all_tags(world):
    folder, sample = world
    torch.manual_seed(1)
    head = ApiHead(ContextPredictor(ContextHead("mlp", ["img", "txt"])))
    found = suggest(head, EmbeddingStore.open(folder / "store"))
    tagged = {
        number: tags for number, tags in zip(sample.table["gridimage_id"], sample.table["context"]) if tags
    }
    for number, one in zip(found.metadata["gridimage_id"], found.found):
        assert (one.by == "contributor") == (
            number in tagged
        )  # every photograph has a subject, which is no context
        assert set(one.labels) <= set(CONTEXT.tags)
        assert one.by == "model" or sorted(one.labels) == sorted(tagged[number])


@pytest.mark.parametrize(
    "chances, text",
    [
        ([0.9, 0.6, 0.3, 0.1], "Cross Grid; From Above; Geograph (unsure)"),
        ([0.5, 0.2, 0.1, 0.9], "Cross Grid (unsure)"),  # neither limit is reached by what is equal to it
        ([0.1, 0.1, 0.1, 1.0], ""),
        ([0.1, 0.1, 0.1, 0.1, 0.9], ""),
    ],
)
def test_text(chances, text):
    names = ["Cross Far", "From Drone", "Geograph", "None", "Cross Near"][: len(chances)]
    assert made_suggestion(names, np.array(chances)).text == text


def test_thresholds_of_a_model_decide_what_is_sure():
    one = made_suggestion(["A", "B"], np.array([0.6, 0.15]), [0.7, 0.1])
    assert one.text == "A (unsure); B"


def test_pages_of_twenty_in_which_markup_does_nothing(world, tmp_path):
    folder, sample = world
    line = ["suggest", folder / "store", "--model", folder / "types"]
    line += ["--out", tmp_path / "s.csv", "--pages", tmp_path / "pages"]
    result = CliRunner().invoke(app, list(map(str, line)))
    assert result.exit_code == 0, result.output
    pages = sorted((tmp_path / "pages").glob("0*.html"))
    expected = sum(-(-count // 20) for count in sample.table["realname"].value_counts())
    assert len(pages) == expected
    cards = 0
    for page in [*pages, tmp_path / "pages" / "index.html"]:
        elements = Elements(page.read_text(encoding="utf-8"))
        assert not elements.count("script") + elements.count("b") + elements.count("img")
        assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
        assert elements.count("article") <= 20
        cards += elements.count("article")
        ticked = [attributes["value"] for _, attributes in elements.found if "checked" in attributes]
        assert not set(ticked) & {"Cross Far", "From Drone", "None"}
    table = pd.read_csv(tmp_path / "s.csv", keep_default_na=False)
    assert cards == len(table) == 130
    assert list(table) == ["gridimage_id", "suggestion", "labels", "scores", "by"]
    for again in (
        line,
        [*line[:-3], tmp_path / "other.csv", *line[-2:]],
    ):  # the table is there, and the pages
        assert isinstance(CliRunner().invoke(app, list(map(str, again))).exception, FileExistsError)
    assert CliRunner().invoke(app, [*map(str, line), "--overwrite"]).exit_code == 0


def test_display_escapes_whatever_people_wrote():
    card = PhotographCard(1, MARKUP, MARKUP, [MARKUP], [(MARKUP, 0.5, True)])
    for source in (
        PhotographPage(MARKUP, [card], MARKUP, "checkbox").html(),
        PhotographPage("", [card])._repr_html_(),
    ):
        elements = Elements(source)
        assert not elements.count("script") + elements.count("b") + elements.count("img")
