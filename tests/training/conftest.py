"""Tiny published systems on disk, and rows to learn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image as PilImage

from lhrs_chat import presets, samples
from tests import tiny
from tests.training.systems import SYSTEMS, TALKS, TinySystem, published_parts, row, tiny_preset


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of presets in tiny, with their parts beside it."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "presets").mkdir()
    for name in SYSTEMS:
        (folder / "presets" / f"{name}.yaml").write_text(json.dumps(tiny_preset(name)))
        published_parts(name, folder / name)
    return folder


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> TinySystem:
    """Each system in tiny, under its own name."""
    monkeypatch.setattr(presets, "FOLDER", shelf / "presets")
    return TinySystem(request.param, shelf / request.param)


@pytest.fixture(scope="session")
def learnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions of four pictures; and three conversations about pictures with one without."""
    folder = tmp_path_factory.mktemp("learnable")
    files = []
    for number in range(4):
        files.append(folder / f"{number}.png")
        PilImage.fromarray(tiny.picture(number, (40, 30 + number))).save(files[-1])
    captions = [
        row(f"caption/{number}", (("describe", caption),), files[number])
        for number, caption in enumerate(("a river", "the harbor", "a bridge and a river", "the image"))
    ]
    talks = [row(f"talk/{number}", talk, files[number]) for number, talk in enumerate(TALKS)]
    talks.append(row("text", (("the bridge", "a bridge"),), None))
    for name, rows in {"captions": captions, "talks": talks}.items():
        (folder / name).mkdir()
        samples.write(folder / name / "rows.jsonl", rows)
    return folder
