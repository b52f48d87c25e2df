"""What holds for every benchmark, whatever it asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.benchmarks import BENCHMARKS, Benchmark, Protocol, Question, Reply
from lhrs_chat.errors import DataError, LhrsError
from lhrs_chat.text.grounding import DIALECTS

DIALECT = "brackets1"
PICTURES = {".png", ".jpg", ".tif"}
LISTS = {".txt"}
"""Lists that stay lists when they are cut."""
UNLISTED = {"scene_classification"}
"""No file of these says which pictures there are."""
INSIDE = {"terrascope_bench", "xlrs_lite"}
"""Their pictures lie inside the rows and are unpacked into the cache."""
FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"
SHARED = {"lhrs_bench_circular": "lhrs_bench"}
WORST = {"kendall_tau": -1.0}
UNBOUNDED = {"cider"}


@cache
def loaded(name: str) -> tuple[Question, ...]:
    return tuple(BENCHMARKS.get(name).load(FIXTURES / SHARED.get(name, name)))


def measure(protocol: Protocol, questions: tuple[Question, ...], said: Callable[[Question], str]) -> dict[str, float]:
    """Mean of every metric of every set and task, under `set/task/metric`."""
    cells: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        cells.setdefault((question.subset, question.task), []).append(question)
    found: dict[str, float] = {}
    for (subset, task), own in cells.items():
        texts = [said(question) for question in own]
        rows = [
            dict(protocol.score(q, protocol.parse(q, Reply(text, DIALECT, q.size_px))))
            for q, text in zip(own, texts, strict=True)
        ]
        assert len({tuple(row) for row in rows}) == 1, f"{task}: questions of one task have one set of metrics"
        if task in protocol.corpus:
            for row, more in zip(rows, protocol.corpus[task](own, texts), strict=True):
                row.update(more)
        means = {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]}
        if task in protocol.pooled:
            means.update(protocol.pooled[task](own, texts))
        if task in protocol.once:
            means.update(protocol.once[task](own, texts))
        if task in protocol.derived:
            means.update(protocol.derived[task](own, rows))
        if task in protocol.main:
            assert protocol.main[task] in means, f"{task}: the main metric is one of {list(means)}"
        found.update({f"{subset}/{task}/{metric}": value for metric, value in means.items()})
    return found


def test_there_is_a_fixture(name: str) -> None:
    assert (FIXTURES / SHARED.get(name, name)).is_dir(), "put one into tests/data/benchmarks"
    assert len(loaded(name)) >= 2


def test_the_folder_is_found(name: str, benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = FIXTURES / SHARED.get(name, name)
    assert benchmark.find(folder) == folder
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        benchmark.find(tmp_path / "empty")
    if name not in ("nano_probe", "own_data"):  # these have no usual place
        monkeypatch.setenv("LHRS_CHAT_BENCHMARKS", str(FIXTURES))
        assert benchmark.find(None).parent == FIXTURES


def test_questions_are_complete(name: str, benchmark: Benchmark) -> None:
    questions = loaded(name)
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert question.text.strip() and question.subset and question.scene_id and question.max_new_tokens > 0
        assert question.licence.strip(), "every picture has terms"
        assert question.images and all(path.is_file() for path in question.images)
        assert min(question.size_px) > 0
        assert (
            question.targets.answer is None
            or not question.targets.choices
            or (question.targets.answer in question.targets.choices or question.targets.labels)
        )
    assert benchmark.name == name and benchmark.summary
    assert "strict" in benchmark.protocols
    assert all(re.fullmatch(rf"{name}-{kind}-[1-9]", p.id) for kind, p in benchmark.protocols.items())


def test_the_passport_names_the_terms(benchmark: Benchmark) -> None:
    passport = benchmark.passport
    assert passport.location and passport.annotation_licence and passport.imagery_licence
    assert all(row.source and row.metric and row.model for row in passport.published)
    assert all(protocol.quirks for name, protocol in benchmark.protocols.items() if name != "strict")


def test_loading_twice_gives_the_same(name: str, benchmark: Benchmark) -> None:
    assert tuple(benchmark.load(FIXTURES / SHARED.get(name, name))) == loaded(name)


def test_perfect_answers_give_the_best_score(
    name: str, benchmark: Benchmark, perfect: Callable[[Question], str]
) -> None:
    strict = benchmark.protocols["strict"]
    found = measure(strict, loaded(name), perfect)
    assert found
    for key, value in found.items():
        metric = key.rsplit("/", 1)[1]
        if metric in UNBOUNDED:
            assert value > 2, key
        elif metric in strict.lower_is_better:
            assert value == pytest.approx(0, abs=1e-6), key
        else:
            assert value == pytest.approx(1, abs=1e-3), key


@pytest.mark.parametrize("blank", ["", "   ", "\n"])
def test_blank_answers_give_the_worst_score(name: str, benchmark: Benchmark, blank: str) -> None:
    strict = benchmark.protocols["strict"]
    worst = measure(strict, loaded(name), lambda question: blank)
    odd = measure(strict, loaded(name), lambda question: "-1234567 zebra")
    for key, value in worst.items():
        metric = key.rsplit("/", 1)[1]
        if metric in strict.lower_is_better:
            assert value >= odd[key] and value > 0, key
        else:
            assert value == pytest.approx(WORST.get(metric, 0.0), abs=1e-6), key


def test_perfect_answers_are_right_in_every_protocol(
    name: str, benchmark: Benchmark, perfect: Callable[[Question], str]
) -> None:
    for protocol in benchmark.protocols.values():
        found = measure(protocol, loaded(name), perfect)
        for key, value in found.items():
            if key.rsplit("/", 1)[1] in ("accuracy", "acc_0.5", "balanced_accuracy", "headline"):
                assert value == 1.0, (protocol.id, key)


TEXTS = st.one_of(
    st.text(),
    st.from_regex(r"[\[\]0-9., %a-eA-E<>{}()\-:\"]{0,40}"),
    st.sampled_from(
        ['{"size": [4, 4], "counts": [16]}', '{"size": 3, "counts": "zz"}', "<answer>", "A B C", "1e999 m"]
    ),
)


@pytest.mark.parametrize("one", BENCHMARKS.names())
@given(text=TEXTS, dialect=st.sampled_from(sorted(DIALECTS)))
@settings(max_examples=12, deadline=None)
def test_no_text_makes_a_protocol_raise(one: str, text: str, dialect: str) -> None:
    for protocol in BENCHMARKS.get(one).protocols.values():
        first = {question.task: question for question in reversed(loaded(one))}
        for task, question in first.items():
            parsed = protocol.parse(question, Reply(text, dialect, question.size_px))
            check_finite(protocol.score(question, parsed))
            if task in protocol.corpus:
                check_finite(protocol.corpus[task]([question], [text])[0])
            if task in protocol.pooled:
                check_finite(protocol.pooled[task]([question], [text]))
            if task in protocol.once:
                check_finite(protocol.once[task]([question], [text]))
            if task in protocol.derived:
                check_finite(protocol.derived[task]([question], [protocol.score(question, parsed)]))


def check_finite(values: Mapping[str, float]) -> None:
    for metric, value in values.items():
        assert isinstance(value, float) and -1e9 < value < 1e9, metric


def spoil(folder: Path) -> list[Path]:
    """Files of rows, that is all but pictures and lists."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in PICTURES | LISTS and path.name != "README.md"
    ]


