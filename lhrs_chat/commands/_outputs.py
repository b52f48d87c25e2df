"""Files an answer is written to: refused before the model runs, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lhrs_chat.errors import GeoError, LhrsError
from lhrs_chat.schema import Image

SUFFIXES: dict[str, tuple[str, ...]] = {
    "--geojson": (".geojson", ".json"),
    "--gpkg": (".gpkg",),
    "--overlay": (".png", ".jpg", ".jpeg"),
}


def check(outputs: dict[str, Path | None], inputs: Sequence[Path]) -> None:
    """Refuse output files that cannot be written or would overwrite an input or each other.

    Args:
        outputs: option name -> file, None where it was not asked for.
        inputs: the images that are read.

    Raises:
        LhrsError: one of the files cannot be written.
    """
    taken = {path.resolve(): str(path) for path in inputs}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.suffix.lower() not in SUFFIXES[option]:
            raise LhrsError(f"{option} does not write such files", found=path, allowed=", ".join(SUFFIXES[option]))
        if path.resolve() in taken:
            raise LhrsError(
                f"{option} would overwrite a file that is read or written otherwise",
                found=path,
                next_step="give another file name",
            )
        taken[path.resolve()] = option
        if path.is_dir():
            raise LhrsError(f"{option} needs a file name", found=f"{path} is a folder")
        if not path.parent.is_dir():
            raise LhrsError(
                f"{option} cannot be written", found=f"no folder {path.parent}", next_step="make the folder first"
            )
        try:
            with tempfile.TemporaryDirectory(prefix=".lhrs-chat-", dir=path.parent):
                pass
        except OSError as error:
            raise LhrsError(
                f"{option} cannot be written",
                found=f"{path.parent}: {error.strerror}",
                next_step="choose another folder",
            ) from error


def check_georeference(outputs: dict[str, Path | None], image: Image) -> None:
    """Refuse map files of an image that lies nowhere.

    Raises:
        GeoError: a map file is asked for, and the image has no georeference, or none that leads to the ground.
    """
    from lhrs_chat.geo import vector

    asked = [name for name in ("--geojson", "--gpkg") if outputs.get(name) is not None]
    if not asked:
        return
    if image.georef is None:
        raise GeoError(
            f"{' and '.join(asked)} need a georeferenced image",
            found=f"{image.path} has no CRS and affine",
            allowed="GeoTIFF, COG, JPEG 2000 or another raster with a coordinate reference system",
            next_step="leave the option out and use --overlay or --json, or georeference the image first",
        )
    vector.check_place(image)


def write(writers: dict[Path, Callable[[Path], object]]) -> None:
    """Write all files beside their places, then move them there, so that none is left half-written.

    Args:
        writers: file -> the function that writes it to the path it is given.

    Raises:
        LhrsError: the disk refuses.
    """
    folders = []
    try:
        for path, writer in writers.items():
            folder = tempfile.TemporaryDirectory(prefix=".lhrs-chat-", dir=path.parent)
            folders.append((folder, path))
            writer(Path(folder.name) / path.name)
        for folder, path in folders:
            os.replace(Path(folder.name) / path.name, path)
    except OSError as error:
        raise LhrsError("an output file cannot be written", found=error, next_step="check the disk") from error
    finally:
        for folder, _ in folders:
            folder.cleanup()
