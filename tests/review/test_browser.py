"""The review app in a real browser: alone, and in JupyterLab."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("anywidget", reason="no anywidget: pip install 'geograph_types[app]'")
pytest.importorskip("voila", reason="no voila: pip install 'geograph_types[app]'")
pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")

from review.browser import kernels, running, write_queue

from geograph_types.review import AnswerFile, review_notebook

PATIENCE = 120_000  # milliseconds for what must come; a loaded machine is slow, and nothing waits longer than it has to


@pytest.fixture(scope="module")
def alone(browser, tmp_path_factory):
    """The app's own server: process, address, folder."""
    folder = tmp_path_factory.mktemp("alone")
    write_queue(folder)
    command = (
        "-m",
        "geograph_types",
        "review",
        "serve",
        "queue.parquet",
        "answers.sqlite",
        "--reviewer",
        "anna",
    )
    with running(*command, first="http://127.0.0.1", folder=folder) as (process, line):
        yield process, line[line.index("http") :], folder


class Screen:
    """A page with the app, and what it has asked for."""

    def __init__(self, browser, url: str):
        self.page = browser.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked, self.broken = [], []
        self.page.on("response", lambda response: self.asked.append(response.url))
        self.page.on("pageerror", lambda error: self.broken.append(str(error)))
        self.pictures = []  # addresses on the web; none is ever fetched
        self.page.route(re.compile("^https:"), self.keep_away)
        self.open(url)

    def open(self, url: str):
        """Load the app, with a kernel of its own."""
        self.page.goto(url)
        self.page.wait_for_selector(".gr-caption, .gr-end, .gr-card")

    def keep_away(self, route):
        self.pictures.append(route.request.url)
        route.abort()

    def shown(self) -> int:
        """The number of the photograph."""
        return int(self.page.locator(".gr-caption a").inner_text().split()[1])

    def press(self, *keys: str):
        """Press keys, each when the last one's effect is there."""
        for key in keys:
            self.page.keyboard.press(key)
            self.page.wait_for_function("!document.querySelector('.gr').matches('.gr-waiting')")
        return self

    def text(self, selector: str) -> str:
        """What stands at the first place that the selector finds."""
        return self.page.locator(selector).first.inner_text()


@pytest.fixture(scope="module")
def screen(browser, alone):
    """One window for the tests that need no other: each window is a kernel, and each kernel takes seconds."""
    return Screen(browser, alone[1])


def answers(folder: Path):
    """All answers, by photograph."""
    return AnswerFile(folder / "answers.sqlite").table().set_index("gridimage_id")


def test_keys_answer_and_every_answer_is_on_the_disk_before_the_next_photograph(alone, screen):
    folder = alone[2]
    assert screen.shown() == 5000
    screen.press("Enter")
    assert screen.shown() == 5001 and answers(folder).loc[5000, "decision"] == "accept"
    screen.press("3", "4", "Enter")
    assert screen.shown() == 5002
    assert answers(folder).loc[5001, ["decision", "labels", "seen"]].tolist() == ["change", "Extra", True]
    assert screen.page.locator(".gr-hidden").count() == 1 and screen.page.locator(".gr-track").count() == 0
    screen.press("Enter")  # nothing is ticked: the app asks once
    assert screen.shown() == 5002 and "Nothing is ticked" in screen.text(".gr-live")
    screen.press("6", "Enter")
    assert answers(folder).loc[5002, ["labels", "seen"]].tolist() == ["Inside", False]
    screen.press("s", "u", "z")
    assert screen.shown() == 5004 and 5004 not in answers(folder).index
    screen.press("b", "b")
    assert screen.shown() == 5002
    screen.press("g", "Enter", "n")
    assert answers(folder).loc[5002, "labels"] == "Cross Far" and screen.shown() == 5005
    assert screen.text(".gr-status").startswith("anna")
    assert "4 of 60" in screen.text(".gr-status").replace("\n", " ")
    assert not screen.broken


