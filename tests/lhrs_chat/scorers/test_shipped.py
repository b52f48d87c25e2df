from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from lhrs_chat import presets
from lhrs_chat.errors import WeightsError
from lhrs_chat.models import assemble
from lhrs_chat.models.scorers import Judged, open_scorer, shipped
from lhrs_chat.models.scorers.vlm import VlmScorer
from tests import tiny

ROW = Judged("a port", images=(tiny.picture(1),))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base preset in tiny, and a score model on it."""
    base, folder = tmp_path / "base", tmp_path / "presets" / "score-tiny"
    folder.mkdir(parents=True)
    model, processor = tiny.model_and_processor()
    model.save_pretrained(base)
    processor.save_pretrained(base)
    adapted = get_peft_model(model.language_model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(str(folder))
    save_file({"weight": torch.ones(1, model.config.text_config.hidden_size)}, folder / shipped.HEAD_FILE)
    (folder / presets.BASE_FILE).write_text(json.dumps({"base": "lhrs-nano", "trained": {"bridge": "1"}}))
    (folder / presets.SCORER_FILE).write_text("what: tells a port from a lake\nlicence: CC0-1.0\n")
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assemble, "assemble", lambda preset: base)
    monkeypatch.setattr(presets, "trained_hashes", lambda preset: {"bridge": "1"})
    load, where = presets.load_preset, tmp_path / "presets"
    nano = load("lhrs-nano")
    monkeypatch.setattr(presets, "load_preset", lambda name: nano)
    monkeypatch.setattr(presets, "FOLDER", where)
    return folder


def test_it_is_opened_by_its_name_and_made_once(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert presets.scorer_names() == ["score-tiny"]
    scorer = open_scorer("score-tiny")
    assert isinstance(scorer, VlmScorer) and scorer.name == "score-tiny"
    (first,) = scorer.score([ROW])
    assert first.value is not None
    monkeypatch.setattr(assemble, "put_adapter", None)  # it would be called if it were made again
    (again,) = open_scorer("score-tiny").score([ROW])
    assert again == first


def test_the_adapter_counts(shelf: Path) -> None:
    (with_adapter,) = open_scorer("score-tiny").score([ROW])
    weights = shelf / "adapter_model.safetensors"
    from safetensors.torch import load_file

    save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(weights).items()}, weights)
    (without,) = open_scorer("score-tiny").score([ROW])
    assert with_adapter.value is not None and without.value is not None
    assert abs(with_adapter.value - without.value) > 1e-4


def test_another_base_is_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "trained_hashes", lambda preset: {"bridge": "2"})
    with pytest.raises(WeightsError, match="another lhrs-nano"):
        open_scorer("score-tiny")
