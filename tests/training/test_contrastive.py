from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.contrastive import IGNORED, patch_to_patch, picture_to_text, region_to_category, roi_align


def bilinear(grid: np.ndarray, x: float, y: float) -> np.ndarray:
    """Read a map (G, G, D) at x, y, counted in places from the centre of the first, as RoIAlign does."""
    side = grid.shape[0]
    x, y = np.clip(x, 0, side - 1), np.clip(y, 0, side - 1)
    left, top = int(x), int(y)
    right, below = min(left + 1, side - 1), min(top + 1, side - 1)
    a, b = x - left, y - top
    upper = grid[top, left] * (1 - a) + grid[top, right] * a
    lower = grid[below, left] * (1 - a) + grid[below, right] * a
    return upper * (1 - b) + lower * b


@pytest.mark.parametrize("side", [7, 14])
def test_regions_are_those_of_roi_align(side: int, rng: np.random.Generator) -> None:
    dense = rng.normal(size=(2, side * side, 3))
    for _ in range(20):
        x1, y1, x2, y2 = (float(v) for v in np.sort(rng.random((2, 2)), axis=0).ravel())
        read = roi_align(
            torch.from_numpy(dense), torch.tensor([[x1, y1, x2, y2]], dtype=torch.float64), torch.tensor([1])
        )[0]
        grid = dense[1].reshape(side, side, 3)
        expected = [
            bilinear(grid, x1 * side - 0.5 + (column + 0.5) * (x2 - x1), y1 * side - 0.5 + (row + 0.5) * (y2 - y1))
            for row in range(side)
            for column in range(side)
        ]
        np.testing.assert_allclose(read.numpy(), expected, atol=1e-12)


def test_the_whole_picture_is_itself() -> None:
    dense = torch.randn(1, 49, 5, dtype=torch.float64)
    whole, first = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0])
    torch.testing.assert_close(roi_align(dense, whole, first), dense)
    assert float(patch_to_patch(dense, whole, first, dense)) == pytest.approx(0, abs=1e-12)


def test_crops_get_a_gradient_only_where_they_carry_one() -> None:
    dense, crops = torch.randn(1, 49, 5, requires_grad=True), torch.randn(2, 49, 5, requires_grad=True)
    boxes, image = torch.tensor([[0.1, 0.1, 0.6, 0.5], [0.3, 0.2, 0.9, 0.9]]), torch.tensor([0, 0])
    patch_to_patch(dense, boxes, image, crops).backward()
    assert dense.grad is not None and float(dense.grad.abs().sum()) > 0
    assert crops.grad is not None and float(crops.grad.abs().sum()) > 0
    patch_to_patch(dense, boxes, image, crops.detach()).backward()


def features(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    made = [functional.normalize(torch.randn(count, 8), dim=-1).requires_grad_() for _ in range(2)]
    return made[0], made[1]


def test_distinct_categories_are_the_loss_of_clip() -> None:
    regions, texts = features(5)
    scale = torch.tensor(10.0)
    logits = scale * regions @ texts.T
    own = torch.arange(5)
    expected = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    found = region_to_category(regions, texts, torch.tensor([7, 3, 9, 1, 0]), scale)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(picture_to_text(regions, texts, scale), expected)


def test_texts_of_one_category_share_the_weight() -> None:
    regions, texts = features(3)
    scale, category = torch.tensor(4.0), torch.tensor([2, 2, 5])
    log = (scale * regions @ texts.T).log_softmax(-1)
    back = (scale * texts @ regions.T).log_softmax(-1)
    expected = -sum((table[0, :2].sum() + table[1, :2].sum()) / 2 + table[2, 2] for table in (log, back)) / 6
    torch.testing.assert_close(region_to_category(regions, texts, category, scale), expected)


def test_ignored_regions_neither_pull_nor_push() -> None:
    regions, texts = features(4)
    scale, category = torch.tensor(4.0), torch.tensor([0, IGNORED, 1, IGNORED])
    found = region_to_category(regions, texts, category, scale)
    found.backward()
    kept = torch.tensor([0, 2])
    torch.testing.assert_close(found, region_to_category(regions[kept], texts[kept], category[kept], scale))
    assert regions.grad is not None and float(regions.grad[[1, 3]].abs().sum()) == 0


def test_a_batch_without_categories_has_no_loss_and_a_graph() -> None:
    regions, texts = features(2)
    found = region_to_category(regions, texts, torch.tensor([IGNORED, IGNORED]), torch.tensor(4.0))
    found.backward()
    assert float(found.detach()) == 0 and regions.grad is not None
