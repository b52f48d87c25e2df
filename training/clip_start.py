"""`python -m training.clip_start FOLDER`: write a small CLIP to train, in the form of open_clip.

Its vision tower is the EfficientNet-Lite0 of lhrs-nano with its ImageNet weights, as timm names them, and a projection
that knows nothing yet; its text tower is untrained. `python -m training clip_nano` begins from it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lhrs_chat.errors import LhrsError
from lhrs_chat.models import torchvision_guard
from lhrs_chat.models.assemble import part_file
from lhrs_chat.models.convert.clip import CONFIG, WEIGHTS
from lhrs_chat.models.encoders import efficientnet_lite
from lhrs_chat.models.scorers.clip import open_clip_module
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.models.whole_folder import check_out, whole_folder
from lhrs_chat.presets import load_preset

BASE = "lhrs-nano"
WIDTH = 256
SIZES: dict[str, Any] = {
    "embed_dim": WIDTH,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": efficientnet_lite.SIZES_PX["lite0"],
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": 4, "layers": 4},
}


def untrained(published: Mapping[str, torch.Tensor], seed: int) -> Any:
    """Make the model, with published weights in the trunk of its vision tower.

    Args:
        published: EfficientNet-Lite0, as published.
        seed: of all else.

    Raises:
        MissingExtraError: open_clip is not installed.
        WeightsError: the weights are those of another network.
    """
    torch.manual_seed(seed)
    model = open_clip_module().CLIP(**SIZES)
    ours = efficientnet_lite.weight_map(dict(published), {"variant": "lite0", "head": True})
    trunk = model.visual.trunk
    # Both list their layers in the order in which a picture passes them.
    named = dict(zip(trunk.state_dict(), ours.values(), strict=True))
    load_strictly(trunk, named, "the trunk of the vision tower")
    return model


def write(published: Mapping[str, torch.Tensor], out: Path, seed: int) -> None:
    """Write the folder.

    Raises:
        LhrsError: see `untrained`; or the place cannot take it.
    """
    check_out(out)
    model = untrained(published, seed)
    look = {"mean": efficientnet_lite.MEAN, "std": efficientnet_lite.STD}
    with whole_folder(out) as folder:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
        told = {"model_cfg": SIZES, "preprocess_cfg": {**look, "interpolation": "bicubic", "resize_mode": "squash"}}
        (folder / CONFIG).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.clip_start", description=__doc__)
    parser.add_argument("folder", type=Path, help="where it is written")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (%(default)s)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    torchvision_guard.install()
    try:
        part = load_preset(BASE).parts["encoder"]
        write(efficientnet_lite.load_published(part_file(part)), args.folder, args.seed)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
