"""Rows on disk: what is written is read back, in whole or in part, and what is broken is named."""

from __future__ import annotations

import json
import sys
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lhrs_chat import samples
from lhrs_chat.errors import DataError, MissingExtraError
from lhrs_chat.schema import FRAMES, Box, Georef, Image, Mask, Message, Number, Part, Sample, Targets


def sample(path="a.png"):
    return Sample(
        id="s/1",
        images=(Image(path=path, size_px=(4, 3), georef=Georef("EPSG:32631", (1, 0, 5, 0, -1, 6))),),
        task="where_is",
        source="synthetic",
        licence="Apache-2.0",
        scene_id="s",
        messages=(Message.of("user", "Where?", (0,)), Message.of("assistant", "Here: [1, 2, 3, 4]")),
        targets=Targets(boxes=(Box((1, 2, 3, 4), "per100", "ship"),), numbers=(Number(3.5, "%", "computed", "water"),)),
        split="test",
        meta={"gsd_m": 0.5, "options": ["a", "b"]},
    )


def test_rows_come_back_as_they_were(tmp_path):
    assert samples.write(tmp_path / "rows.jsonl", [sample(), sample()]) == 2
    back = list(samples.read(tmp_path / "rows.jsonl"))
    assert back == [sample(str(tmp_path / "a.png"))] * 2
    assert not list(tmp_path.glob("*.part"))


def test_pixels_are_not_stored_in_json():
    import numpy as np

    row = sample()
    with pytest.raises(DataError, match="points at image files"):
        samples.to_line(Sample(**{**vars(row), "images": (Image(array=np.zeros((3, 2, 2), dtype=np.uint8)),)}))


numbers = st.floats(-1e9, 1e9)
texts = st.text(max_size=12)
frames = st.sampled_from(FRAMES)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def boxes(draw):
    corners = tuple(draw(st.tuples(numbers, numbers)) for _ in range(4))
    return Box.oriented(corners, draw(frames), draw(texts), draw(st.none() | st.floats(0, 1)))


@st.composite
def masks(draw):
    if draw(st.booleans()):
        rings = draw(st.lists(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=4).map(tuple), max_size=2))
        return Mask(draw(frames), polygons=tuple(rings), label=draw(texts))
    height, width, first = draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 81)))
    first = min(first, height * width)
    return Mask("pixel", rle=(first, height * width - first), shape_px=(height, width))


images = st.builds(
    Image,
    path=texts.filter(bool).map(lambda name: f"/far/{name}"),
    size_px=st.none() | st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bands=st.lists(texts, max_size=3).map(tuple),
    sensor=st.none() | texts,
    gsd_m=st.none() | numbers,
    georef=st.none() | st.builds(Georef, texts, st.tuples(*[numbers] * 6)),
)
parts = st.builds(Part, type=st.just("text"), text=texts) | st.builds(Part, type=st.just("region"), region=boxes())
turns = st.builds(Message, role=st.sampled_from(("user", "assistant")), content=st.lists(parts, max_size=3).map(tuple))
facts = st.builds(
    Targets,
    answer=st.none() | texts,
    labels=st.lists(texts, max_size=2).map(tuple),
    boxes=st.lists(boxes(), max_size=2).map(tuple),
    masks=st.lists(masks(), max_size=2).map(tuple),
    numbers=st.lists(st.builds(Number, numbers, texts, label=texts), max_size=2).map(tuple),
)
any_sample = st.builds(
    Sample,
    id=texts,
    images=st.lists(images, max_size=2).map(tuple),
    task=texts,
    source=texts,
    licence=texts,
    scene_id=texts,
    messages=st.lists(turns, max_size=2).map(tuple),
    targets=facts,
    split=texts,
    footprint=st.none() | st.tuples(*[numbers] * 4),
    score=st.none() | numbers,
    meta=st.dictionaries(texts, plain, max_size=3),
)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(any_sample, max_size=4))
def test_any_row_comes_back_as_it_was(tmp_path, name, rows):
    assert samples.write(tmp_path / name, rows) == len(rows)
    assert list(samples.read(tmp_path / name)) == rows


def test_the_same_rows_are_the_same_bytes_and_columns_tell_them_apart(tmp_path):
    rows = numbered(700)
    for name in ("a", "b"):
        samples.write(tmp_path / f"{name}.parquet", iter(rows))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    columns = samples.read_columns(tmp_path / "a.parquet", ("id", "split", "score"))
    assert columns == {"id": [row.id for row in rows], "split": ["test"] * 700, "score": [None] * 700}


def numbered(count):
    return [Sample(**{**vars(sample("/far/a.png")), "id": f"s/{number}"}) for number in range(count)]


