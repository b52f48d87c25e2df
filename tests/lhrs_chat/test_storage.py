"""Paths and URLs: the same few things can be done with both."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lhrs_chat import storage
from lhrs_chat.errors import DataError


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path) -> str | Path:
    return tmp_path / "a [1]" if request.param == "local" else f"memory://storage/{tmp_path.name}"


def test_files_are_written_listed_and_read(folder):
    for name in ("b.txt", "a.txt", "deep/c.txt"):
        with storage.replacing(storage.join(folder, name)) as stream:
            stream.write(name.encode())
    assert storage.names(folder) == ["a.txt", "b.txt", "deep"]
    assert storage.names(folder, "*.txt") == ["a.txt", "b.txt"]
    place = storage.join(folder, "deep/c.txt")
    assert storage.is_file(place) and not storage.is_folder(place)
    assert storage.is_folder(folder) and not storage.is_file(folder)
    assert storage.parent(place) == storage.join(folder, "deep")
    with storage.opened(place) as stream:
        assert stream.read() == b"deep/c.txt"
    assert storage.sha256(place) == hashlib.sha256(b"deep/c.txt").hexdigest()


def test_a_file_that_was_not_finished_leaves_the_old_one(folder):
    place = storage.join(folder, "a.txt")
    with storage.replacing(place) as stream:
        stream.write(b"old")
    with pytest.raises(KeyboardInterrupt), storage.replacing(place) as stream:
        stream.write(b"new")
        raise KeyboardInterrupt
    with storage.opened(place) as stream:
        assert stream.read() == b"old"
    assert storage.names(folder) == ["a.txt"]


def test_what_a_killed_program_left_is_swept(tmp_path):
    for name in ("images/a.png.123.part", "mine.part", "rows.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    storage.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["mine.part", "rows.parquet"]


@pytest.mark.parametrize(
    ("location", "folder", "told"),
    [
        ("/data/set/images/a.png", "/data/set", "images/a.png"),
        ("/data/settled/a.png", "/data/set", "/data/settled/a.png"),
        ("/data/set/../a.png", "/data/set", "/data/a.png"),
        ("s3://bucket/set/a.png", "s3://bucket/set/", "a.png"),
        ("s3://bucket/other/a.png", "s3://bucket/set", "s3://bucket/other/a.png"),
        ("/data/a.png", "s3://bucket/set", "/data/a.png"),
    ],
)
def test_locations_within_a_folder_are_told_relative_to_it(location, folder, told):
    assert storage.within(location, folder) == told
    if not told.startswith(("/", "s3://")):
        assert storage.join(folder, told) == location


def test_missing_files_are_told(tmp_path):
    with pytest.raises(DataError, match="no such file"), storage.opened(tmp_path / "none"):
        pass
