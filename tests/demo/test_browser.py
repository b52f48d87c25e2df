"""The page in a headless Chromium: pick a scene, ask, see the region drawn, download it, upload, stop.

LHRS_CHAT_BROWSER_MODEL=lhrs-nano asks that model and the scenes that ship with the project instead of a script.
LHRS_CHAT_SCREENSHOT=1 saves docs/demo.png.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect, sync_playwright

from demo import samples, web
from lhrs_chat.chat import Assistant

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
REAL_MODEL = os.environ.get("LHRS_CHAT_BROWSER_MODEL", "")
PATIENCE_MS = 120_000 if REAL_MODEL else 20_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def folder(samples_folder: Path) -> Path:
    """The scenes of the page, and of the uploads."""
    return samples.FOLDER if REAL_MODEL else samples_folder


@pytest.fixture
def address(assistant: Assistant, folder: Path) -> Iterator[str]:
    asked = Assistant.open(REAL_MODEL) if REAL_MODEL else assistant
    page = web.build(asked, samples.load(folder))
    yield web.serve(page, host="127.0.0.1", port=0, wait=False)
    page.close()


@pytest.fixture
def tab(address: str) -> Iterator[Page]:
    """A browser tab with the page, which fails the test when the page reaches out or throws."""
    binary = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    assert binary is not None, "no Chromium found: make test-browser installs it"
    foreign: list[str] = []
    errors: list[str] = []

    def watch(route: Route, request: Request) -> None:
        if request.url.startswith((address.rstrip("/"), "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        page.route("**/*", watch)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#gallery img")
        yield page
        browser.close()
    assert foreign == []
    assert errors == []


def say(tab: Page, question: str) -> None:
    tab.locator("#entry textarea").fill(question)
    tab.locator("#entry textarea").press("Enter")


def bot(tab: Page) -> Any:
    return tab.locator("#chat .bot.message")


def picked(tab: Page, place: int) -> None:
    tab.locator("#gallery .thumbnail-item").nth(place).click()
    expect(bot(tab).last).to_contain_text("is open")


def test_a_scene_is_picked_asked_about_and_downloaded(tab: Page, tmp_path: Path) -> None:
    picked(tab, 0)
    expect(tab.locator("#scene img")).to_be_visible()
    before = tab.locator("#scene img").get_attribute("src")
    say(tab, "Describe this scene." if REAL_MODEL else "What is this?")
    expect(bot(tab).last).to_contain_text("confidence")
    expect(bot(tab)).to_have_count(2)
    say(tab, "Where is the water?")
    expect(bot(tab)).to_have_count(3)
    expect(bot(tab).last).to_contain_text("confidence" if REAL_MODEL else "box")
    expect(tab.locator("#seen")).to_contain_text("sent to the model as")
    expect(tab.locator("#note")).to_contain_text("WGS84")
    expect(tab.locator("#scene img")).not_to_have_attribute("src", before or "")
    if os.environ.get("LHRS_CHAT_SCREENSHOT"):
        tab.wait_for_timeout(1000)
        tab.screenshot(path=str(ROOT / "docs" / "demo.png"))
    with tab.expect_download() as waiting:
        tab.locator("#download").click()
    saved = tmp_path / "saved.geojson"
    waiting.value.save_as(saved)
    features = json.loads(saved.read_text())["features"]
    assert features
    assert features[0]["geometry"]["type"] in {"Polygon", "MultiPolygon"}


def test_a_question_worth_asking_is_a_click_away(tab: Page, folder: Path) -> None:
    picked(tab, 0)
    question = samples.load(folder)[0].questions[0]
    tab.locator("#chat").get_by_role("button", name=question).click()
    expect(tab.locator("#chat .user.message").last).to_contain_text(question)
    expect(bot(tab).last).to_contain_text("confidence")


def test_an_upload_without_georeference_says_so(tab: Page, samples_folder: Path) -> None:
    tab.locator("#entry input[type=file]").set_input_files(str(samples_folder / "town.png"))
    expect(tab.locator("#entry .thumbnail-item")).to_be_visible()
    say(tab, "Where is the car?")
    expect(bot(tab).last).to_contain_text("confidence")
    expect(tab.locator("#note")).to_contain_text("no georeference")
    expect(tab.locator("#download")).to_be_disabled()


def test_a_geotiff_is_uploaded(tab: Page, samples_folder: Path) -> None:
    tab.locator("#entry input[type=file]").set_input_files(str(samples_folder / "coast.tif"))
    say_when_ready = tab.locator("#entry .thumbnail-item")
    expect(say_when_ready).to_be_visible()
    say(tab, "What is this?")
    expect(bot(tab).last).to_contain_text("confidence")
    expect(tab.locator("#seen")).to_contain_text("EPSG:32650")


def test_a_question_without_image_is_answered_with_advice(tab: Page) -> None:
    say(tab, "What is this?")
    expect(bot(tab).last).to_contain_text("no image")


def test_an_answer_can_be_stopped(tab: Page, backend: Any) -> None:
    backend.pause_s = 0.1
    picked(tab, 0)
    say(tab, "Describe this scene.")
    tab.locator("#entry .stop-button").click()
    expect(bot(tab).last).to_contain_text("confidence")
    if not REAL_MODEL:
        assert (bot(tab).last.text_content() or "").count("It goes on") < 40