def test_a_cut_file_is_refused(name: str, benchmark: Benchmark, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of(name)
    files = spoil(folder)
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(LhrsError) as error:
            benchmark.load(folder)
        assert path.name in str(error.value)
        path.write_bytes(whole)
    assert benchmark.load(folder), "it was the cut that was refused"


def test_a_broken_picture_is_named(name: str, benchmark: Benchmark, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of(name)
    path = benchmark.load(folder)[0].images[0]
    path.write_bytes(b"no picture")
    if name in INSIDE:
        assert benchmark.load(folder)[0].images[0].stat().st_size > len(b"no picture"), "unpacked anew"
        return
    with pytest.raises(DataError) as error:
        benchmark.load(folder)
    assert path.name in str(error.value)


def test_a_missing_picture_is_named(name: str, benchmark: Benchmark, fixture_of: Callable[[str], Path]) -> None:
    folder = fixture_of(name)
    path = benchmark.load(folder)[0].images[0]
    path.unlink()
    if name in UNLISTED:
        assert path not in [question.images[0] for question in benchmark.load(folder)]
        return
    if name in INSIDE:
        assert benchmark.load(folder)[0].images[0].is_file(), "unpacked anew"
        return
    with pytest.raises(DataError) as error:
        benchmark.load(folder)
    assert path.name in str(error.value)


def test_questions_can_be_written_and_hashed(name: str) -> None:
    from eval.records import fingerprint

    questions = list(loaded(name))
    assert fingerprint(questions) == fingerprint(questions)
    assert fingerprint(questions) != fingerprint([replace(questions[0], text="?"), *questions[1:]])
