"""A CLIP with random weights, and its losses in one of two processes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lhrs_chat.models.convert.clip import CONFIG, WEIGHTS
from training.recipe import ClipPart

SIZES = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


def write_clip(folder: Path, **more: object) -> Path:
    """A CLIP with random weights, in the form of open_clip."""
    folder.mkdir(parents=True)
    made = _random()
    save_file({name: tensor.contiguous() for name, tensor in made.state_dict().items()}, folder / WEIGHTS)
    look = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": SIZES, "preprocess_cfg": look, **more}))
    return folder


def _random() -> torch.nn.Module:
    from lhrs_chat.models import torchvision_guard

    torchvision_guard.install()  # before open_clip, in a process of its own too
    import open_clip

    torch.manual_seed(0)
    return open_clip.CLIP(**SIZES)


def small_losses(folder: Path) -> torch.nn.Module:
    made = _random()
    made.load_state_dict(load_file(folder / WEIGHTS))
    from training.objectives.clip import ClipLosses

    return ClipLosses(made, ClipPart(captions=1.0, categories=1.0), 0)


def one_of_two(rank: int, folder: str, batches: list, out: str) -> None:
    """Compute loss and gradient of one half of the pictures, and write the mean of both gradients."""
    torch.distributed.init_process_group("gloo", f"file://{out}.meet", rank=rank, world_size=2)
    losses = small_losses(Path(folder))
    loss = losses(**batches[rank]).mean()
    loss.backward()
    for tensor in losses.model.parameters():
        torch.distributed.all_reduce(tensor.grad)
        tensor.grad /= 2
    if rank == 0:
        torch.save((loss.detach(), {name: tensor.grad for name, tensor in losses.model.named_parameters()}), out)
    torch.distributed.destroy_process_group()
