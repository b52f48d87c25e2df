"""Caption sets: the layout of Karpathy's splits (RSICD, UCM, Sydney, RSITMD) and that of NWPU-Captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from lhrs_chat.formats.rows import Reject, Row, each, read_json, stream

SPLITS = ("train", "val", "test")
NWPU_SENTENCES = ("raw", "raw_1", "raw_2", "raw_3", "raw_4")


@dataclass(frozen=True)
class Captioned:
    """One picture: its file, the split, its sentences, its class where the file tells it, its place for errors."""

    file: str
    split: str
    sentences: tuple[str, ...]
    label: str
    where: str


def karpathy(path: Path, split: str | None = None, reject: Reject | None = None) -> Iterator[Captioned]:
    """Yield the pictures of a file {"images": [{filename, split, sentences: [{raw}, ...]}, ...]}.

    Args:
        path: `dataset.json`, `dataset_rsicd.json`, `dataset_RSITMD.json` ...
        split: only its pictures; None takes all.
        reject: told of broken rows.

    Raises:
        DataError: the file cannot be read; without `reject` also for a broken row.
    """

    def captioned(row: Row) -> Captioned | None:
        own = row.one_of("split", SPLITS)
        if split not in (None, own):
            return None
        file = row.text("filename")
        sentences = tuple(sentence.text("raw") for sentence in row.rows("sentences"))
        if not sentences:
            raise row.bad("sentences", "a list of sentences")
        return Captioned(file, own, sentences, "", row.where)

    yield from (found for found in each(stream(path, "images", reject), captioned, reject) if found is not None)


def nwpu(path: Path, split: str | None = None, reject: Reject | None = None) -> Iterator[Captioned]:
    """Yield the pictures of `dataset_nwpu.json`: {CLASS: [{filename, split, raw, raw_1, ... raw_4}, ...], ...}.

    Args:
        path: the file.
        split: only its pictures; None takes all.
        reject: told of broken rows.

    Raises:
        DataError: the file cannot be read; without `reject` also for a broken row.
    """

    def captioned(row: Row) -> Captioned | None:
        own = row.one_of("split", SPLITS)
        if split not in (None, own):
            return None
        file = f"{label}/{row.text('filename')}"
        return Captioned(file, own, tuple(row.text(field) for field in NWPU_SENTENCES), label, row.where)

    classes = read_json(path)
    for label in classes.values:
        rows = each([classes], partial(Row.rows, name=label, reject=reject), reject)
        found = each(chain.from_iterable(rows), captioned, reject)
        yield from (picture for picture in found if picture is not None)
