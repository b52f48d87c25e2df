"""Published files are read row by row: what is broken is named, the rest goes on."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhrs_chat.errors import DataError
from lhrs_chat.formats import _json
from lhrs_chat.formats.rows import Pictures, Row, each, opening, read_list, stream

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
SAME_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@SAME_FOLDER
@given(st.lists(VALUES), st.integers(1, 30), st.sampled_from([None, 2]))
def test_a_list_is_read_piece_by_piece_as_json_reads_it(
    tmp_path: Path, values: list[Any], chunk: int, indent: int | None
) -> None:
    path = tmp_path / "a.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "CHUNK", chunk)
        path.write_text(json.dumps(values, indent=indent))
        assert [value for _, value in _json.items(path, "")] == values
        path.write_text(json.dumps({"info": {"x": [1]}, "rows": values, "more": 2.5}, indent=indent))
        assert [value for _, value in _json.items(path, "rows")] == values


@SAME_FOLDER
@given(st.binary() | st.text(alphabet='[]{}",:01.e+- \\nultrefas').map(str.encode), st.sampled_from(["", "rows"]))
def test_no_file_raises_anything_but_data_error(tmp_path: Path, content: bytes, name: str) -> None:
    for path in (tmp_path / "a.json", tmp_path / "a.jsonl"):
        path.write_bytes(content)
        for reject in (None, lambda where, reason: None):
            try:
                rows = list(stream(path, name, reject))
            except DataError:
                continue
            assert all(isinstance(row, Row) for row in rows)


@pytest.mark.parametrize("cut", [30, 55, 79])
def test_of_a_file_that_is_cut_the_whole_rows_are_read(tmp_path: Path, cut: int) -> None:
    text = json.dumps([{"id": number, "text": "harbour"} for number in range(4)])
    path = tmp_path / "cut.json"
    path.write_text(text[:cut])
    rejected: list[tuple[str, str]] = []
    rows = list(stream(path, reject=lambda where, reason: rejected.append((where, reason))))
    whole = text[:cut].count("}")
    assert [row.values["id"] for row in rows] == list(range(whole))
    assert len(rejected) == 1
    assert rejected[0][0] == f"row {whole} of cut.json"
    assert "no JSON from character" in rejected[0][1]
    with pytest.raises(DataError, match="no JSON"):
        list(stream(path))


def test_a_broken_line_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\n{"id": 2\n\n[3]\n{"id": "\xff"}\n{"id": 5}\n')
    rejected: list[str] = []
    rows = list(stream(path, reject=lambda where, reason: rejected.append(where)))
    assert [row.where for row in rows] == ["line 1 of a.jsonl", "line 5 of a.jsonl", "line 6 of a.jsonl"]
    assert rejected == ["line 2 of a.jsonl", "line 4 of a.jsonl"]
    with pytest.raises(DataError, match=r"line 5 of a\.jsonl"):
        rows[1].text("id")


def test_a_long_list_needs_the_memory_of_a_short_one(tmp_path: Path) -> None:
    path = write(tmp_path / "long.json", {"rows": [{"id": n, "text": "x" * 500} for n in range(20_000)]})
    tracemalloc.start()
    assert sum(1 for _ in stream(path, "rows")) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size


def test_deep_nesting_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(DataError, match="no JSON"):
        list(stream(path))


def test_rows_of_an_object_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"first": {"a": 1}, "second": 2})
    with pytest.raises(DataError, match=r"row 'second' of a\.json"):
        read_list(path)
    assert opening(path) == "{"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True, "3", None])
def test_a_number_is_finite(value: object) -> None:
    with pytest.raises(DataError, match="a number"):
        Row({"x": value}, "row 0").number("x")


@pytest.mark.parametrize("value", [float("nan"), [{"x": "\ud800"}], {"\udfff": 1}, [1, [float("inf")]]])
def test_what_could_not_be_written_again_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="row 0: bad field 'x'"):
        Row({"x": value}, "row 0").anything("x")
    assert Row({"x": [{"y": "é"}]}, "row 0").anything("x") == [{"y": "é"}]


@given(st.dictionaries(st.sampled_from("abc"), VALUES), st.sampled_from("abc"))
def test_a_field_is_what_it_should_be_or_a_data_error(values: dict[str, Any], name: str) -> None:
    row = Row(values, "row 0 of x")
    for read in (
        row.text,
        row.word,
        row.number,
        lambda field: row.numbers(field, 1),
        row.texts,
        row.anything,
        row.row,
        row.rows,
    ):
        try:
            read(name)
        except DataError as error:
            assert "row 0 of x" in str(error)
    assert not any(isinstance(word, str) and not word.isascii() for word in [row.bad(name, "x").found])


def test_each_tells_of_broken_rows_and_goes_on() -> None:
    rows = [Row({"x": 1}, "row 0"), Row({}, "row 1"), Row({"x": 3}, "row 2")]
    told: list[tuple[str, str]] = []
    found = list(each(rows, lambda row: row.number("x"), lambda where, reason: told.append((where, reason))))
    assert found == [1.0, 3.0]
    assert told == [("row 1", "bad field 'x'; found: nothing; allowed: a number")]
    with pytest.raises(DataError, match="row 1"):
        list(each(rows, lambda row: row.number("x")))


@pytest.mark.parametrize("name", ["none.png", "x" * 5000, "a\0b", "\ud800.png", "../"])
def test_a_picture_that_is_no_file_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is missing"):
        Pictures([tmp_path]).path(name, "row 0")
