"""A small probe on disk, and models whose answers are written beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from lhrs_chat.models.backends import Delta, Done, Request

Speech = Callable[[str, tuple[str, ...]], str]
SCENES = {"synthetic": 5, "aid_rsicd": 4}
CLASSES = ["park", "parking", "dense residential", "pond"]


class Scripted:
    """A model that says what a function of question and picture hashes tells it to."""

    def __init__(self, speech: Speech, *, weights: str = "a" * 64, die_after: int | None = None) -> None:
        self.name = "scripted"
        self.weights_sha256 = weights
        self.dialect = "brackets100"
        self.requests: list[Request] = []
        self.batches: list[int] = []
        self._speech = speech
        self._left = die_after

    def generate(self, requests: Sequence[Request], stop: object = None) -> Iterator[Delta | Done]:
        self.batches.append(len(requests))
        for place, request in enumerate(requests):
            if self._left is not None:
                if self._left == 0:
                    raise KeyboardInterrupt
                self._left -= 1
            self.requests.append(request)
            text = self._speech(request.messages[0].text, request.image_hashes)
            yield Delta(place, text)
            yield Done(place, text, confidence=0.5, tokens=len(text.split()), prompt=request.messages[0].text)


def rows_of_scene(subset: str, place: int) -> list[dict[str, Any]]:
    """One question of every task about one picture."""
    name = CLASSES[place % len(CLASSES)]
    water = place % 2 == 0
    captions = [
        f"the {name} number {place} lies between green trees .",
        f"a {name} and number {place} roads are here .",
    ]
    asked: list[tuple[str, str, str, dict[str, Any]]] = [
        ("presence", "Is there water?", "yes" if water else "no", {}),
        ("count", "How many ships are there?", str(place), {"number": place}),
        ("compare", "Is there more forest than water?", "no" if water else "yes", {}),
        ("area_share", "How much is forest?", f"{10 * place}%", {"number": 10 * place, "unit": "%"}),
        ("scene_class", "What kind of scene is this?", name, {"options": CLASSES}),
        ("where_is", "Where is the tank?", "", {"box": [10 + place, 20, 40 + place, 60]}),
        ("which_is_higher", "Which is higher, left or right?", "the left one" if water else "the right one", {}),
        ("caption", "Describe the scene.", captions[0], {"captions": captions}),
    ]
    rows = []
    for task, question, answer, more in asked:
        if task == "where_is":
            answer = str(more["box"])
        row = {"id": f"{subset}-{place}-{task}", "image": f"images/{subset}_{place}.png", "task": task}
        row |= {"question": question, "answer": answer, "options": None, "box": None, "number": None, "unit": ""}
        row |= {"scene_id": f"{subset}/{place}", "set": subset, "licence": "CC0-1.0", "captions": [], **more}
        rows.append(row)
    return rows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    folder = tmp_path / "probe"
    (folder / "images").mkdir(parents=True)
    rows = []
    colours = np.random.default_rng(3)
    for subset, scenes in SCENES.items():
        for place in range(scenes):
            pixels = colours.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(folder / "images" / f"{subset}_{place}.png")
            rows += rows_of_scene(subset, place)
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "probe.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def rewrite() -> Callable[[Path, list[dict[str, Any]]], None]:
    return write_rows


@pytest.fixture
def perfect(probe: Path) -> Speech:
    """The true answer where the right picture is shown, and nothing otherwise."""
    from eval.records import image_sha256

    rows = [json.loads(line) for line in (probe / "probe.jsonl").read_text().splitlines()]
    known = {(row["question"], (image_sha256(probe / row["image"]),)): row["answer"] for row in rows}
    return lambda question, hashes: known.get((question, hashes), "")
