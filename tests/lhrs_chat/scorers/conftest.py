from __future__ import annotations

from pathlib import Path

import pytest

from tests.lhrs_chat.scorers import qwen


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen.write(tmp_path_factory.mktemp("qwen"))
