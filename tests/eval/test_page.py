"""The page of a run: what is in it, and, in a headless Chromium, whether it can be used.

LHRS_CHAT_EVAL_PAGE=FILE LHRS_CHAT_SCREENSHOT=1 opens that page too and saves docs/eval_report.png.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from eval import page, passports, plots, report, runner, runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS, Passport
from eval.conditions import CONTROLS
from lhrs_chat.errors import LhrsError
from lhrs_chat.schema import Mask
from lhrs_chat.text.run_lengths import to_coco

BENCHMARK = BENCHMARKS.get("nano_probe")
ROOT = Path(__file__).resolve().parents[2]
JUDGE = {"model": "m", "weights_sha256": "", "prompt_sha256": "", "rows": []}


@pytest.fixture
def scored(probe: Path, tmp_path: Path, scripted: Any, perfect: Any) -> runs.ScoredRun:
    """Perfect answers but for a blank one, a server error, a strange box and a text that tries to break out."""

    def speech(question: str, hashes: tuple[str, ...]) -> str:
        if "ships" in question:
            raise LhrsError("the server answered 500")
        if "forest" in question:
            return "</script><img src=x onerror=alert(1)>"
        return "[20, 20, 50, 60]" if "tank" in question else perfect(question, hashes)

    data = runs.open_data("nano_probe", probe)
    names = ["real", *CONTROLS, *(f"cloud:{severity}" for severity in range(1, 6))]
    runner.run(BENCHMARK, data.questions, scripted(speech), tmp_path / "out", names, runner.Settings(on_error="record"))
    return runs.score(data, tmp_path / "out")


def embedded(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def test_every_sample_is_on_the_page(scored: runs.ScoredRun) -> None:
    text = page.render(scored, scored.summary(), 10**6)
    data = embedded(text)
    assert len(data["samples"]) == len(scored.records) == data["answers"]
    by_key = {(s["id"], s["condition"]): s for s in data["samples"]}
    tank = by_key["synthetic-0-where_is", "real"]
    assert tank["true"] == [[[0.1, 0.2], [0.4, 0.2], [0.4, 0.6], [0.1, 0.6]]]
    assert tank["said"] == [[[0.2, 0.2], [0.5, 0.2], [0.5, 0.6], [0.2, 0.6]]]
    assert tank["verdict"] == "partly" and tank["readings"][0]["parsed"] == "20, 20, 50, 60"
    assert by_key["synthetic-0-count", "real"]["verdict"] == "failed"
    assert "500" in by_key["synthetic-0-count", "real"]["error"]
    assert by_key["synthetic-0-presence", "real"]["verdict"] == "right"
    assert by_key["synthetic-0-presence", "blind"] | {"pictures": []} == by_key["synthetic-0-presence", "blind"]
    assert by_key["synthetic-0-compare", "real"]["verdict"] == "unreadable"
    caption = by_key["synthetic-0-caption", "real"]["readings"][0]
    assert caption["metric"] == "cider" and caption["score"] > 2
    assert {name for s in data["samples"] for name in s["pictures"]} == set(data["pictures"])
    assert len(data["pictures"]) == 9 * 7  # as they are, grey, and five clouds


def test_an_answer_cannot_break_out_of_the_page(scored: runs.ScoredRun) -> None:
    text = page.render(scored, scored.summary())
    assert "<img src=x" not in text and text.count("</script>") == 2
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)


def test_a_limit_takes_failures_first_and_then_of_everything(scored: runs.ScoredRun) -> None:
    chosen = page.choose(scored, 120)
    failed = [record for record in scored.records.values() if record.error]
    assert [bool(record.error) for record in chosen] == [True] * len(failed) + [False] * (120 - len(failed))
    tasks = {(r.condition, scored.asks[r.key].question.task) for r in chosen if not r.error}
    assert {("real", "presence"), ("real", "where_is"), ("blind", "presence")} <= tasks
    assert {r.condition for r in page.choose(scored, 400)} == {r.condition for r in scored.records.values()}


def test_an_altered_copy_is_labelled_on_the_page(scored: runs.ScoredRun) -> None:
    passport = Passport("here", "CC0-1.0", "CC0-1.0", rows={"synthetic": 3})
    check = passports.check(replace(BENCHMARK, passport=passport), scored.data.folder, scored.data.questions)
    altered = replace(scored, data=replace(scored.data, check=check))
    assert "Altered copy: synthetic has 40 rows, published 3." in page.render(altered, altered.summary(), 1)
    assert 'class="banner"' not in page.render(scored, scored.summary(), 1)


def test_masks_of_both_kinds_are_shown(scored: runs.ScoredRun) -> None:
    region = np.zeros((24, 32), bool)
    region[:12] = True
    ring = ((0.0, 0.0), (16.0, 0.0), (16.0, 24.0))
    key = ("synthetic-0-presence", "real")
    question = scored.asks[key].question
    targets = replace(question.targets, masks=(Mask.from_array(region), Mask("pixel", polygons=(ring,))))
    asks = {**scored.asks, key: replace(scored.asks[key], question=replace(question, targets=targets))}
    text = json.dumps(to_coco(Mask.from_array(~region)))
    one = replace(scored, asks=asks, records={key: replace(scored.records[key], text=text)})
    (sample,) = embedded(page.render(one, scored.summary()))["samples"]
    true, outlined, said = sample["masks"]
    assert true["uri"].startswith("data:image/png") and outlined["rings"][0][1] == [0.5, 0.0]
    assert [mask["whose"] for mask in sample["masks"]] == ["true", "true", "said"]
    for mask, rows in ((true, slice(0, 12)), (said, slice(12, 24))):
        tint = np.array(PIL.Image.open(io.BytesIO(base64.b64decode(mask["uri"].split(",")[1]))))
        seen = np.zeros((24, 32), bool)
        seen[rows] = True
        assert ((tint[..., 3] > 0) == seen).all() and (tint[seen][0, :3] == page.COLOURS[mask["whose"]]).all()


def test_the_verdicts_of_a_judge_stand_on_the_page(scored: runs.ScoredRun) -> None:
    verdicts = {"synthetic-0-caption": True, "synthetic-1-caption": False, "synthetic-2-caption": None}
    data = embedded(page.render(scored, {**scored.summary(), "judge": {**JUDGE, "verdicts": verdicts}}, 10**6))
    by_key = {(s["id"], s["condition"]): s["judge"] for s in data["samples"]}
    said = [by_key[f"synthetic-{place}-caption", "real"] for place in range(4)]
    assert said == ["right", "not right", "unreadable", "not shown to it"]
    assert by_key["synthetic-0-caption", "grey"] is None and by_key["synthetic-0-presence", "real"] is None
    assert {s["judge"] for s in embedded(page.render(scored, scored.summary()))["samples"]} == {None}


def test_plots_say_in_words_what_they_show(scored: runs.ScoredRun) -> None:
    summary = scored.summary()
    figures = plots.scores(summary)
    assert any(
        "accuracy under nano_probe-strict-2" in figure and "synthetic · presence, real: 1.000" in figure
        for figure in figures
    )
    (cloud,) = plots.curves(summary)
    assert "severity 0: 100% left; severity 1: " in cloud
    share = re.findall(r"severity 3: (\d+)% left", cloud)[0]
    (row,) = re.findall(r"^\| cloud \| (\d+) \| (.*) \|$", report.markdown(summary), re.M)
    assert int(row[0]) == cloud.count('class="thin"') and row[1].split(" | ")[2].startswith(f"{share}% ± ")
    (reliability,) = plots.calibration(summary)
    assert "confidence 0.50" in reliability and f"{summary['calibration'][0]['ece']:.3f}" in reliability


def test_report_writes_the_page(scored: runs.ScoredRun, capsys: Any) -> None:
    assert main(["report", str(scored.folder), "--data", str(scored.data.folder), "--samples", "5"]) == 0
    assert capsys.readouterr().out == f"{scored.folder / 'report.html'}\n"
    assert len(embedded((scored.folder / "report.html").read_text())["samples"]) == 5


# In a browser.


@pytest.mark.browser
def test_samples_can_be_filtered_and_turned(tab: Any, scored: runs.ScoredRun) -> None:
    from playwright.sync_api import expect

    tab.goto(page.write(scored, scored.summary()).as_uri())
    cards = tab.locator("#cards article")
    expect(cards).to_have_count(12)
    expect(tab.get_by_label("Condition")).to_have_value("real")
    tab.get_by_label("Verdict").select_option("failed")
    expect(cards.first).to_contain_text("the server answered 500")
    tab.get_by_label("Verdict").select_option("")
    tab.get_by_label("Task").select_option("where_is")
    expect(cards.first.locator("polygon.true")).to_have_count(1)
    expect(cards.first.locator("polygon.said")).to_have_count(1)
    tab.get_by_label("Condition").select_option("blind")
    expect(cards.first).to_contain_text("No picture was shown.")
    tab.get_by_label("Task").select_option("")
    tab.get_by_label("Condition").select_option("")
    before = cards.first.text_content()
    tab.get_by_role("button", name="Next").press("Enter")
    expect(tab.locator("#where")).to_contain_text("13 to 24")
    assert cards.first.text_content() != before
    tab.get_by_label("Words").fill("no such words anywhere")
    expect(tab.get_by_role("status")).to_contain_text("0 samples")
    tab.get_by_label("Words").fill("onerror")
    expect(cards.first).to_contain_text("</script><img src=x onerror=alert(1)>")
    expect(tab.get_by_label("Judge")).to_be_hidden()


@pytest.mark.browser
def test_samples_can_be_filtered_by_what_a_judge_said(tab: Any, scored: runs.ScoredRun) -> None:
    from playwright.sync_api import expect

    judge = {**JUDGE, "verdicts": {"synthetic-1-caption": False}}
    tab.goto(page.write(scored, {**scored.summary(), "judge": judge}).as_uri())
    tab.get_by_label("Judge").select_option("not right")
    cards = tab.locator("#cards article")
    expect(cards).to_have_count(1)
    expect(cards.first).to_contain_text("synthetic-1-caption")


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out_of_the_screen(tab: Any, scored: runs.ScoredRun, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto(page.write(scored, scored.summary()).as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.querySelectorAll('img')].every((image) => image.alt)")
    assert tab.evaluate("[...document.querySelectorAll('svg[role=img]')].every((s) => s.getAttribute('aria-label'))")
    assert tab.evaluate("[...document.querySelectorAll('select, input')].every((field) => field.labels.length)")


@pytest.mark.browser
def test_a_picture_for_the_docs(tab: Any, scored: runs.ScoredRun) -> None:
    given = os.environ.get("LHRS_CHAT_EVAL_PAGE")
    path = Path(given).resolve() if given else page.write(scored, scored.summary())
    tab.set_viewport_size({"width": 1280, "height": 1400})
    tab.goto(path.as_uri())
    tab.locator("#samples").evaluate("element => element.scrollIntoView()")
    assert tab.locator("#cards article img").first.evaluate("image => image.complete && image.naturalWidth > 0")
    if os.environ.get("LHRS_CHAT_SCREENSHOT"):
        tab.screenshot(path=str(ROOT / "docs" / "eval_report.png"))
