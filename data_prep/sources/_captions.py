"""Sources whose rows are pictures with sentences: facts, one row a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.captions import Captioned, karpathy
from lhrs_chat.formats.rows import Pictures, Reject
from lhrs_chat.schema import Image, Sample, Targets

from . import Source, SourceOptions, _published


def facts(
    source: str, licence: str, captioned: Captioned, image: Image, meta: dict[str, object] | None = None
) -> Sample:
    """The row of facts of one picture; sentences that say the same are kept once."""
    return Sample(
        id=f"{source}/{captioned.file}",
        images=(image,),
        task="facts",
        source=source,
        licence=licence,
        scene_id=f"{source}/{Path(captioned.file).stem}",
        targets=Targets(
            labels=(captioned.label,) if captioned.label else (), captions=tuple(dict.fromkeys(captioned.sentences))
        ),
        split=captioned.split,
        meta={"image_file": captioned.file, **(meta or {})},
    )


def once() -> Callable[[str, str], None]:
    """A check that raises a `DataError` for an id that it has seen before."""
    seen: set[str] = set()

    def check(name: str, where: str) -> None:
        if name in seen:
            raise DataError(f"{where}: this stands there twice", found=name[:200])
        seen.add(name)

    return check


def source(
    name: str,
    licence: str,
    file: str,
    images: Sequence[str],
    get: str,
    read: Callable[[Path, str | None, Reject | None], Iterator[Captioned]] = karpathy,
) -> Source:
    """A caption set that is one file and its pictures.

    Args:
        name: the source.
        licence: terms of pictures and sentences.
        file: the file of annotations.
        images: folders of the pictures, below the folder of the set.
        get: where the set lies.
        read: yields the pictures of a split (all, without one) of the file.
    """

    def rows(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
        root = _published.root(name, folder, get)
        if not (root / file).is_file():
            raise _published.incomplete(name, root, file, get)
        pictures = Pictures([root / place for place in images])
        unseen = once()

        def make(captioned: Captioned) -> Sample:
            path = pictures.path(captioned.file, captioned.where)
            unseen(captioned.file, captioned.where)
            return facts(name, licence, captioned, Image(path=str(path), bands=_published.RGB))

        found = read(root / file, options.split, options.reject)
        yield from _published.rows(((captioned.where, captioned) for captioned in found), make, options)

    return Source(licence, rows, get)
