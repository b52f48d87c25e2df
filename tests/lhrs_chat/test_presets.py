"""Presets of published systems: found by name only once their checkpoint has been converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from lhrs_chat.cli import main
from lhrs_chat.errors import WeightsError
from lhrs_chat.models.assemble import build_untrained, make_processor
from lhrs_chat.models.weights import locate
from lhrs_chat.presets import convert_command, load_preset, model_path, preset_names
from lhrs_chat.text.grounding import DIALECTS

DATA = Path(__file__).parents[1] / "data"
PUBLISHED = [name for name in preset_names() if load_preset(name).published is not None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_preset_says_how_it_is_converted(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="needs conversion") as caught:
        locate(name)
    said = str(caught.value)
    preset = load_preset(name)
    assert preset.published is not None
    command = f"lhrs-chat convert --from {name} CHECKPOINT_DIR --llm {preset.published.llm} --vision "
    assert command in said
    assert str(tmp_path / "models" / name) in said
    assert preset.published.where in said
    with pytest.raises(WeightsError, match="lhrs-chat convert"):
        build_untrained(preset)


@pytest.mark.parametrize("name", PUBLISHED)
def test_converted_preset_is_found_by_its_name(name: str, capsys: Any) -> None:
    folder = model_path(load_preset(name))
    folder.mkdir(parents=True)
    with pytest.raises(WeightsError):
        locate(name)
    (folder / "config.json").write_text("{}")
    assert locate(name) == folder
    assert main(["models", "--json"]) == 0
    found = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert found[name]["folder"] == str(folder)


def test_models_lists_published_systems_last(capsys: Any) -> None:
    assert main(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    own = len(found) - len(PUBLISHED)
    assert {"lhrs-bot", "lhrs-bot-nova"} <= set(PUBLISHED)
    assert [model["name"] for model in found[own:]] == PUBLISHED
    for model in found[own:]:
        preset = load_preset(model["name"])
        assert (model["present"], model["folder"], model["weights"]) == (False, None, [])
        assert model["convert"] == convert_command(preset)
        assert preset.published is not None
        assert preset.published.where in model["checkpoint"]
    assert (found[0]["convert"], found[0]["checkpoint"]) == ("", "")
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "lhrs-bot-nova  (needs conversion)" in out
    assert out.count("convert it: lhrs-chat convert --from") == len(PUBLISHED)


@pytest.mark.parametrize("name", preset_names())
def test_presets_speak_a_known_dialect(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.dialect in DIALECTS
    assert bool(preset.parts) is not (preset.published is not None)


@pytest.mark.parametrize("name", preset_names())
def test_tokenizer_gets_the_template_of_a_preset_that_has_one(name: str) -> None:
    preset = load_preset(name)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(DATA / "lhrs_tiny_tokenizer" / "tokenizer.json"))
    tokenizer.chat_template = "its own"
    processor = make_processor(preset, 5, tokenizer)
    assert tokenizer.chat_template == (preset.chat_template or "its own")
    assert (processor.system, processor.dialect, processor.num_image_tokens) == (preset.system, preset.dialect, 5)
    assert processor.image_processor.size_px == preset.image.size_px
