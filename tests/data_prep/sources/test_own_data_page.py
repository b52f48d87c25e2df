"""docs/own_data.md: its commands run as they stand there and print what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from data_prep.sources.own_data import LABELS, RASTERS, Settings
from lhrs_chat import samples
from lhrs_chat.cli import main

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (_, prepare), (_, commands), (_, told), (_, python), (_, shown) = BLOCKS
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    subprocess.run(["bash", "-ec", prepare], check=True)
    lines = commands.splitlines()
    assert len(lines) == 3
    for line in lines:
        for command in line.split(" && "):
            assert command.startswith("lhrs-chat ")
            assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out.strip() == told.strip()
    exec(python, {})  # the example of the page
    assert capsys.readouterr().out.strip() == shown.strip()
    rows = list(samples.read("made/set"))
    scenes = {split: {row.scene_id for row in rows if row.split == split} for split in ("train", "val", "test")}
    assert all(scenes.values())
    assert sum(map(len, scenes.values())) == len(set.union(*scenes.values()))
    assert all(row.images[0].georef is not None and row.footprint is not None for row in rows)


def test_every_setting_and_kind_of_file_is_on_the_page() -> None:
    for field in fields(Settings):
        default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert re.search(rf"^\| `{field.name}` \| {re.escape(default)} ?\|", PAGE, re.MULTILINE), field.name
    for word in (*RASTERS, *LABELS):
        assert f"`{word}`" in PAGE
