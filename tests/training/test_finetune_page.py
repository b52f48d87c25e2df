"""docs/finetune.md, command by command: with tiny random parts, and with lhrs-nano as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from lhrs_chat import cli
from training import export
from training.__main__ import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "finetune.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def run(words: list[str]) -> int:
    if words[0] == "mkdir":
        Path(words[1]).mkdir()
    elif words[0] == "cp":
        for name in words[1:-1]:
            shutil.copy(ROOT / name, words[-1])
    elif words[0] == "lhrs-chat":
        return cli.main(words[1:])
    elif words[:3] == ["python", "-m", "training"]:
        return main(words[3:])
    elif words[:3] == ["python", "-m", "training.export"]:
        return export.main(words[3:])
    else:
        raise AssertionError(words)
    return 0


def follow(capsys: pytest.CaptureFixture[str], instead: dict[str, list[str]]) -> list[str]:
    """Run the page; `instead` replaces single words. Return what the questions and scores printed."""
    printed = []
    for words in commands():
        changed = [other for word in words for other in instead.get(word, [word])]
        assert run(changed) == 0, (changed, capsys.readouterr().err)
        printed.append(capsys.readouterr().out)
    return printed


def test_with_tiny_parts(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [
        *("own_data_lora", f"model={tiny_model}", "optim.precision=fp32", "lora.rank=4", "data.pack_tokens=4000"),
        *("eval_answers=1", "data.passes=30"),
    ]
    shown = follow(
        capsys,
        {
            "own_data_lora": small,
            "lhrs-nano": [str(tiny_model)],
            "optim.max_steps=12": ["optim.max_steps=2"],
            "eval_steps=6": ["eval_steps=2"],
            "save_steps=6": ["save_steps=2"],
        },
    )
    assert "fit to train on" in "".join(shown)
    assert all((tmp_path / "runs" / name / "scores.json").is_file() for name in ("before", "after"))


@pytest.mark.slow
def test_with_lhrs_nano(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LHRS_CHAT_CACHE", raising=False)
    shown = follow(capsys, {})
    assert shown[-3].strip()
    assert (tmp_path / "runs" / "after" / "scores.json").is_file()
