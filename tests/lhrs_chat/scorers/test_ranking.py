from __future__ import annotations

import math

import pytest
import torch

from lhrs_chat.errors import DataError
from lhrs_chat.models.scorers.ranking import pair_accuracy, plackett_luce


def test_two_are_bradley_terry() -> None:
    scores = torch.tensor([0.3, -0.2, 1.5, 2.5])
    expected = -(torch.sigmoid(torch.tensor([0.5, -1.0])).log()).mean()
    assert float(plackett_luce(scores)) == pytest.approx(float(expected), rel=1e-6)


def test_three_are_the_product_of_choices() -> None:
    a, b, c = 0.4, -1.0, 0.7
    first = math.exp(a) / (math.exp(a) + math.exp(b) + math.exp(c))
    expected = -math.log(first) - math.log(math.exp(b) / (math.exp(b) + math.exp(c)))
    assert float(plackett_luce(torch.tensor([a, b, c]), group=3)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_large_scores_stay_finite_with_their_gradients(size: float) -> None:
    scores = torch.tensor([size, -size, -size, size], requires_grad=True)
    loss = plackett_luce(scores)
    loss.backward()
    assert torch.isfinite(loss) and scores.grad is not None and torch.isfinite(scores.grad).all()
    assert float(loss.detach()) == pytest.approx(abs(size), rel=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    assert plackett_luce(torch.tensor([60000.0, 0.0], dtype=torch.float16)).dtype == torch.float32


@pytest.mark.parametrize("scores", [torch.zeros(3), torch.zeros(2, 2), torch.zeros(0)])
def test_what_fills_no_groups_is_refused(scores: torch.Tensor) -> None:
    with pytest.raises(DataError, match="whole groups"):
        plackett_luce(scores)


def test_pair_accuracy_counts_ties_as_half() -> None:
    assert pair_accuracy(torch.tensor([2.0, 1.0, 0.0, 1.0, 1.0, 1.0])) == pytest.approx((1 + 0 + 0.5) / 3)
    assert pair_accuracy(torch.tensor([3.0, 2.0, 1.0]), group=3) == 1.0
