"""The vision tower of a converted checkpoint: its configuration, its tensors, and how it wants its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, CLIPVisionConfig, SiglipVisionConfig

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.convert._checkpoint import Part
from lhrs_chat.models.convert._tensors import Entry, refuse_part
from lhrs_chat.models.processing import RESAMPLES, LhrsImageProcessor
from lhrs_chat.models.strict import SENSELESS, first_line, read_json

PUBLISHED = "encoder.vision_model."
OURS = "encoder.tower."
CONFIGS: dict[str, type[CLIPVisionConfig] | type[SiglipVisionConfig]] = {
    "clip": CLIPVisionConfig,
    "siglip": SiglipVisionConfig,
}
_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)
_IMAGE_KEYS = ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std")
_PIL_RESAMPLES = {resample.value: name for name, resample in RESAMPLES.items()}


@dataclass(frozen=True)
class Tower:
    """What `config.json` and `preprocessor_config.json` of a tower say.

    Args:
        name: of our encoder, `clip` or `siglip`.
        vision_config: the keys that shape the tower.
        image: how pictures are prepared.
    """

    name: str
    vision_config: dict[str, Any]
    image: LhrsImageProcessor

    @property
    def depth(self) -> int:
        """Number of layers before any is left out."""
        return int(self.vision_config["num_hidden_layers"])


def open_tower(folder: Path, name: str) -> Tower:
    """Read the two files of a tower; `name` is the encoder that the system has.

    Raises:
        WeightsError: a file is missing, or is of another tower.
    """
    whole = read_json(folder / "config.json")
    given = whole.get("vision_config", whole)
    cls = CONFIGS[name]
    kind = given.get("model_type", whole.get("model_type")) if isinstance(given, dict) else None
    if kind not in (cls.model_type, name):
        raise WeightsError(
            "this is another vision tower",
            found=f"model type {kind} in {folder / 'config.json'}",
            allowed=cls.model_type,
            next_step="give the tower that the system was published with as --vision",
        )
    try:
        read = cls.from_dict({key: given[key] for key in _KEYS if key in given})
        with torch.device("meta"):
            AutoModel.from_config(read)
    except SENSELESS as error:
        raise WeightsError(
            "the configuration makes no vision tower", found=f"{folder / 'config.json'}: {first_line(error)}"
        ) from error
    vision = {"model_type": cls.model_type, **{key: getattr(read, key) for key in _KEYS}}
    image = image_processor(read_json(folder / "preprocessor_config.json"), "crop" if name == "clip" else "stretch")
    if image.size_px != read.image_size:
        raise WeightsError(
            "tower and image processor are of different sizes",
            found=f"pictures of {image.size_px} px, a tower for {read.image_size} px",
            next_step=f"check the two files in {folder}",
        )
    return Tower(name, vision, image)


def image_processor(given: Mapping[str, Any], resize: str) -> LhrsImageProcessor:
    """Make ours from a `preprocessor_config.json` of CLIP (`crop`) or SigLIP (`stretch`), old form or new.

    Raises:
        WeightsError: it prepares pictures in a way that ours does not.
    """
    sizes = {_side(given.get("size"))} | ({_side(given.get("crop_size"))} if resize == "crop" else set())
    number = given.get("resample", 3)
    resample = _PIL_RESAMPLES.get(number) if isinstance(number, int) else None
    steps = ["do_resize", "do_normalize", *(["do_center_crop"] if resize == "crop" else [])]
    off = [step for step in steps if not given.get(step, True)]
    scale = given.get("rescale_factor", 1 / 255)
    scaled = isinstance(scale, int | float) and abs(scale * 255 - 1) <= 1e-6
    mean, std = _channels(given.get("image_mean")), _channels(given.get("image_std"))
    size = sizes.pop() if len(sizes) == 1 else None
    if size is None or resample is None or off or not scaled or not mean or not std:
        raise WeightsError(
            "the image processor of the tower works in another way",
            found={key: given.get(key) for key in (*_IMAGE_KEYS, *off)},
            allowed="one square size, bilinear or bicubic, scaled to 0-1, image_mean and image_std",
        )
    return LhrsImageProcessor(size, resize, resample, mean, std)


def _channels(given: Any) -> list[float]:
    """Three numbers, or none."""
    right = isinstance(given, list) and len(given) == 3 and all(isinstance(each, int | float) for each in given)
    return given if right else []


def _side(size: Any) -> int | None:
    """The side of a square: a number, `shortest_edge`, or `height` and `width` that are the same."""
    if isinstance(size, dict):
        sides = list(size.values())
        size = sides[0] if sides and sides.count(sides[0]) == len(sides) else None
    return size if isinstance(size, int) and size > 0 else None


def wanted(part: Part, own: Mapping[str, tuple[int, ...]]) -> list[Entry]:
    """List the tower's tensors under our names, each under exactly its published name in the checkpoint.

    Our tower has no `vision_model.` level. A checkpoint that has none either was renamed by somebody, and is refused.

    Args:
        part: `rgb_ckpt`.
        own: name and shape of our encoder's tensors.

    Raises:
        WeightsError: a tensor is missing, unexpected or misshaped.
    """
    published = {ours: PUBLISHED + ours.removeprefix(OURS) for ours in own}
    refuse_part("the vision tower, rgb_ckpt", {published[ours]: shape for ours, shape in own.items()}, part.shapes())
    return [Entry(ours, shape, part.reader(published[ours])) for ours, shape in own.items()]


def layers_stored(part: Part) -> int:
    """Return how many layers a checkpoint holds."""
    numbers = {name.removeprefix(f"{PUBLISHED}encoder.layers.").split(".")[0] for name in part.shapes()}
    return len({number for number in numbers if number.isdigit()})
