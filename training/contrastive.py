"""The losses of FarSLIP: patches of a picture and of its crops, crops and categories, pictures and texts.

Regions are read with RoIAlign on plain `grid_sample`: where the boxes lie inside the picture and as many bins are read
as the grid has, every bin has one sample, at its centre, so that both are the same operation (arXiv 2511.14901).
"""

from __future__ import annotations

import torch
from torch.nn import functional

IGNORED = -1
"""The category of a region that is in no category: it neither attracts nor repels."""


def roi_align(dense: torch.Tensor, boxes: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Read regions from dense features.

    Args:
        dense: (B, N, D), the N = G * G places row by row.
        boxes: (M, 4), x1, y1, x2, y2 in shares of the picture.
        image: (M,), in which of the B pictures each lies.

    Returns:
        (M, N, D), G * G bins of each region.
    """
    count, places, width = dense.shape
    side = round(places**0.5)
    maps = dense.transpose(1, 2).reshape(count, width, side, side)
    steps = (torch.arange(side, device=dense.device, dtype=dense.dtype) + 0.5) / side
    x1, y1, x2, y2 = boxes.to(dense.dtype).unbind(-1)
    columns = 2 * (x1[:, None] + (x2 - x1)[:, None] * steps) - 1
    rows = 2 * (y1[:, None] + (y2 - y1)[:, None] * steps) - 1
    grid = torch.stack([columns[:, None, :].expand(-1, side, -1), rows[:, :, None].expand(-1, -1, side)], dim=-1)
    read = functional.grid_sample(maps[image], grid, padding_mode="border", align_corners=False)
    return read.flatten(2).transpose(1, 2)


def patch_to_patch(dense: torch.Tensor, boxes: torch.Tensor, image: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """One minus the mean cosine between a region of the whole picture and the crop of it.

    Args:
        dense: (B, N, D), of the whole pictures.
        boxes: (M, 4), where the crops lie, in shares of the picture.
        image: (M,), in which picture.
        crops: (M, N, D), dense features of the crops, by the same weights, a frozen copy or a moving average; only
            where they carry a gradient is there one to them.
    """
    seen = functional.normalize(roi_align(dense, boxes, image).mean(1), dim=-1)
    wanted = functional.normalize(crops.mean(1), dim=-1)
    return 1 - (seen * wanted).sum(-1).mean()


def region_to_category(
    regions: torch.Tensor, texts: torch.Tensor, category: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Contrastive loss with several positives: every text of a region's category is as good as its own.

    Args:
        regions: (M, D), normalised features of crops.
        texts: (M, D), normalised features of their texts.
        category: (M,), whole numbers; `IGNORED` leaves a region out.
        scale: the factor of the cosines, learned.

    Returns:
        The mean over both directions; zero, with its graph, where no region has a category.
    """
    kept = category != IGNORED
    if not bool(kept.any()):
        return 0 * (regions.sum() + texts.sum() + scale)
    regions, texts, category = regions[kept], texts[kept], category[kept]
    same = (category[:, None] == category[None, :]).to(regions.dtype)
    wanted = same / same.sum(-1, keepdim=True)
    logits = scale * regions @ texts.T
    return (functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)) / 2


def picture_to_text(pictures: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The contrastive loss of CLIP (Radford et al., 2021) over normalised features, (B, D) each."""
    return region_to_category(pictures, texts, torch.arange(len(pictures), device=pictures.device), scale)
