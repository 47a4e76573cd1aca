"""The page as a visitor sees it: every tab in a real browser, on a phone and on a desk.

Screenshots go to the folder MOE_APPS_SCREENSHOTS, by default a temporary one. MOE_APPS_DEMO_RUNS
names a folder of trained runs to be shown in place of small untrained ones.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from moe_apps.demos import TABS
from moe_apps.demos.page import build, serve

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDTHS = {"phone": (390, 844), "desk": (1440, 1000)}
PATIENCE = 60_000
"""Milliseconds, for a model that is compiled on a busy machine."""
QUICK = (("trajectory", "desk"), ("acoustic", "phone"), ("recommendation", "desk"))
"""Models of the other tabs take longer to compile."""


class Tab(NamedTuple):
    """What a visitor does in a tab.

    Attributes:
        title: On the tab.
        start: Id of the button that asks.
        sample: Text of a sample, if there are samples.
        upload: Id of where files go.
        ready: What has to be there before one asks; of an input, with a value.
        plots: Ids of the figures that have to be there in the end.
        words: Id of the words, and what they have to hold.
    """

    title: str
    start: str
    sample: str | None
    upload: str | None
    ready: str | None
    plots: tuple[str, ...]
    words: tuple[str, str]


VISITS = {
    "forecasting": Tab(
        "Forecasting", "forecast-start", "weather at EWR.csv", "forecast-file",
        "#forecast-series input", ("forecast-chart", "forecast-experts"),
        ("forecast-words", "How sure"),
    ),
    "trajectory": Tab(
        "Trajectory", "trajectory-start", "medium traffic.csv", "trajectory-file",
        "#trajectory-vehicle input",
        ("trajectory-replay", "trajectory-intentions", "trajectory-gates"),
        ("trajectory-words", "how sure"),
    ),
    "acoustic": Tab(
        "Acoustic", "acoustic-start", "cargo", "acoustic-sound",
        "#acoustic-sound [data-testid=download-link]", ("acoustic-chart",),
        ("acoustic-words", "How sure"),
    ),
    "deraining": Tab(
        "Deraining", "derain-restore", "light rain", "derain-photo",
        "#derain-photo img", ("derain-shares",), ("derain-facts", "pixels"),
    ),
    "recommendation": Tab(
        "Recommendation", "recommend-start", None, None, None,
        ("recommend-chart", "recommend-gates"), ("recommend-words", "How sure"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def address(small_runs: Callable[..., Path]) -> Iterator[str]:
    given = os.environ.get("MOE_APPS_DEMO_RUNS")
    page = build((), Path(given) if given else small_runs())
    yield serve(page, port=0, wait=False)
    page.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Opens the page at a width; the tabs that were opened are closed in the end."""
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path  # of `playwright install`
        found = next(filter(None, map(shutil.which, (*BROWSERS, own))), None)
        if found is None:
            pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
        contexts = []

        def opened(width: str, dark: bool = False) -> Any:
            wide, high = WIDTHS[width]
            context = playwright.chromium.launch_persistent_context(
                tmp_path_factory.mktemp("profile"),
                executable_path=found,
                headless=True,
                args=list(ARGUMENTS),
                viewport={"width": wide, "height": high},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce",
            )
            contexts.append(context)
            context.set_default_timeout(PATIENCE)
            return context.pages[0]

        yield opened
        for context in contexts:
            context.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("MOE_APPS_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def pages(browser: Callable[..., Any], address: str) -> Callable[[str], Any]:
    """The page at a width, opened once."""
    kept: dict[str, Any] = {}

    def at(width: str) -> Any:
        if width not in kept:
            kept[width] = browser(width, dark=width == "phone")
            kept[width].goto(address)
            kept[width].locator("button[role=tab]:visible").first.wait_for()
            kept[width].wait_for_timeout(1000)  # tabs are measured, buttons come alive
        return kept[width]

    return at


def open_tab(page: Any, title: str) -> None:
    """Open a tab; on a phone the last ones are in a menu.

    Gradio measures an invisible copy of the tabs, so that each is there twice.
    """
    tab = page.locator("button[role=tab]:visible", has_text=title)
    if not tab.count():
        page.locator(".overflow-menu:visible > button").first.click()
        tab = page.locator(".overflow-dropdown button:visible", has_text=title)
    tab.first.click()


def ask(page: Any, visit: Tab) -> None:
    """Take a sample, ask, and wait for the answer."""
    open_tab(page, visit.title)
    if visit.sample:
        page.get_by_text(visit.sample).locator("visible=true").first.click()
    if visit.ready:
        page.wait_for_function(
            "what => { const e = document.querySelector(what); return e && e.value !== '' }",
            arg=visit.ready,
        )
    page.locator(f"#{visit.start}").click()
    words, text = visit.words
    page.locator(f"#{words}").get_by_text(text).first.wait_for()
    for plot in visit.plots:
        page.locator(f"#{plot} .main-svg").first.wait_for()


@pytest.mark.parametrize(
    "name, width",
    [
        pytest.param(name, width, marks=() if (name, width) in QUICK else pytest.mark.slow)
        for name in TABS
        for width in WIDTHS
    ],
)
def test_a_sample_is_answered(
    pages: Callable[[str], Any],
    screenshots: Path,
    small_runs: Callable[..., Path],
    name: str,
    width: str,
) -> None:
    small_runs(name)
    page = pages(width)
    ask(page, VISITS[name])
    page.wait_for_timeout(400)  # figures settle
    page.screenshot(path=screenshots / f"{name}_{width}.png", full_page=True)
    # Nothing is wider than the screen.
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= WIDTHS[width][0], f"{name} is {wide} px wide"


def test_a_bad_upload_is_told_in_words(
    pages: Callable[[str], Any], screenshots: Path, tmp_path: Path
) -> None:
    page = pages("desk")
    visit = VISITS["trajectory"]
    open_tab(page, visit.title)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    clear = page.locator(f"#{visit.upload} [aria-label*='lear']")
    if clear.count():  # a sample is there from another visit
        clear.first.click()
    page.locator(f"#{visit.upload} input[type=file]").set_input_files(tmp_path / "notes.csv")
    toast = page.locator(".toast-body")
    toast.get_by_text("notes.csv").first.wait_for()
    assert "Traceback" not in toast.first.inner_text()
    page.screenshot(path=screenshots / "bad_upload.png")


def test_the_replay_plays(pages: Callable[[str], Any], small_runs: Callable[..., Path]) -> None:
    small_runs("trajectory")
    page = pages("desk")
    ask(page, VISITS["trajectory"])
    active = "document.querySelector('#trajectory-replay .js-plotly-plot').layout.sliders[0].active"
    before = page.evaluate(active)
    page.locator("#trajectory-play").click()
    page.wait_for_function(f"{active} !== {before} && {active} > 1")


def test_everything_that_is_asked_for_has_a_label(pages: Callable[[str], Any]) -> None:
    page = pages("desk")
    for name in TABS:
        open_tab(page, VISITS[name].title)
        nameless = page.evaluate(NAMELESS)
        assert not nameless, f"{name}: {nameless}"


NAMELESS = """
() => [...document.querySelectorAll("input, select, textarea, button")]
  .filter(e => e.offsetParent !== null && e.type !== "file" && e.type !== "hidden")
  .filter(e => !(e.labels && e.labels.length) && !e.getAttribute("aria-label")
    && !e.getAttribute("aria-labelledby") && !e.title && !e.innerText.trim()
    && !e.closest("label"))
  .map(e => e.outerHTML.slice(0, 120))
"""
"""Visible inputs and buttons without any name that a screen reader could read out."""
