"""What a person does with a report, in a real browser."""

import base64
import shutil
from pathlib import Path

import pytest

from analysis import report
from analysis.outcomes import Outcomes
from analysis.study_tables import StudyTables
from analysis.thumbnails import TestImages

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra dev")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="needs a browser: apt-get install chromium chromium-driver"
)
STORED = Path(__file__).parents[1] / "data" / "results"
MEASURED = Path(__file__).parents[1] / "data" / "measured"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="module")
def path(sample, tmp_path_factory) -> Path:
    test = sample.subset(test=500).test
    study = StudyTables(Outcomes.from_store(STORED, "depth-smoke"))
    return report.write(study, tmp_path_factory.mktemp("study") / "report", images=TestImages(test.images, test.labels))


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """The page of a study that was measured."""
    study = StudyTables(Outcomes.from_store(MEASURED))
    return report.write(study, tmp_path_factory.mktemp("measured") / "report")


def opened(path: Path, **experimental):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS:
        options.add_argument(flag)
    for name, value in experimental.items():
        options.add_experimental_option(name, value)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get(path.as_uri())
    return driver


@pytest.fixture(scope="module")
def driver(path):
    driver = opened(path)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, path):
    """The page as it is when it was just opened, in a window of 1280 pixels."""
    resize(driver, 1280)
    driver.get("about:blank")
    driver.get(path.as_uri())
    return driver


@pytest.fixture
def measured_page(driver, measured):
    resize(driver, 1280)
    driver.get("about:blank")
    driver.get(measured.as_uri())
    return driver


