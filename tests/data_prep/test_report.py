"""The report of a data set: its numbers, and, in a headless Chromium, whether the page can be used.

LHRS_CHAT_DATA_PAGE=FILE LHRS_CHAT_SCREENSHOT=1 opens that page too and saves docs/data_report.png.
"""

from __future__ import annotations

import io
import json
import os
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from data_prep import card, figures, history, report_page
from data_prep.__main__ import main
from data_prep.census import OTHERS, Census, Draw, Histogram, Names, Shown, zone
from data_prep.output import Dropped, Output
from lhrs_chat import samples
from lhrs_chat.schema import Box, Georef, Image, Mask, Message, Number, Part, Sample, Targets

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 48)
GEOREF = Georef("EPSG:32631", (0.5, 0, 500_000.0, 0, -0.5, 5_000_000.0))
EVIL = "</script><img src=x onerror=alert(1)>"


def image(number: int, **told: Any) -> Image:
    known = {"size_px": SIZE, "sensor": "aerial", "gsd_m": 0.5, **told}
    return Image(path=f"images/{number}.png", **known)


def row(number: int, task: str, question: str, answer: str, **told: Any) -> Sample:
    messages = (Message.of("user", question, (0,)), Message.of("assistant", answer))
    known = {"source": "town", "licence": "CC0-1.0", "scene_id": f"scene {number}", "images": (image(number),)}
    known |= {"messages": messages, "targets": Targets(answer=answer)}
    return Sample(id=f"{number}/{task}", task=task, **{**known, **told})