@pytest.fixture(params=["shards", "lines", "memory"])
def stored(request, tmp_path):
    rows = numbered(1000)
    if request.param == "lines":
        samples.write(tmp_path / "rows.jsonl", rows)
        return tmp_path, rows
    place = tmp_path if request.param == "shards" else "memory://samples/rows"
    for shard, start in enumerate((0, 300, 300, 301)):
        samples.write(f"{place}/rows-{shard:05d}.parquet", rows[start : (300, 300, 301, 1000)[shard]])
    return place, rows


def test_rows_are_found_by_number(stored):
    place, rows = stored
    view = samples.Rows.open(place)
    assert len(view) == 1000
    assert list(samples.read(place)) == rows
    for start, stop in ((0, 1), (0, 0), (255, 257), (299, 302), (300, 301), (0, 1000), (990, 2000), (1000, 1001)):
        assert view.slice(start, stop) == rows[start:stop], (start, stop)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_part_is_read_without_the_whole(tmp_path, suffix):
    place = tmp_path / f"rows.{suffix}"
    row = sample()
    row.meta["text"] = "x" * 5000
    samples.write(place, (row for _ in range(4000)))
    samples.Rows.open(place).slice(0, 10)  # what is loaded at the first call is not counted
    tracemalloc.start()
    assert len(samples.Rows.open(place).slice(2000, 2010)) == 10
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6e6  # of 20 MB


def test_images_are_told_relative_to_the_rows(tmp_path):
    samples.write(tmp_path / "rows.parquet", [sample()])
    samples.write("memory://samples/images/rows.jsonl", [sample(), sample("s3://far/a.png")])
    assert next(samples.read(tmp_path / "rows.parquet")).images[0].path == str(tmp_path / "a.png")
    paths = [row.images[0].path for row in samples.read("memory://samples/images")]
    assert paths == ["memory://samples/images/a.png", "s3://far/a.png"]


def test_a_file_cut_in_half_is_named(tmp_path):
    place = tmp_path / "rows-00000.parquet"
    samples.write(place, numbered(600))
    whole = place.read_bytes()
    samples.write(tmp_path / "rows-00001.parquet", numbered(3))
    for broken in (whole[: len(whole) // 2], b"", b"<html>"):
        place.write_bytes(broken)
        with pytest.raises(DataError, match=r"rows-00000.parquet is no row"):
            samples.Rows.open(tmp_path)
        told = {}
        assert len(samples.Rows.open(tmp_path, told.__setitem__)) == 3
        assert list(told) == [str(place)]


def test_damage_within_a_file_is_told_row_by_row(tmp_path):
    place = tmp_path / "rows.parquet"
    samples.write(place, numbered(600))
    data = bytearray(place.read_bytes())
    for position in range(3000, 3400):
        data[position] ^= 0xFF
    place.write_bytes(data)
    told = []
    found = samples.Rows.open(place).slice(0, 600, lambda where, reason: told.append((where, reason)))
    assert told and len(found) + len(told) == 600
    assert told[0][0].endswith(f" of {place}") and "cannot be read" in told[0][1]


def test_rows_of_another_program_are_told(tmp_path):
    samples.write_table(tmp_path / "rows.parquet", {"text": str}, [{"text": "a"}])
    with pytest.raises(DataError, match="no column `row` but text"):
        list(samples.read(tmp_path / "rows.parquet"))


def test_folders_that_are_no_data_set_are_told(tmp_path):
    with pytest.raises(DataError, match="no rows in this folder"):
        samples.read(tmp_path).__next__()
    with pytest.raises(DataError, match="no such file of rows"):
        samples.Rows.open(tmp_path / "none")
    samples.write(tmp_path / "rows-00000.parquet", numbered(1))
    (tmp_path / "manifest.json").write_text(json.dumps({"files": {"rows-00000.parquet": "", "rows-00001.parquet": ""}}))
    with pytest.raises(DataError, match=r"rows-00001.parquet is no row\n.*not there"):
        samples.Rows.open(tmp_path)
    samples.write(tmp_path / "rows.jsonl", numbered(1))
    with pytest.raises(DataError, match="two sets of rows"):
        samples.Rows.open(tmp_path)


@pytest.mark.parametrize("value", [object(), {1, 2}, "\ud800"])
def test_values_without_a_form_in_json_are_told(value):
    row = sample()
    row.meta["value"] = value
    with pytest.raises(DataError, match=r"row 's/1' holds a value"):
        samples.to_line(row)


def test_missing_pyarrow_names_the_extra(tmp_path, monkeypatch):
    samples.write(tmp_path / "rows.parquet", numbered(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"lhrs_chat\[prep\]"):
        list(samples.read(tmp_path / "rows.parquet"))


def test_unknown_kinds_of_url_are_told():
    with pytest.raises(DataError, match="no way to open this URL"):
        list(samples.read("nowhere://bucket/rows"))


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "x"}', '{"id": "x", "more": 1}'])
def test_broken_line_is_named(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text(samples.to_line(sample()) + "\n" + line + "\n")
    with pytest.raises(DataError, match=r"line 2 of .*rows.jsonl"):
        list(samples.read(tmp_path / "rows.jsonl"))
