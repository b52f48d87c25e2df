"""The converted language model in the cache: made once, made again where it is damaged, whole under two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from lhrs_chat.models import assemble
from lhrs_chat.models.assemble import language_model_folder
from lhrs_chat.presets import WeightsPart, load_preset
from lhrs_chat.registry import all_intact
from tests import tiny

PART: WeightsPart = load_preset("lhrs-nano").parts["language_model"]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A language model in the place of the published one; counts how often it is converted."""
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))
    model, processor = tiny.model_and_processor()
    made: dict[str, Any] = {"model": model.language_model, "conversions": 0}
    open_model = AutoModelForCausalLM.from_pretrained

    def read(folder: Path, **settings: Any) -> Any:
        if "gguf_file" not in settings:
            return open_model(folder, **settings)
        made["conversions"] += 1
        return made["model"]

    open_words = AutoTokenizer.from_pretrained
    monkeypatch.setattr(assemble, "part_file", lambda part: tmp_path / "model.gguf")
    monkeypatch.setattr(assemble.AutoModelForCausalLM, "from_pretrained", read)
    monkeypatch.setattr(
        assemble.AutoTokenizer,
        "from_pretrained",
        lambda folder, **settings: processor.tokenizer if settings else open_words(folder),
    )
    return made


def test_language_model_is_converted_once(source: dict[str, Any]) -> None:
    folder = language_model_folder(PART)
    assert language_model_folder(PART) == folder
    assert source["conversions"] == 1
    opened = LlamaForCausalLM.from_pretrained(folder)
    wanted = source["model"].state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in opened.state_dict().items())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("harm", ["flip", "remove"])
def test_damaged_file_is_found_and_made_again(
    source: dict[str, Any], caplog: pytest.LogCaptureFixture, name: str, harm: str
) -> None:
    folder = language_model_folder(PART)
    file = folder / name
    whole = file.read_bytes()
    if harm == "flip":
        file.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    else:
        file.unlink()
    assert not all_intact(folder)
    assert language_model_folder(PART) == folder
    assert source["conversions"] == 2
    assert file.read_bytes() == whole
    assert "made again" in caplog.text
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_folder_of_which_no_hashes_were_noted_is_made_again(source: dict[str, Any]) -> None:
    folder = language_model_folder(PART)
    for note in folder.glob("*.sha256"):
        note.unlink()
    language_model_folder(PART)
    assert source["conversions"] == 2


def test_conversion_that_fails_leaves_what_was_there(source: dict[str, Any]) -> None:
    folder = language_model_folder(PART)
    (folder / "config.json").write_text("{}")
    source["model"] = None
    with pytest.raises(AttributeError):
        language_model_folder(PART)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / "config.json").read_text() == "{}"


def test_two_processes_that_make_one_folder_leave_one_whole_folder(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with assemble.atomic(folder) as first:
        (first / "a").write_text("1")
        with assemble.atomic(folder) as second:
            (second / "a").write_text("2")
        assert (folder / "a").read_text() == "2"
    assert (folder / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
