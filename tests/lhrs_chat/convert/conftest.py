"""Recorded checkpoints, fresh for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import checkpoints
from tests.checkpoints import Published


@pytest.fixture(params=checkpoints.SYSTEMS)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Published:
    """One of each system."""
    return checkpoints.recorded(request.param, tmp_path / "published")


@pytest.fixture
def bot(tmp_path: Path) -> Published:
    return checkpoints.recorded("lhrs-bot", tmp_path / "published")


@pytest.fixture
def nova(tmp_path: Path) -> Published:
    return checkpoints.recorded("lhrs-bot-nova", tmp_path / "published")
