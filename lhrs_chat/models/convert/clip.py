"""A CLIP in the layout of open_clip, as a .pt file: RemoteCLIP, GeoRSCLIP, FarSLIP, or one of your own training.

It becomes a folder that open_clip opens without our code. Its size is read from the shapes. The files of FarSLIP are
whole training states; those whose text tower was stretched to 248 tokens, the way of LongCLIP, hold two tables of
positions and two masks, which are folded into one: table * mask1 + table_res * mask2.

The activation cannot be read from weights. FarSLIP was trained from OpenAI's CLIP, with QuickGELU, whatever its name
says, and models that are opened with the other one answer a little worse without a word; so it must be told.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.convert import Converter, Options, Report
from lhrs_chat.models.convert._tensors import Entry
from lhrs_chat.models.convert._writing import check_room, write_file
from lhrs_chat.models.strict import reason
from lhrs_chat.models.whole_folder import check_out, whole_folder

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
ACTIVATIONS = ("gelu", "quick_gelu")
STRETCHED = "positional_embedding_res"
HEAD_WIDTH = 64  # of both towers, in every size that OpenAI and open_clip published in this layout
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_MASKS = ("mask1", "mask2")
KEPT_POSITIONS = "kept_positions"
"""In the configuration of a stretched tower: so many of its first positions were not trained, and should not be."""


def convert(options: Options) -> Report:
    """Convert one file.

    Raises:
        WeightsError: it holds no such model, or the activation was not told; nothing was written.
    """
    check_out(options.out)
    if options.activation not in ACTIVATIONS:
        raise WeightsError(
            "the weights of a CLIP do not tell its activation",
            found=options.activation or "no --activation",
            allowed=", ".join(ACTIVATIONS),
            next_step="quick_gelu for what began with OpenAI's CLIP (RemoteCLIP, GeoRSCLIP and FarSLIP did)",
        )
    stored = _state(options)
    state = fold(stored)
    kept = {KEPT_POSITIONS: int((stored["mask1"] != 0).sum())} if STRETCHED in stored else {}
    config = sizes(state, quick_gelu=options.activation == "quick_gelu")
    entries = [Entry(name, tuple(tensor.shape), lambda t=tensor: t) for name, tensor in sorted(state.items())]  # type: ignore[misc]
    check_room(options.out.parent, entries, options.dtype)
    with whole_folder(options.out) as folder:
        digest = write_file(folder / WEIGHTS, entries, options.dtype)
        preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
        (folder / CONFIG).write_text(
            json.dumps({"model_cfg": config, "preprocess_cfg": preprocess, **kept}, indent=1) + "\n"
        )
        (folder / "weights.json").write_text(json.dumps({"files": {WEIGHTS: digest}}, indent=1) + "\n")
    return Report(options.out, (WEIGHTS,), sum(entry.numel for entry in entries), "whole")


def _state(options: Options) -> dict[str, torch.Tensor]:
    """Read the weights of a file, without running code, and leave the rest of a training state where it is."""
    path = options.checkpoint
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path.name} cannot be read as tensors alone",
            found=reason(error),
            allowed="a .pt file of a state_dict, zipped as torch writes it since 1.6",
        ) from error
    found = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise WeightsError(
            f"{path.name} holds no weights of a CLIP",
            found=type(found).__name__ if not isinstance(found, dict) else ", ".join(map(str, list(found)[:8])),
            allowed="a dictionary of tensors, or one under the key state_dict",
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def fold(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put the two tables of a stretched text tower into one; another state stays as it is.

    Raises:
        WeightsError: a table or a mask is missing, or their shapes differ.
    """
    made = dict(state)
    if STRETCHED not in made:
        return made
    lost = [name for name in ("positional_embedding", *_MASKS) if name not in made]
    if lost:
        raise WeightsError("a stretched text tower has two tables and two masks", found=f"no {', '.join(lost)}")
    kept, moved = made["positional_embedding"].float(), made.pop(STRETCHED).float()
    first, second = (made.pop(name).float() for name in _MASKS)
    if kept.shape != moved.shape:
        raise WeightsError("the two tables of positions differ", found=f"{tuple(kept.shape)}, {tuple(moved.shape)}")
    made["positional_embedding"] = kept * first + moved * second
    return made


def sizes(state: Mapping[str, torch.Tensor], *, quick_gelu: bool) -> dict[str, Any]:
    """Read the configuration of open_clip from the shapes of a ViT and its text tower.

    Raises:
        WeightsError: the tensors are not those of such a model.
    """
    try:
        width, _, patch_px, _ = state["visual.conv1.weight"].shape
        places = state["visual.positional_embedding"].shape[0] - 1
        context, text_width = state["positional_embedding"].shape
        config = {
            "embed_dim": state["text_projection"].shape[1],
            "quick_gelu": quick_gelu,
            "vision_cfg": {
                "image_size": int(places**0.5) * patch_px,
                "layers": _layers(state, "visual.transformer."),
                "width": width,
                "head_width": HEAD_WIDTH,
                "mlp_ratio": state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0] / width,
                "patch_size": patch_px,
            },
            "text_cfg": {
                "context_length": context,
                "vocab_size": state["token_embedding.weight"].shape[0],
                "width": text_width,
                "heads": max(1, text_width // HEAD_WIDTH),
                "layers": _layers(state, "transformer."),
            },
        }
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            "this is no CLIP with a ViT in the layout of open_clip",
            found=f"{reason(error)}, among {', '.join(sorted(state)[:6])}",
        ) from error
    return config


def _layers(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"resblocks\.(\d+)\.")
    return 1 + max(int(found[1]) for name in state if (found := pattern.match(name)))


CONVERTER = Converter(convert)
