"""The page in a real browser: no request, no error, and its controls do what they say."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrefine.report.page import ReportOptions, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """An open report, with what it asked for and complained of."""

    def __init__(self, browser, page: Path, **options) -> None:  # type: ignore[no-untyped-def]
        self.page = browser.new_context(**options).new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(page.as_uri())

    def quiet(self) -> bool:
        asked = [url for url in self.requests if not url.startswith("data:")]
        return not self.complaints and not self.dialogs and len(asked) == 1


@pytest.fixture(scope="module")
def real_page(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(str(real), str(path))
    return path


@pytest.fixture
def visit(browser: object, real_page: Path) -> Visit:
    return Visit(browser, real_page)


def test_no_request_and_no_complaint(visit: Visit) -> None:
    assert visit.quiet(), (visit.complaints, visit.requests)
    assert visit.page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") < 2000  # ms
    visit.page.evaluate("[...document.images].forEach(image => { image.loading = 'eager' })")
    visit.page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


def test_prompts_are_text(browser: object, synthetic: Path, tmp_path: Path) -> None:
    write_report(str(synthetic), str(tmp_path / "report.html"), None, ReportOptions(gallery=20))
    visit = Visit(browser, tmp_path / "report.html")
    assert visit.quiet(), (visit.complaints, visit.dialogs)
    visit.page.get_by_role("tab", name="Random").click()
    assert (
        visit.page.locator("#view-random").get_by_text("<script>alert(1)</script>", exact=True).first.is_visible()
    )


def test_the_slider_moves_the_cut_by_keyboard_and_by_mouse(visit: Visit) -> None:
    frame = visit.page.locator(".view.open .card .frame.whole").first
    cut = "element => getComputedStyle(element).getPropertyValue('--cut')"
    assert frame.evaluate(cut) == "50%"
    slider = frame.get_by_role("slider")
    slider.focus()
    visit.page.keyboard.press("ArrowRight")
    assert frame.evaluate(cut) == "51%"
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    visit.page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.7 * box["height"])
    assert 10 < float(frame.evaluate(cut).rstrip("%")) < 30


def test_maps_and_details_toggle_for_one_card_and_for_all(visit: Visit) -> None:
    page = visit.page
    card = page.locator(".view.open .card").first
    opacity = "element => getComputedStyle(element).opacity"
    page.add_style_tag(content=".map { transition: none !important }")
    assert card.locator("img.map").first.evaluate(opacity) == "0"
    card.get_by_role("button", name="map").click()
    assert card.locator("img.map").first.evaluate(opacity) == "1"
    assert card.get_by_role("button", name="map").get_attribute("aria-pressed") == "true"
    page.keyboard.press("m")
    assert page.locator(".view.open .card.show-map").count() == page.locator(".view.open .card").count()
    page.keyboard.press("d")
    assert card.locator(".frame.detail").is_visible()
    assert not card.locator(".frame.whole").is_visible()


def test_tabs_follow_the_arrow_keys(visit: Visit) -> None:
    first = visit.page.get_by_role("tab").first
    first.focus()
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.locator("#view-worst").is_visible()
    assert not visit.page.locator("#view-best").is_visible()
    visit.page.keyboard.press("End")
    assert visit.page.locator("#view-random").is_visible()
    assert visit.page.locator(":focus").get_attribute("id") == "tab-random"


def test_j_and_k_walk_through_the_cards(visit: Visit) -> None:
    visit.page.keyboard.press("j")
    visit.page.keyboard.press("j")
    second = visit.page.locator(".view.open .card").nth(1)
    assert second.evaluate("card => card.contains(document.activeElement)")
    ring = "card => getComputedStyle(card.querySelector('.frame'), '::after').borderTopStyle"
    assert second.evaluate(ring) == "solid"  # the focus is seen
    visit.page.keyboard.press("k")
    assert not second.evaluate("card => card.contains(document.activeElement)")


def test_tables_sort_by_number(visit: Visit) -> None:
    head = visit.page.locator("#by-shard thead th").nth(5)
    head.get_by_role("button").click()
    cells = visit.page.locator("#by-shard tbody tr td:nth-child(6)").all_inner_texts()
    assert cells == sorted(cells, key=float, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_are_readable(browser: object, real_page: Path, scheme: str) -> None:
    visit = Visit(browser, real_page, color_scheme=scheme)
    level = (
        "element => { const c = getComputedStyle(element); return [c.color, c.backgroundColor]"
        ".map(t => t.match(/[0-9.]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3) }"
    )
    ink, paper = visit.page.locator("body").evaluate(level)
    assert (paper > 200 > 60 > ink) if scheme == "light" else (ink > 200 > 60 > paper)
    visit.page.get_by_role("button", name="Switch between light and dark").click()
    assert visit.page.locator("body").evaluate(level)[1] == pytest.approx(255 - paper, abs=30)


def test_a_narrow_screen_does_not_scroll_sideways(browser: object, real_page: Path) -> None:
    visit = Visit(browser, real_page, viewport={"width": 360, "height": 740})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
