from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What torchvision 0.28 does when it is imported: it describes both operators to torch.
PACKAGE = """
import torch
for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}")(lambda dets, scores, iou_threshold: dets.new_empty(0))
"""
# The guard alone, without the package around it, which imports transformers and with it all of torchvision.
GUARD = f"import runpy; install = runpy.run_path({str(ROOT / 'lhrs_chat/models/torchvision_guard.py')!r})['install']; "


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def broken_torchvision(tmp_path: Path) -> Path:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)
    (package / "_C.so").write_bytes(b"not a library")
    return tmp_path


def test_torchvision_with_a_broken_library_is_importable_behind_the_guard(broken_torchvision: Path) -> None:
    bare = run("import torchvision", broken_torchvision)
    assert "torchvision::nms" in bare.stderr and bare.returncode != 0
    guarded = run(GUARD + "print(install()); import torchvision; print(install())", broken_torchvision)
    assert guarded.stdout.split() == ["declared", "declared"], guarded.stderr
