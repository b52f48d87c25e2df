"""Writing a model's folder whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lhrs_chat.errors import LhrsError, WeightsError


def check_out(out: Path) -> None:
    """Refuse a place that cannot take the folder.

    Raises:
        LhrsError: there is a file, or a folder that is not empty.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise LhrsError("the output is to be a folder", found=f"{out} is a file or a link", next_step="name another")
    if out.is_dir() and any(out.iterdir()):
        raise LhrsError(
            "the output folder is not empty", found=str(out), next_step="name another, or empty it; nothing was written"
        )


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Give a scratch folder beside `out` that takes its name once everything in it is written.

    Raises:
        WeightsError: the disk cannot take it.
    """
    new = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise WeightsError("the output folder cannot be made", found=error) from error
    try:
        yield scratch
        mask = os.umask(0)
        os.umask(mask)
        scratch.chmod(0o777 & ~mask)
        os.replace(scratch, out)
    except OSError as error:
        raise WeightsError("writing stopped; nothing was left behind", found=error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # only what is empty goes, so nothing where the folder was written
            for folder in new:
                folder.rmdir()
