"""Number formats and quantisation: names, what transformers is told, and machines that cannot."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BitsAndBytesConfig
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from lhrs_chat.cli import main
from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models import weights
from lhrs_chat.models.backends import open_backend
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.models.weights import NEVER_QUANTISED, Precision
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, processor = tiny.model_and_processor()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


class Able:
    """A quantiser that finds all it needs."""

    def validate_environment(self) -> None:
        pass


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine be able to quantise, whatever is installed."""
    monkeypatch.setattr(AutoHfQuantizer, "from_config", lambda config, pre_quantized: Able())


def test_format_is_part_of_the_name(folder: Path) -> None:
    assert open_backend(str(folder)).name == str(folder)
    backend = open_backend(str(folder), dtype="bfloat16")
    assert backend.name == f"{folder} (bfloat16)"
    assert isinstance(backend, NativeBackend)
    assert backend.model.dtype == torch.bfloat16
    assert str(Precision("float16", "8bit")) == " (float16, 8bit)"


def test_weights_stay_in_the_format_they_are_stored_in(folder: Path) -> None:
    weights.load(folder).model.half().save_pretrained(folder)
    assert weights.load(folder).model.dtype == torch.float16
    assert weights.load(folder, Precision("float32")).model.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"dtype": "fp16"}, "auto, float32, bfloat16, float16"), ({"quantise": "3bit"}, "none, 8bit, 4bit")],
)
def test_unknown_names_are_refused_before_anything_is_read(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_backend("lhrs-nano", **settings)


@pytest.mark.parametrize("wrong", [ImportError("no bitsandbytes\nmore"), RuntimeError("no device\nmore")])
def test_a_machine_that_cannot_quantise_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, wrong: Exception
) -> None:
    def unable(self: Able) -> None:
        raise wrong

    monkeypatch.setattr(Able, "validate_environment", unable)
    monkeypatch.setattr(AutoHfQuantizer, "from_config", lambda config, pre_quantized: Able())
    with pytest.raises(WeightsError, match="pip install") as caught:
        open_backend(str(folder), quantise="4bit")
    assert caught.value.found == str(wrong).splitlines()[0]


def test_command_line_takes_the_options(
    folder: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert main(["ask", str(photo), "What?", "--model", str(folder), "--dtype", "bfloat16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["model"] == f"{folder} (bfloat16)"
    for verb in (["ask", str(photo), "What?"], ["chat", str(photo), "--questions", "What?"]):
        assert main([*verb, "--model", str(folder), "--dtype", "half"]) == 2
        assert "unknown number format" in capsys.readouterr().err
        assert main([*verb, "--model", str(folder), "--quantise", "2bit"]) == 2
        assert "unknown quantisation" in capsys.readouterr().err


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(
    ("precision", "eight", "compute"),
    [
        (Precision(quantise="8bit"), True, torch.bfloat16),
        (Precision(quantise="4bit"), False, torch.bfloat16),
        (Precision("float32", "4bit"), False, torch.float32),
    ],
)
def test_what_transformers_is_told(precision: Precision, eight: bool, compute: torch.dtype) -> None:
    told = precision.settings(NEVER_QUANTISED)
    config = told["quantization_config"]
    assert isinstance(config, BitsAndBytesConfig)
    assert (config.load_in_8bit, config.load_in_4bit) == (eight, not eight)
    assert (config.bnb_4bit_compute_dtype, config.bnb_4bit_quant_type) == (compute, "nf4")
    assert told["dtype"] == precision.dtype
    model, _ = tiny.model_and_processor()
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    small = {name for name in linear if should_convert_module(name, config.llm_int8_skip_modules)}
    assert small == {name for name in linear if name.startswith("language_model.model.layers.")}
    assert len(small) == 14
    assert "quantization_config" not in Precision(precision.dtype).settings()


def test_what_quantisation_needs_is_looked_for(folder: Path) -> None:
    """Where bitsandbytes is installed the model opens with a smaller language model, elsewhere the user is told."""
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(WeightsError, match="bitsandbytes"):
            open_backend(str(folder), quantise="8bit")
        return
    backend = open_backend(str(folder), quantise="8bit")
    assert isinstance(backend, NativeBackend)
    layers = [type(module).__name__ for name, module in backend.model.named_modules() if name.endswith("_proj")]
    assert layers.count("Linear8bitLt") == 14
