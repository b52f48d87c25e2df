"""docs/data.md: its commands run as they stand there and write what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from data_prep.builders import BUILDERS
from data_prep.exports import EXPORTS
from data_prep.verbs import VERBS
from lhrs_chat.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    told = ""
    blocks = re.findall(r"(?:^`([\w./]+)`:\n\n)?^```(sh|text|markdown)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [kind for _, kind, _ in blocks].count("sh") == 6
    for place, kind, text in blocks:
        if kind == "sh":
            for command in text.splitlines():
                words = shlex.split(command)
                if words[0] == "lhrs-chat":
                    assert main(words[1:]) == 0, command
                else:
                    subprocess.run(words, check=True)
            told = capsys.readouterr().out
        elif kind == "markdown":
            assert Path(place).read_text(encoding="utf-8") == text
        elif "needs:" in text:
            about = re.split(r"^(?=\S)", told, flags=re.MULTILINE)
            assert set(re.split(r"^(?=\S)", text, flags=re.MULTILINE)) <= set(about)
        else:
            assert told == text
    assert (tmp_path / "made" / "llava" / "rows.json").is_file()


def test_the_page_names_what_there_is() -> None:
    assert set(BUILDERS.names()) - {"nano"} == set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    for name in (*EXPORTS.names(), *(set(VERBS.names()) - {"nano", "probe"})):
        assert re.search(rf"`{name}`|lhrs-chat prep {name}\b|prep export {name}\b", PAGE), name