def made() -> list[Sample]:
    """Ten rows: upright and oriented boxes, both kinds of masks, a region in words, two pictures, strange texts."""
    boxes = (Box((0, 0, 32, 24), "pixel", "house"), Box((0.5, 0.5, 1, 1), "unit", "pond"))
    turned = Box.oriented(((8, 0), (16, 8), (8, 16), (0, 8)), "pixel", "ship")
    stored = np.zeros((48, 64), bool)
    stored[:24] = True
    ring = Mask("map", (((500_000.0, 5_000_000.0), (500_016.0, 5_000_000.0), (500_016.0, 4_999_988.0)),), label="wood")
    region = Part("region", region=Box((0, 0, 32, 24), "pixel", "house"))
    pointed = Message("assistant", (Part("text", text="Here: "), region))
    asked = Message.of("user", "Where is the house?", (0,))
    ground = {"images": (image(0, georef=GEOREF),), "footprint": (3.0, 45.0, 3.001, 45.001)}
    return [
        Sample(
            "0/facts", (image(0, georef=GEOREF),), "facts", "town", "CC0-1.0", "scene 0",
            targets=Targets(labels=("harbour",), boxes=(*boxes, turned), masks=(Mask.from_array(stored, "sea"), ring),
                            numbers=(Number(2, "", "computed", "house"),), captions=("A harbour with ships.",)),
            footprint=ground["footprint"],
        ),
        row(0, "grounding", "", "Here", messages=(asked, pointed),
            targets=Targets(answer="Here", boxes=boxes[:1]), **ground),
        row(1, "presence", "Is there a house?", "Yes.", footprint=(-77.2, -12.1, -77.1, -12.0)),
        row(2, "presence", "Is there a pond?", "No", split="val"),
        row(3, "presence", "Is there a ship?", "yes", split="test", licence=" "),
        row(3, "caption", "Describe.", EVIL, split="train", score=0.25),
        row(4, "caption", "Describe.", "A long row of small houses along a road.", source="village"),
        row(5, "change", "What changed?", "Nothing", images=(image(5), image(6, sensor=None, gsd_m=None, size_px=None)),
            meta={"image_roles": ["before", "after"], "box_images": [1]},
            targets=Targets(answer="Nothing", boxes=(Box((0, 0, 8, 8), "pixel", "shed"),))),
        row(7, "count", "How many?", "2", images=(image(404),)),
        row(8, "vqa", "Which?", "Left", images=()),
    ]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The ten rows after a filter that left two out; the folder names the data set that it read."""
    facts, out = tmp_path / "facts", tmp_path / "set"
    (out / "images").mkdir(parents=True)
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(out / "images" / f"{number}.png")
    first = Output(str(facts), {"verb": "convert", "source": "town"}, {})
    first.add(0, map(samples.to_record, made()), [])
    (facts / "rejected.jsonl").write_text('{"where": "row 9 of town.json", "reason": "bad field \'x\'"}\n')
    first.finish(10, notes={"rejected": 1})
    second = Output(str(out), {"verb": "filter", "rules": ["blur"]}, {"location": str(facts)})
    kept = made()
    blurred = replace(kept[2], id="9/presence", images=(replace(kept[2].images[0], path=str(out / "images/1.png")),))
    dropped = [Dropped.of(blurred, "blur", "sharpness 0.01, less than 0.2"), Dropped("row 3", "unreadable", "no JSON")]
    second.add(0, map(samples.to_record, kept), dropped)
    second.finish(12, ["blur", "length"])
    return out


@pytest.fixture
def census() -> Census:
    found = Census()
    for one in made():
        found.add(one)
    return found


def test_rows_by_source_task_and_split(census: Census) -> None:
    assert census.rows == 10
    assert census.cells["town", "presence", "val"] == 1 and census.cells["village", "caption", "train"] == 1
    assert dict(census.scenes) == {"train": 7, "val": 1, "test": 1}
    assert census.shared_scenes == 1  # scene 3 trains and tests
    assert card.rows_without_licence(census) == 1 and census.without_licence == ["3/presence"]


def test_pictures_are_counted_once(census: Census) -> None:
    assert dict(census.pictures) == {"town": 7, "village": 1}
    assert dict(census.sensors) == {"aerial": 7, "not told": 1}
    assert census.without_gsd == 1 and census.gsd_m["aerial"].total == 7 and census.gsd_m["aerial"].mean == 0.5
    assert census.sizes.total == 7 and census.commonest_sizes.counts == {"64 x 48": 7}


def test_boxes_and_masks_are_measured_in_every_frame(census: Census) -> None:
    assert dict(census.boxes) == {"upright": 4, "oriented": 1, "without a size in pixels": 1}
    sides = census.box_sides_px
    assert sides.total == 4 and sides.low == pytest.approx(128**0.5)  # the turned square: 8 x 16 in the middle
    assert sides.high == pytest.approx(768**0.5)
    assert census.box_shares.high == pytest.approx(0.25)
    assert census.mask_shares.low == pytest.approx(0.25 / 2 / 48 * 48) and census.mask_shares.high == 0.5
    assert vars(census.labels["house"]) == {"rows": 2, "boxes": 2, "masks": 0}
    assert vars(census.labels["sea"]) == {"rows": 1, "boxes": 0, "masks": 1}
    assert vars(census.labels["harbour"]) == {"rows": 1, "boxes": 0, "masks": 0}


def test_texts(census: Census) -> None:
    assert census.captions.total == 1 and census.captions.mean == 4
    assert census.questions.total == 9 and census.questions.low == 1
    assert census.short_answers["presence"].counts == {"yes": 2, "no": 1}
    assert "A long row" not in census.short_answers["caption"].counts and census.answered["caption"] == 2


def test_ground(census: Census) -> None:
    assert dict(census.zones) == {"temperate, north": 2, "tropical, south": 1, "not told": 7}
    assert dict(census.ground) == {(3, 45): 2, (-78, -13): 1}
    assert sorted(census.footprints.items()) == [(-77.2, -12.1, -77.1, -12.0), (3.0, 45.0, 3.001, 45.001)]
    assert [zone(x) for x in (70, 36, -30, 0)] == [
        "polar, north", "temperate, north", "subtropical, south", "tropical, north",
    ]  # fmt: skip


def test_a_footprint_across_the_date_line() -> None:
    found = Census()
    found.add(replace(made()[2], footprint=(179.8, 10.0, -179.6, 10.2)))
    assert list(found.ground) == [(-180, 10)]
    assert figures.panels(found.footprints.items(), found.ground) == []
    assert "179 to 180 W, 10 to 11 N: 1 rows" in figures.world(found.ground)


def test_a_histogram_counts_each_value_in_its_bin() -> None:
    found = Histogram((1, 2, 5))
    for value in (0.5, 1, 1.9, 2, 5, 100):
        found.add(value)
    assert found.counts == [1, 2, 1, 2] and found.total == 6 and (found.low, found.high) == (0.5, 100)
    other = Histogram((1, 2, 5))
    other.add(3)
    found.join(other)
    assert found.counts == [1, 2, 2, 2] and found.mean == pytest.approx(113.4 / 7)


def test_too_many_names_become_others() -> None:
    names = Names(2)
    for name in ("a", "b", "c", "a", "d"):
        names.add(name)
    assert names.counts == {"a": 2, "b": 1, OTHERS: 2}


def test_what_is_drawn_does_not_depend_on_the_order() -> None:
    rows = [row(number, task, "?", "!") for number in range(40) for task in ("vqa", "count")]
    drawn = []
    for order in (rows, rows[::-1], sorted(rows, key=lambda one: one.task)):
        shown = Shown(10, seed=1)
        for one in order:
            shown.add(one)
        drawn.append([one.id for one in shown.rows()])
    assert drawn[0] == drawn[1] == drawn[2] and len(set(drawn[0])) == 10
    assert sum(name.endswith("vqa") for name in drawn[0]) == 5
    draws = []
    for seed in (1, 2):
        draw: Draw[str] = Draw(3, seed)
        for one in rows:
            draw.add(one.id, one.id)
        draws.append(draw.items())
    assert draws[0] != draws[1]


def test_rows_are_forgotten() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        census, shown = Census(), Shown(20, 0)
        for number in range(count):
            one = row(number, "vqa", "Which is it? " * 20, "This one. " * 20, images=(image(number % 50),))
            one = replace(one, scene_id=f"scene {number % 50}", targets=Targets(answer=f"{number}"))
            census.add(one)
            shown.add(one)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(100)
    assert peak(4000) < 1.5 * peak(1000) + 500_000


def test_the_history_goes_back_to_the_first_step(data: Path) -> None:
    first, second = history.steps(str(data), 3, 0)
    assert (first.verb, first.rows_in, first.rows_out, first.options) == ("convert", 10, 10, {"source": "town"})
    assert first.filters["rejected"].examples[0].reason == "bad field 'x'"
    assert second.verb == "filter" and list(second.filters) == ["blur", "length", "unreadable"]
    assert second.filters["blur"].reasons == {"sharpness #, less than #": 1} and second.filters["length"].count == 0
    (blurred,) = second.filters["blur"].examples
    found = blurred.row()
    assert found is not None and found.messages[0].text == "Is there a house?"
    assert second.filters["unreadable"].examples[0].row() is None


def test_a_data_set_without_history(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"seed": 1}')
    assert history.steps(str(tmp_path), 3, 0) == []
    assert history.steps(str(tmp_path / "rows.jsonl"), 3, 0) == []


def embedded(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return dict(json.loads(found))


def test_the_verb_writes_card_and_page(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data.parent / "report"
    assert main(["report", str(data), "--out", str(out), "--samples", "50"]) == 0
    assert capsys.readouterr().out.split() == [str(out / "card.md"), str(out / "report.html")]
    text = (out / "card.md").read_text()
    assert text.startswith(f"# Data card: {data.parent.name}/set\n\n10 rows about 8 pictures of 2 sources; ")
    assert "scenes: 7 train, 1 val, 1 test." in text
    assert "**1 scene in more than one split.** **1 row without a licence.**" in text
    for line in (
        "| presence | 1 | 1 | 1 | 3 |",
        "| **none** | 1 | town |",
        "| aerial | 7 | 87.5% | 0.5 | 0.5 | 0.5 |",
        "| house | 2 | 2 | 0 |",
        "| presence | 3 | 100% | 2 | yes 67%, no 33% |",
        '| `filter` | 12 | 2 | 10 | `rules=["blur"]` |',
        "| filter: blur | 1 | sharpness #, less than # (1) |",
    ):
        assert line in text, line
    page = (out / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    found = embedded(page)
    by_id = {sample["id"]: sample for sample in found["samples"]}
    assert found["rows"] == 10 and len(found["pictures"]) == 7 and len(by_id) == 13
    assert by_id["9/presence"]["state"] == "left out by filter: blur"
    assert by_id["row 9 of town.json"]["pictures"] == []
    assert by_id["7/count"]["pictures"][0]["name"] is None
    assert main(["report", str(data), "--out", str(out), "--samples", "50"]) == 0
    assert (out / "report.html").read_text() == page


def test_regions_stand_where_they_are(data: Path) -> None:
    rows = {one.id: one for one in samples.read(data)}
    found = Census()
    for one in rows.values():
        found.add(one)
    page = report_page.render("town", found, [], list(rows.values()), card.markdown("town", found, []))
    shown = {sample["id"]: sample for sample in embedded(page)["samples"]}
    facts = {shape["label"]: shape for shape in shown["0/facts"]["shapes"]}
    assert facts["house"]["rings"] == [[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]]
    assert facts["pond"]["rings"] == [[[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]]
    assert facts["ship"]["rings"][0][1] == [0.25, 0.1667]
    assert facts["wood"]["rings"] == [[[0, 0], [0.5, 0], [0.5, 0.5]]]
    assert facts["sea"]["uri"].startswith("data:image/png;base64,")
    (part,) = shown["0/grounding"]["shapes"]  # the box of the answer is not drawn twice
    assert part["label"] == "1 house"
    assert shown["0/grounding"]["turns"][1]["said"] == [{"text": "Here: "}, {"part": 0}]
    (box,) = shown["5/change"]["shapes"]
    assert box["image"] == 1 and box["rings"] == [[[0, 0], [0.125, 0], [0.125, 0.1667], [0, 0.1667]]]
    assert [one["role"] for one in shown["5/change"]["pictures"]] == ["before", "after"]


def test_a_picture_stands_on_the_page_once(data: Path) -> None:
    rows = [one for one in samples.read(data) if one.id.startswith("0/")] * 3
    page = report_page.render("town", Census(), [], rows, card.markdown("town", Census(), []))
    assert len(embedded(page)["pictures"]) == 1


def test_no_readable_row_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report")]) == 2
    assert "no row can be read" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report"), "--samples", "-1"]) == 2


# In a browser.


@pytest.fixture
def page(data: Path) -> Path:
    assert main(["report", str(data), "--out", str(data.parent / "report")]) == 0
    return data.parent / "report" / "report.html"


@pytest.mark.browser
def test_rows_can_be_filtered(tab: Any, page: Path) -> None:
    from playwright.sync_api import expect

    tab.goto(page.as_uri())
    cards = tab.locator("#cards article")
    choose = {name: tab.locator(f"select[name={name}]") for name in ("state", "source", "task", "split", "licence")}
    expect(cards).to_have_count(10)
    choose["task"].select_option("facts")
    expect(cards).to_have_count(1)
    expect(cards.locator("polygon.drawn:not(.region)")).to_have_count(3)
    expect(cards.locator("polygon.region")).to_have_count(1)
    expect(cards.locator("img.mask")).to_have_count(1)
    tab.get_by_label("Boxes and masks").uncheck()
    expect(cards.locator("img.mask")).to_be_hidden()
    tab.get_by_label("Boxes and masks").check()
    choose["task"].select_option("grounding")
    expect(cards.locator(".part-of")).to_have_text("region 1 house")
    choose["task"].select_option("change")
    expect(cards.locator(".shot")).to_have_count(2)
    choose["task"].select_option("count")
    expect(cards.first).to_contain_text("The picture cannot be read.")
    choose["task"].select_option("")
    choose["split"].select_option("val")
    expect(cards).to_have_count(1)
    choose["split"].select_option("")
    choose["licence"].select_option("none")
    expect(cards.first).to_contain_text("Is there a ship?")
    choose["licence"].select_option("")
    tab.get_by_label("Words").fill("onerror")
    expect(cards.first).to_contain_text(EVIL)
    tab.get_by_label("Words").fill("")
    choose["state"].select_option("left out by filter: blur")
    expect(cards).to_have_count(1)
    expect(cards.first).to_contain_text("sharpness 0.01, less than 0.2")
    choose["state"].select_option("left out by convert: rejected")
    expect(cards.first).to_contain_text("row 9 of town.json")
    choose["state"].select_option("")
    tab.get_by_role("button", name="Next").press("Enter")
    expect(tab.locator("#where")).to_contain_text("13 to 13")


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_of_the_screen(tab: Any, page: Path, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.querySelectorAll('img')].every((image) => image.alt)")
    assert tab.evaluate("[...document.querySelectorAll('svg[role=img]')].every((s) => s.getAttribute('aria-label'))")
    assert tab.evaluate("[...document.querySelectorAll('select, input')].every((field) => field.labels.length)")
    assert tab.locator(".world circle").count() == 2


@pytest.mark.browser
def test_a_picture_for_the_docs(tab: Any, page: Path) -> None:
    given = os.environ.get("LHRS_CHAT_DATA_PAGE")
    tab.set_viewport_size({"width": 1120, "height": 1060})
    tab.goto((Path(given).resolve() if given else page).as_uri())
    tab.locator("select[name=task]").select_option("grounding")
    tab.locator("#funnel").evaluate("element => element.scrollIntoView()")
    assert tab.locator("#cards article img").first.evaluate("image => image.complete && image.naturalWidth > 0")
    if os.environ.get("LHRS_CHAT_SCREENSHOT"):
        picture = PIL.Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
        picture.quantize(128).save(ROOT / "docs" / "data_report.png", optimize=True)