def resize(driver, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def scheme(driver, value: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": value}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def shown(page) -> list:
    return [card for card in page.find_elements(By.CSS_SELECTOR, ".card") if card.is_displayed()]


def choose(page, **values: str) -> None:
    for name, value in values.items():
        Select(page.find_element(By.NAME, name)).select_by_visible_text(value)


def test_cards_are_filtered_by_class_arm_and_change(page):
    everything = shown(page)
    assert len(everything) > 20
    choose(page, **{"class": "cat"})
    cats = shown(page)
    assert 0 < len(cats) < len(everything)
    assert {card.find_element(By.TAG_NAME, "b").text for card in cats} == {"cat"}
    choose(page, **{"class": "all", "arm": "5 blocks", "change": "baseline right, arm wrong"})
    lost = shown(page)
    assert page.find_element(By.CSS_SELECTOR, ".filter output").text == f"{len(lost)} of {len(everything)}"
    assert lost
    for card in lost:
        wrong = [line.text for line in card.find_elements(By.CSS_SELECTOR, "li.wrong")]
        assert any(line.startswith("5 blocks ") for line in wrong)
    choose(page, arm="all", change="all")
    assert len(shown(page)) == len(everything)


def test_what_is_folded_unfolds_at_a_click_and_where_a_link_leads_into_it(page):
    table = page.find_element(By.ID, "confusions")
    assert not table.is_displayed()
    table.find_element(By.XPATH, "ancestor::details/summary").click()
    assert table.is_displayed()
    assert not page.find_element(By.ID, "class_effects").is_displayed()
    page.execute_script("location.hash = 'class_effects'")
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert page.find_element(By.ID, "class_effects").is_displayed()


def test_the_contents_lead_to_each_section(page):
    links = page.find_elements(By.CSS_SELECTOR, "nav a[href^='#']")
    assert [link.text for link in links][:3] == ["Effects", "Learning", "Confidence"]
    for link in links:
        place = page.find_element(By.ID, link.get_dom_attribute("href")[1:])
        assert place.text == link.text
        page.execute_script("arguments[0].click()", link)
        top = page.execute_script("return arguments[0].getBoundingClientRect().top", place)
        at_the_end = page.execute_script("return scrollY + innerHeight >= document.documentElement.scrollHeight - 2")
        assert 0 <= top < 120 or at_the_end


def test_all_of_the_page_is_printed_and_afterwards_it_is_as_it_was(page):
    page.execute_script(
        "window.folded = null; addEventListener('beforeprint', () => { window.folded = "
        "document.querySelectorAll('details:not([open])').length })"
    )
    before = len(page.find_elements(By.CSS_SELECTOR, "details:not([open])"))
    assert before
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert page.execute_script("return window.folded") == 0
    assert len(page.find_elements(By.CSS_SELECTOR, "details:not([open])")) == before


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_but_tables_and_figures_is_wider_than_the_window(page, width):
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    for selector in (".number", ".verdict .axis", "#effects td:nth-child(2)"):
        for each in page.find_elements(By.CSS_SELECTOR, selector):
            box = page.execute_script("return arguments[0].getBoundingClientRect().toJSON()", each)
            assert box["left"] >= 0
            assert box["right"] <= width, f"{selector}: the main number is to be seen without scrolling"


@pytest.mark.parametrize("value", ["light", "dark"])
def test_text_can_be_read_in_both_of_the_systems_schemes(page, value):
    """Contrast of at least 4.5 to 1, of every text with the background behind it."""
    scheme(page, value)
    worst = page.execute_script(CONTRAST)
    scheme(page, "light")
    assert worst["ratio"] >= 4.5, worst


def test_without_its_script_everything_can_be_read(path):
    driver = opened(path, prefs={"profile.managed_default_content_settings.javascript": 2})
    try:
        assert not driver.find_elements(By.CSS_SELECTOR, ".filter")
        assert len(shown(driver)) > 20
        driver.find_element(By.XPATH, "//table[@id='confusions']/ancestor::details/summary").click()
        assert driver.find_element(By.ID, "confusions").is_displayed()
    finally:
        driver.quit()


@pytest.mark.parametrize("width", [1280, 390])
def test_names_do_not_break_inside_words(page, width):
    resize(page, width)
    page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.execute_script(BROKEN) == []


def test_the_baseline_is_marked_in_cards(page):
    for card in page.find_elements(By.CSS_SELECTOR, ".card"):
        names = [name.get_attribute("textContent") for name in card.find_elements(By.CSS_SELECTOR, "li span")]
        assert [name for name in names if "(baseline)" in name] == ["4 blocks (baseline)"]


def test_where_arms_look_is_browsed_by_shape_arm_and_what_is_named(measured_page):
    gallery = measured_page.find_element(By.CSS_SELECTOR, "#attention ~ .gallery")
    everything = shown(gallery)
    assert len(everything) == 21
    chosen = {name: Select(gallery.find_element(By.NAME, name)) for name in ("shape", "texture", "arm", "answer")}
    chosen["shape"].select_by_visible_text("cat")
    cats = shown(gallery)
    assert {card.find_element(By.TAG_NAME, "b").text.split(" made of ")[0] for card in cats} == {"cat"}
    chosen["shape"].select_by_visible_text("all")
    chosen["arm"].select_by_visible_text("5 blocks")
    chosen["answer"].select_by_visible_text("names the shape")
    right = shown(gallery)
    assert 0 < len(right) < len(everything)
    for card in right:
        lines = [line.text for line in card.find_elements(By.CSS_SELECTOR, "li.right")]
        assert any(line.startswith("5 blocks") for line in lines)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("value", ["light", "dark"])
def test_what_measures_found_can_be_read_on_a_telephone_and_in_the_dark(measured_page, width, value):
    resize(measured_page, width)
    scheme(measured_page, value)
    worst = measured_page.execute_script(CONTRAST)
    scheme(measured_page, "light")
    assert worst["ratio"] >= 4.5, worst
    assert measured_page.execute_script("return document.documentElement.scrollWidth") <= width
    measured_page.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    assert measured_page.execute_script(BROKEN) == []
    for name in ("shape_bias", "attention"):
        for each in measured_page.find_elements(By.CSS_SELECTOR, f"#{name} td:nth-child(2)"):
            assert measured_page.execute_script("return arguments[0].getBoundingClientRect().right", each) <= width


BROKEN = """
const broken = [];
for (const each of document.querySelectorAll("tbody th, .verdict .arm, .card b, .card span")) {
  const text = each.firstChild;
  for (const word of text.data.matchAll(/\\S+/g)) {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) broken.push(word[0]);
  }
}
return broken;
"""
CONTRAST = """
const channels = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (rgb) => {
  const [r, g, b] = rgb.slice(0, 3).map((c) => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = (each) => {
  for (; each; each = each.parentElement) {
    const colour = channels(getComputedStyle(each).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
let worst = {ratio: 99};
const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const each = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || each.closest("svg")) continue;
  const [a, b] = [light(channels(getComputedStyle(each).color)), light(behind(each))].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  if (ratio < worst.ratio) worst = {ratio, text: texts.currentNode.data.trim().slice(0, 40)};
}
return worst;
"""
