"""Tiny published systems on disk, and rows to learn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image as PilImage

import lhrs_chat.models  # noqa: F401  (before transformers: it mends a torchvision that does not fit)
from data_prep.verbs import nano
from lhrs_chat import presets, samples
from tests import tiny
from tests.training.systems import SYSTEMS, TALKS, TinySystem, published_parts, row, talks, tiny_folder, tiny_preset
from training import start
from training.bridge_start import place_words, start_like_text
from training.recipe import Recipe


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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model of all tests, as a folder."""
    return tiny_folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of very different lengths: 48 to learn from, 6 held out, each split with pictures of its own."""
    folder = tmp_path_factory.mktemp("mixed")
    files = [folder / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        PilImage.fromarray(tiny.picture(number, (40, 30 + number))).save(file)
    rows = [*talks(48, files[:4]), *talks(6, files[4:], "val", 1)]
    samples.write(folder / "rows.jsonl", rows)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is measured of the machine out of the user's cache."""
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def nano_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of lhrs-nano in small."""
    folder = tmp_path_factory.mktemp("nano")
    nano.build(folder, folder / "no shared sets", synthetic=8, with_registry=False)
    return folder


@pytest.fixture
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every recipe begin with the tiny model of all tests."""

    def prepare(recipe: Recipe) -> tuple:
        model, processor = tiny.model_and_processor()
        start_like_text(model)
        if recipe.place_words:
            place_words(model, processor.tokenizer, recipe.seed)
        if recipe.lora is not None:
            from peft import LoraConfig, get_peft_model

            torch.manual_seed(1)
            model.language_model = get_peft_model(
                model.language_model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
            )
        return model, processor

    monkeypatch.setattr(start, "prepare", prepare)
