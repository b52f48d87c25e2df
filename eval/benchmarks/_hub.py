"""Data sets of the Hugging Face hub, as `--data hf:OWNER/NAME[/FOLDER][@REVISION]`, fetched into the cache."""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.registry import cache_folder

log = logging.getLogger(__name__)

PREFIX = "hf:"
FORM = "hf:OWNER/NAME[/FOLDER][@REVISION]"
_PART = r"[\w.-]*\w"
_NAMED = re.compile(rf"hf:({_PART})/({_PART})(?:/([^@]+))?(?:@(\S+))?")


def local(given: Path) -> Path:
    """The folder itself, or that of a data set of the hub, which is brought up to date if the network is there.

    Raises:
        DataError: the id is none, or the data set is neither here nor to be had.
    """
    text = given.as_posix()
    if not text.startswith(PREFIX):
        return given
    named = _NAMED.fullmatch(text)
    if named is None or ".." in text.split("/"):
        raise DataError("this is no data set of the Hugging Face hub", found=text, allowed=FORM)
    owner, name, inside, revision = named.groups()
    place = f"{owner}--{name}" + (f"@{revision.replace('/', '--')}" if revision else "")
    folder = _fetch(f"{owner}/{name}", inside, revision, cache_folder() / "benchmarks" / "hub" / place)
    folder = folder / inside if inside else folder
    for archive in sorted(folder.rglob("*.zip")):
        _unpack(archive)
    return folder


def _fetch(data_set: str, inside: str | None, revision: str | None, folder: Path) -> Path:
    """Fetch a data set, or one folder of it.

    Raises:
        DataError: it is neither here nor to be had.
    """
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    log.info("fetching the data set %s into %s", data_set, folder)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                data_set,
                repo_type="dataset",
                revision=revision,
                local_dir=folder,
                allow_patterns=f"{inside}/*" if inside else None,
            )
        )
    except (HFValidationError, httpx2.HTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"the data set {data_set} could not be had from the Hugging Face hub",
            found=reason,
            next_step="check the id and the network (some data sets ask you to log in), or give a folder as --data",
        ) from error


def _unpack(archive: Path) -> None:
    """Unpack an archive beside itself, once: pictures lie in archives, and benchmarks read files.

    Raises:
        DataError: it is damaged.
    """
    done = archive.with_name(f".{archive.name}.unpacked")
    if done.is_file() and done.stat().st_mtime >= archive.stat().st_mtime:
        return
    log.info("unpacking %s", archive)
    try:
        shutil.unpack_archive(archive, archive.parent)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError("an archive of this data set cannot be unpacked", found=f"{archive}: {error}") from error
    done.touch()