def test_text_of_the_crowd_does_nothing_and_pictures_come_from_allowed_hosts_only(screen):
    screen.press("v")
    screen.page.wait_for_selector(".gr-card")
    screen.press("b")
    page = screen.page
    assert "<img src=x" in "".join(page.locator("h3").all_inner_texts())
    assert page.evaluate("document.body.dataset.pwned === undefined")
    assert page.locator(".gr h3 img, .gr p img").count() == 0
    page.wait_for_selector(".gr-none")  # in the place of the picture that was kept away
    assert {urlsplit(address).hostname for address in screen.pictures} == {"s0.geograph.org.uk"}
    assert "https://s0.geograph.org.uk/1.jpg" in screen.pictures
    assert {urlsplit(address).hostname for address in screen.asked if address.startswith("http")} == {
        "127.0.0.1"
    }
    screen.press("v")


def test_twenty_by_keyboard_alone(alone, screen):
    folder = alone[2]
    screen.press("v")
    page = screen.page
    page.wait_for_selector(".gr-card:focus")
    names = page.locator(".gr-card .gr-text a").all_inner_texts()
    assert len(names) == 20
    screen.press("ArrowRight", "u")
    page.wait_for_function("document.querySelectorAll('.gr-done').length === 1")
    assert answers(folder).loc[int(names[1]), "decision"] == "unsure"
    for _ in range(30):  # Tab comes out of the cards and reaches the buttons
        page.keyboard.press("Tab")
    assert page.evaluate(
        "document.activeElement.closest('.gr') !== null || document.activeElement === document.body"
    )
    page.locator(".gr-card").first.focus()
    screen.press("Shift+Enter")
    page.wait_for_function("document.querySelectorAll('.gr-done').length >= 10")
    screen.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    screen.press("v")
    page.wait_for_selector(".gr-caption")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_at_390_pixels(screen, scheme):
    screen.page.set_viewport_size({"width": 390, "height": 844})
    screen.page.emulate_media(color_scheme=scheme)
    wide = (
        "[...document.querySelectorAll('.gr *')].filter((e) => e.getBoundingClientRect().right > 391).length"
    )
    screen.press("v")
    screen.page.wait_for_selector(".gr-card")
    screen.page.wait_for_function(f"{wide} === 0")
    screen.press("v")
    screen.page.wait_for_selector(".gr-caption")
    screen.page.wait_for_function(f"{wide} === 0")  # once it is laid out anew
    for button in screen.page.locator(".gr-foot button").all():
        box = button.bounding_box()
        assert (
            box["height"] >= 44
            and box["x"] >= 0
            and box["x"] + box["width"] <= 390
            and box["y"] + box["height"] <= 844
        )
    ink, ground = (
        screen.page.evaluate(
            f"getComputedStyle(document.querySelector('.gr')).{name}.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        for name in ("color", "backgroundColor")
    )
    assert (sum(ink) > sum(ground)) == (scheme == "dark") and abs(sum(ink) - sum(ground)) > 400


def test_a_killed_kernel_a_second_window_and_a_reload_go_on(alone, screen, browser):
    process, url, folder = alone
    at = screen.shown()
    screen.press("u")
    for kernel in kernels(process.pid):
        os.kill(kernel, signal.SIGKILL)
    screen.open(url)
    assert at in answers(folder).index and screen.shown() > at
    at = screen.shown()
    window = Screen(browser, url)
    assert window.shown() == at
    window.press("u")
    assert window.shown() > at and answers(folder).loc[at, "decision"] == "unsure"
    screen.press("n", "b", "z")  # the other window's answer is the last, and is undone here
    assert at not in answers(folder).index
    window.page.close()


def test_without_the_token_there_is_nothing_and_only_this_machine_is_served(alone, browser):
    _, url, _ = alone
    context = browser.new_context()  # without the cookies of the other windows
    page = context.new_page()
    answer = page.goto(url.partition("?")[0])
    assert "login" in answer.url and page.locator(".gr").count() == 0
    context.close()
    if sys.platform == "linux":  # all of 127.* is this machine; who listens everywhere answers there, too
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", urlsplit(url).port))


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab: process, address, folder with a notebook that opens the app."""
    folder = tmp_path_factory.mktemp("lab")
    write_queue(folder)
    notebook = review_notebook("queue.parquet", "answers.sqlite", "anna")
    cell = notebook["cells"][0]
    cell["source"] = (
        "from geograph_types.review import review_app\nreview_app('queue.parquet', 'answers.sqlite', 'anna')"
    )
    (folder / "app.ipynb").write_text(json.dumps(notebook))
    settings = (
        "--no-browser",
        "--allow-root",
        "--ServerApp.token=secret",
        "--ServerApp.port=0",
        "--port-retries=0",
    )
    with running("-m", "jupyterlab", *settings, first="http://", folder=folder) as (process, line):
        address = re.search(r"http://[^/]+", line)[0]
        yield process, address, folder


ROOT = Path(__file__).resolve().parents[2]


def lab_page(browser, url: str):
    """A page of JupyterLab with a notebook."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.route(re.compile("^https:"), lambda route: route.abort())
    page.goto(url)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    return page


def run_all(page):
    """Run the notebook from top to bottom."""
    page.wait_for_selector("text=/[|] Idle$/")  # in the status bar: a kernel is there
    page.locator("li.lm-MenuBar-item", has_text=re.compile("^Run$")).click()
    page.locator("[data-command='runmenu:run-all']").click()


def press(page, key: str):
    """Press a key, and wait for its effect."""
    page.keyboard.press(key)
    page.wait_for_function("!document.querySelector('.gr').matches('.gr-waiting')")


def test_in_jupyterlab_keys_are_the_apps_and_a_killed_kernel_goes_on(lab, browser):
    process, address, folder = lab
    page = lab_page(browser, f"{address}/lab/tree/app.ipynb?token=secret&reset")
    run_all(page)
    page.wait_for_selector(".jp-Notebook .gr-caption")
    page.wait_for_function("document.querySelector('.gr-picture img')?.naturalWidth > 0")
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    page.locator(".gr-caption h2").click()
    press(page, "a")
    press(page, "u")
    for key in ("b", "b", "n", "z"):  # to JupyterLab these insert, undo and cut cells
        press(page, key)
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    assert answers(folder)["decision"].tolist() == ["accept"]
    for kernel in kernels(process.pid):
        os.kill(kernel, signal.SIGKILL)
    page.wait_for_selector("text=Kernel Restarting")
    page.get_by_role("button", name="Ok").click()
    run_all(page)
    page.wait_for_selector(".gr-status:has-text('1 of 60')")
    assert page.locator(".gr-caption a").inner_text().split()[1] == "5001"
    page.close()


@pytest.mark.slow
def test_the_tutorial_opens_in_jupyterlab_and_its_app_takes_keys(lab, browser):
    _, address, folder = lab
    notebook = json.loads((ROOT / "nbs/tutorials/07_review_with_the_app.ipynb").read_text(encoding="utf-8"))
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "colab-setup"]  # would install
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    (folder / "tutorial.ipynb").write_text(json.dumps(notebook))
    page = lab_page(browser, f"{address}/lab/tree/tutorial.ipynb?token=secret&reset")
    run_all(page)
    page.wait_for_selector(".gr-caption, .gr-end", state="attached")
    page.locator(".gr").scroll_into_view_if_needed()
    page.locator(".gr").focus()
    press(page, "n")  # is answered when all cells have run: then two people have answered everything
    page.wait_for_selector(".gr-end")
    press(page, "b")
    shown = page.locator(".gr-caption a").inner_text().split()[1]
    press(page, "u")
    press(page, "z")
    assert page.locator(".gr-live").inner_text() == f"Taken back: photograph {shown}"
    page.wait_for_function("document.querySelector('.gr-picture img')?.naturalWidth > 0")
    assert page.locator(".jp-RenderedText[data-mime-type*=stderr], [data-mime-type*=error]").count() == 0
    page.close()
