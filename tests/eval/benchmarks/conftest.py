"""Every benchmark and its fixture; a new benchmark is covered by all shared tests once its fixture lies there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eval.benchmarks import BENCHMARKS, Benchmark, Question
from lhrs_chat.geo.frames import convert
from lhrs_chat.metrics import java_captions
from lhrs_chat.text.run_lengths import to_coco

FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"
SHARED = {"lhrs_bench_circular": "lhrs_bench"}
"""Benchmarks that read the files of another one."""


@pytest.fixture(params=BENCHMARKS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def benchmark(name: str) -> Benchmark:
    return BENCHMARKS.get(name)


@pytest.fixture(autouse=True, scope="module")  # one of the session would hold for every folder after this one
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pictures that a benchmark unpacks do not go into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LHRS_CHAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_java() -> Iterator[None]:
    """Captions are scored without METEOR and SPICE, also where the machine has them: they take minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(java_captions, "find_spec", lambda name: None)
        yield


@pytest.fixture
def fixture_of(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a benchmark's fixture that a test may spoil."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        if not folder.exists():
            shutil.copytree(FIXTURES / SHARED.get(name, name), folder)
        return folder

    return copy


@pytest.fixture
def perfect() -> Callable[[Question], str]:
    """The answer of somebody who knows what is true, boxes in shares of the picture."""

    def answer(question: Question) -> str:
        targets = question.targets
        if targets.boxes:
            boxes = [convert(box, "unit", size_px=question.size_px).xyxy for box in targets.boxes]
            return " ".join(f"[{', '.join(str(value) for value in box)}]" for box in boxes)
        if targets.captions:
            return targets.captions[0]
        said = []
        if targets.answer is not None:
            said.append(targets.answer)
        elif targets.numbers:
            said.append(f"{targets.numbers[0].value}{targets.numbers[0].unit}")
        said += [json.dumps(to_coco(mask)) for mask in targets.masks]
        return " ".join(said)

    return answer
