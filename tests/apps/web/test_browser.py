"""The page, clicked through in a headless Chromium; skipped where there is none."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.web.browser import CHROMIUM, Browser, chromium
from tests.apps.web.conftest import EVIL

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def shown(tab: Browser, page: tuple[str, str]) -> Iterator[Browser]:
    """The page, ready; at the end nothing may have run that should not."""
    tab.problems.clear()
    tab.size(1200, 900)
    tab.call("Page.navigate", url=page[0])
    tab.until("document.body && document.body.dataset.ready")
    yield tab
    tab.run("1")
    assert tab.problems == []


def upload(tab: Browser, path: Path) -> None:
    """Choose a file, and wait until the page has taken it."""
    tab.run("document.body.dataset.state = ''")
    tab.choose_file("#file", path)
    tab.until("document.body.dataset.state")


def picture_of_page(tab: Browser, name: str) -> None:
    """Keep a picture of the page, where somebody asks for them."""
    if folder := os.environ.get("BIFOCAL_SCREENSHOTS"):
        made = tab.call("Page.captureScreenshot", format="webp", quality=40)
        Path(folder, f"{name}.webp").write_bytes(base64.b64decode(made["data"]))


def test_slider_curtain_labels_and_the_low_band(shown: Browser, folder: Path) -> None:
    upload(shown, folder / EVIL)
    assert shown.run("document.querySelector('#name').textContent") == EVIL
    sizes = []
    for quality in (10, 90):
        shown.run(f"$('quality').value = {quality}; $('quality').dispatchEvent(new Event('input'))")
        shown.until(
            f"document.body.dataset.compared === 'original {quality}' && $('busy').textContent === ''"
        )
        sizes.append(int(shown.run("$('figures').rows[0].cells[1].textContent").replace(",", "")))
        assert float(shown.run("$('figures').rows[0].cells[3].textContent")) > 5
    assert sizes[0] < sizes[1]
    shown.run("$('against').value = 'jpeg'; $('against').dispatchEvent(new Event('change'))")
    shown.until("document.body.dataset.compared === 'jpeg 90' && $('busy').textContent === ''")
    assert shown.run("$('figures').rows.length") == 3
    shown.run("$('curtain').focus()")
    shown.press("ArrowRight")
    assert shown.run("$('curtain').getAttribute('aria-valuenow')") == "52"
    assert shown.run("getComputedStyle($('left')).clipPath").startswith("inset(0px 48%")
    assert shown.run("$('labels').children.length") == 3
    assert "without decoding" in shown.run("$('reading').textContent")
    if not shown.run("$('labels').children[0].disabled"):
        shown.run("$('labels').children[0].click()")
        shown.until("!$('veil').hidden && $('veil').naturalWidth === 120")
    shown.run("document.activeElement.blur()")
    shown.press("l")
    shown.until("document.body.dataset.low === 'shown'")
    assert "Then the whole" in shown.run("$('low-note').textContent")


def test_the_gallery_shows_text_as_text_and_opens_files(shown: Browser) -> None:
    shown.until("document.querySelectorAll('#thumbs li').length === 4")
    text = shown.run("$('thumbs').innerText")
    assert EVIL in text and "<script>alert(2)</script> a red kite" in text
    assert shown.run("document.querySelectorAll('#thumbs script, #thumbs img[onerror]').length") == 0
    shown.run("$('search').value = 'red kite'; $('search').dispatchEvent(new Event('input'))")
    shown.until("document.body.dataset.found === '2'")
    shown.run("$('savings').click()")
    shown.until("$('saved').textContent.includes('estimated from')")
    shown.run("document.body.dataset.compared = ''; document.querySelectorAll('#thumbs button')[1].click()")
    shown.until("document.body.dataset.compared === 'original 60' && $('busy').textContent === ''")
    assert "alert(2)" in shown.run("$('caption').textContent")
    shown.run("document.activeElement.blur()")
    shown.press("Escape")
    assert shown.run("$('viewer').hidden && !$('gallery').hidden")


def test_damaged_and_too_large_files_are_said(shown: Browser, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "<b onclick=alert(3)>.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    upload(shown, broken)
    assert "$" not in shown.run("$('problem').textContent") and not shown.run("$('problem').hidden")
    shutil.copy(folder / "damaged.bfc", tmp_path / "damaged.bfc")
    upload(shown, tmp_path / "damaged.bfc")
    assert "damaged" in shown.run("$('problem').textContent")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(3_100_000))
    shown.choose_file("#file", large)
    shown.until("$('problem').textContent.includes('--max-upload')")


def test_a_picture_of_50_megapixels_is_shown_in_part(shown: Browser, large_picture: Path) -> None:
    upload(shown, large_picture)
    assert "of its middle" in shown.run("$('about').textContent")
    shown.until("$('busy').textContent === ''", seconds=120)


def test_narrow_screens_and_dark_mode(shown: Browser, folder: Path) -> None:
    upload(shown, folder / "plain.jpg")
    light = shown.run("getComputedStyle(document.body).backgroundColor")
    shown.size(360, 700, dark=True)
    assert shown.run("getComputedStyle(document.body).backgroundColor") != light
    assert shown.run("document.documentElement.scrollWidth <= 360")
