"""Files by path or by URL: a folder of this machine, or an object store that fsspec knows (s3://, gs://, memory://)."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from lhrs_chat.errors import DataError

Location = str | Path
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a machine says when there is no room left for a file."""


def is_url(location: Location) -> bool:
    """Say whether a location is a URL; what is not is a path of this machine."""
    return "://" in str(location)


def join(folder: Location, name: str) -> str:
    """Put a relative path or an absolute location below `folder`; an absolute one stays as it is."""
    if is_url(name) or os.path.isabs(name):
        return name
    return f"{str(folder).rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)


def parent(location: Location) -> str:
    """The folder that holds a file."""
    return str(location).rpartition("/")[0] if is_url(location) else os.path.dirname(location)


def within(location: Location, folder: Location) -> str:
    """Write a location relative to `folder` where it lies below it, else in full."""
    if is_url(location) or is_url(folder):
        start = f"{str(folder).rstrip('/')}/"
        return str(location).removeprefix(start)
    full, start = os.path.abspath(location), os.path.abspath(folder) + os.sep
    return full.removeprefix(start)


def is_file(location: Location) -> bool:
    """Say whether a file is there."""
    system, path = _resolved(location)
    return bool(system.isfile(path))


def is_folder(location: Location) -> bool:
    """Say whether a folder is there."""
    system, path = _resolved(location)
    return bool(system.isdir(path))


def names(folder: Location, pattern: str = "*") -> list[str]:
    """List what lies in a folder, by name, in order."""
    system, path = _resolved(folder)
    found = (os.path.basename(entry.rstrip("/")) for entry in system.ls(path, detail=False))
    return sorted(name for name in found if fnmatch.fnmatchcase(name, pattern))


@contextmanager
def opened(location: Location) -> Iterator[IO[bytes]]:
    """Open a file for reading.

    Raises:
        DataError: there is no such file.
    """
    system, path = _resolved(location)
    try:
        stream = system.open(path, "rb")
    except FileNotFoundError as error:
        raise DataError("no such file", found=str(location)) from error
    with stream:
        yield stream


@contextmanager
def replacing(location: Location) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when all of it is written; folders are made.

    A file of this machine is written beside its place and renamed; one of an object store is sent as a whole.
    """
    system, path = _resolved(location)
    if is_url(location):
        with tempfile.NamedTemporaryFile() as stream:
            yield stream
            stream.flush()
            system.makedirs(parent(path), exist_ok=True)
            system.put_file(stream.name, path)
        return
    scratch = f"{path}.{os.getpid()}.part"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(scratch, "wb") as stream:
            yield stream
        os.replace(scratch, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(scratch)
        raise


def link(file: Location, place: Location) -> None:
    """Give a file of this machine one more name; where the disk cannot, it is copied. A name that is there stays."""
    if os.path.exists(place):
        return
    os.makedirs(os.path.dirname(place), exist_ok=True)
    try:
        os.link(file, place)
    except FileExistsError:  # another process was faster
        return
    except OSError:  # two disks, or one that knows no links
        with replacing(place) as stream, open(file, "rb") as source:
            shutil.copyfileobj(source, stream)


def sweep(folder: Location) -> None:
    """Remove what `replacing` left below a folder when it was killed."""
    if not is_url(folder):
        for scratch in Path(folder).rglob("*.[0-9]*.part"):
            scratch.unlink(missing_ok=True)


def sha256(location: Location) -> str:
    """Hash the bytes of a file."""
    digest = hashlib.sha256()
    with opened(location) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _resolved(location: Location) -> tuple[Any, str]:
    """Return the file system of a location and the path in it.

    Raises:
        DataError: the URL is of a kind that is not known here, or whose package is not installed.
    """
    if not is_url(location):
        return LocalFileSystem(), os.path.abspath(location)
    try:
        system, path = url_to_fs(str(location))
    except (ValueError, ImportError) as error:
        raise DataError(
            "no way to open this URL", found=str(location), next_step=f"{error} (s3:// needs the package s3fs)"
        ) from error
    return system, str(path)
