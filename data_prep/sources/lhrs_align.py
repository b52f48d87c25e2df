"""LHRS-Align (Muhtar et al. 2024): Google Earth pictures with OpenStreetMap features and captions made from them.

`OSMCapAnn/*.json` (or `features_*.json` beside the pictures) hold {"data": [{name, info: {location: [country, city]},
cap, caption?, attrs?}]}: `attrs` are the OpenStreetMap features of the picture, `cap` a language model's words for
them, `caption` those of a model that also saw the picture (LHRS-Align-Recap). Pictures are not published: they are
fetched by the coordinates in their names, `Country_Id_City_ULLon_ULLat_LRLon_LRLat.jpg`, and lie flat or by country and
city.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.captions import Captioned
from lhrs_chat.formats.rows import Pictures, Row, opening, stream
from lhrs_chat.schema import Image, Sample

from . import Source, SourceOptions, _captions, _published

GET = "Hugging Face data set PumpkinCat/LHRS_Data, Stage1: OSMCapAnn; pictures by the coordinates in their names"
LICENCE = "MIT (captions, as the data set states); OpenStreetMap features, ODbL; Google Earth imagery, Google's terms"
_NUMBER = r"-?\d{1,3}(?:\.\d+)?"
_BOUNDS = re.compile(rf"_({_NUMBER})_({_NUMBER})_({_NUMBER})_({_NUMBER})$")


def read(folder: Path | None, options: SourceOptions) -> Iterator[Sample]:
    """Yield one row of facts a picture: its captions, in `meta["tags"]` its map features, in `footprint` where it lies.

    Raises:
        DataError: no folder is given, or it holds no annotations.
    """
    root = _published.root("lhrs_align", folder, GET)
    files = sorted({*root.glob("OSMCapAnn/*.json"), *root.glob("features_*.json"), *root.glob("*/features_*.json")})
    if not files:
        raise _published.incomplete("lhrs_align", root, "OSMCapAnn/*.json or features_*.json", GET)
    images = [path for path in sorted(root.glob("*_Image")) if path.is_dir()]
    pictures = Pictures([*images, root / "images", root])
    unseen = _captions.once()

    def make(row: Row) -> Sample:
        name = row.word("name")
        made = _sample(row, name, pictures)
        unseen(name, row.where)
        return made

    rows = (
        (row.where, row)
        for path in files
        for row in stream(path, "data" if opening(path) == "{" else "", options.reject)
    )
    yield from _published.rows(rows, make, options)


def _sample(row: Row, name: str, pictures: Pictures) -> Sample:
    sentences = tuple(row.text(field) for field in ("caption", "cap") if field in row.values)
    if not sentences:
        raise row.bad("cap", "a caption")
    stem = name.removesuffix(".jpg")
    place = _location(row)
    path = _find(pictures, [f"{stem}.jpg", "/".join([*place, f"{stem}.jpg"])], row.where)
    captioned = Captioned(f"{stem}.jpg", "train", sentences, "", row.where)
    meta: dict[str, object] = {"location": place} if place else {}
    if row.values.get("attrs"):
        meta["tags"] = row.anything("attrs")
    image = Image(path=str(path), bands=_published.RGB, sensor="Google Earth")
    facts = _captions.facts("lhrs_align", LICENCE, captioned, image, meta)
    return replace(facts, footprint=_bounds(stem))


def _location(row: Row) -> list[str]:
    info = row.values.get("info")
    return list(row.row("info").texts("location")) if isinstance(info, dict) and info.get("location") else []


def _find(pictures: Pictures, names: list[str], where: str) -> Path:
    """The first of several places that holds the picture."""
    for name in names[:-1]:
        try:
            return pictures.path(name, where)
        except DataError:
            continue
    return pictures.path(names[-1], where)


def _bounds(stem: str) -> tuple[float, float, float, float] | None:
    """West, south, east, north, from the corners in a file name."""
    found = _BOUNDS.search(stem)
    if found is None:
        return None
    west, north, east, south = (float(value) for value in found.groups())
    return (west, south, east, north) if -180 <= west < east <= 180 and -90 <= south < north <= 90 else None


SOURCE = Source(LICENCE, read, GET)
