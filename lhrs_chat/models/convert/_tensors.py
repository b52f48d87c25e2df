"""Tensors in files, read one at a time, so that the memory they take is given back after each."""

from __future__ import annotations

import logging
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from lhrs_chat.errors import WeightsError

log = logging.getLogger(__name__)

_MAPPED_BYTES = 32 << 20  # how much of a mapped .pt file may stay in memory before it is opened anew
_FLOATS = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True)
class Entry:
    """One tensor to write.

    Args:
        name: in our model.
        shape: its shape.
        read: makes the tensor when its turn comes; any floating type.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Tensors(Protocol):
    """Named tensors on disk."""

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every tensor."""

    def read(self, name: str) -> torch.Tensor:
        """Map one tensor; its memory is given back when the tensor is forgotten."""


@dataclass
class SafetensorsFiles:
    """The tensors of one safetensors file, or of the shards that an index names."""

    files: dict[str, Path]
    """Name of a tensor -> its file."""
    _shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, names: Mapping[str, str] | None = None) -> SafetensorsFiles:
        """Open one file, or with `names` (tensor -> file name) the shards beside the index `path`.

        Raises:
            WeightsError: a file is missing, damaged, or does not hold what the index says.
        """
        listed = {path: None} if names is None else {path.parent / file: None for file in sorted(set(names.values()))}
        made = cls({})
        for file in listed:
            for name, shape in _header(file):
                made.files[name] = file
                made._shapes[name] = shape
        if names is not None:
            wrong = {name for name in names.keys() | made.files.keys()} - {
                name for name, file in names.items() if made.files.get(name) == path.parent / file
            }
            if wrong:
                raise WeightsError(
                    f"{path.name} does not fit the files beside it",
                    found=", ".join(sorted(wrong)[:8]),
                    next_step=f"fetch {path.parent} again",
                )
        return made

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every tensor."""
        return self._shapes

    def read(self, name: str) -> torch.Tensor:
        """Map one tensor. The file is opened for this tensor alone, so that its pages can go when the tensor goes."""
        with safe_open(self.files[name], framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
        return tensor


def _header(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of the tensors of one safetensors file."""
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping, it only has keys())
                piece = opened.get_slice(name)
                if piece.get_dtype() not in _FLOATS:
                    raise WeightsError(
                        "a converter takes plain floating-point weights",
                        found=f"{name} of {file.name} is {piece.get_dtype()}",
                        allowed=", ".join(sorted(_FLOATS)),
                        next_step="take the weights that were not quantised",
                    )
                yield name, tuple(piece.get_shape())
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            "a weights file is missing or damaged", found=f"{file}: {error}", next_step="fetch it again"
        ) from error


class TorchFile:
    """The tensors of a .pt or .bin file: a dictionary, or dictionaries in it, of tensors and nothing else.

    Read without running code. The tensors stay on disk, mapped; a name is the path of keys, joined by `separator`.

    Raises:
        WeightsError: the file is damaged, holds anything but tensors, or would run code.
    """

    separator = "/"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zipped = zipfile.is_zipfile(path)  # the old form cannot be mapped, and stays in memory
        if self._zipped:
            _check_sums(path)
        self._mapped: dict[str, torch.Tensor] = {}
        self._touched = 0
        self.tree = self._load()
        self._shapes = {name: tuple(tensor.shape) for name, tensor in self._mapped.items()}

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every tensor."""
        return self._shapes

    def read(self, name: str) -> torch.Tensor:
        """Map one tensor; now and then the file is opened anew, so that what was read before leaves the memory."""
        if self._zipped and self._touched > _MAPPED_BYTES:
            self._mapped = {}
            self._load()
        tensor = self._mapped[name]
        self._touched += tensor.nbytes
        return tensor

    def _load(self) -> dict[str, Any]:
        """Map the file anew and return its keys, with None in place of the tensors."""
        self._touched = 0
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True, mmap=self._zipped)
        except pickle.UnpicklingError as error:
            raise WeightsError(
                f"{self.path.name} holds more than tensors, or is damaged; it was not opened",
                found=_reason(error),
                allowed="dictionaries of tensors, which run no code when they are read",
                next_step="fetch it again from where it was published, and do not open it with anything else",
            ) from error
        except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{self.path.name} cannot be read", found=_reason(error), next_step="fetch it again"
            ) from error
        if not isinstance(content, dict):
            raise WeightsError(
                f"{self.path.name} holds no dictionary", found=type(content).__name__, allowed="dictionaries of tensors"
            )
        return self._walk(content, "")

    def _walk(self, content: dict[Any, Any], above: str) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for key, value in content.items():
            name = f"{above}{key}"
            if isinstance(value, dict):
                tree[str(key)] = self._walk(value, name + self.separator)
            elif isinstance(value, torch.Tensor) and value.is_floating_point() and value.layout is torch.strided:
                tree[str(key)] = None
                self._mapped[name] = value.detach()
            elif isinstance(value, torch.Tensor) and str(key).endswith("position_ids"):
                log.info("%s: %s is counted anew and left out", self.path.name, name)
            else:
                kind = f"{value.dtype} tensor" if isinstance(value, torch.Tensor) else type(value).__name__
                raise WeightsError(
                    f"{self.path.name} holds something that is no weight",
                    found=f"{name}: {kind}",
                    allowed="floating-point tensors",
                )
        return tree


def _check_sums(path: Path) -> None:
    """Hold every record of a .pt file against its check sum; reading alone would not notice a flipped byte.

    Files written with check sums switched off, which torch allows, are taken as they are.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            version = next((name for name in packed.namelist() if name.endswith("/version")), None)
            if version is not None and not _sum_holds(packed, version):
                log.info("%s carries no check sums", path.name)
                return
            damaged = packed.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise WeightsError(f"{path.name} is damaged", found=_reason(error), next_step="fetch it again") from error
    if damaged is not None:
        raise WeightsError(f"{path.name} is damaged", found=f"wrong check sum of {damaged}", next_step="fetch it again")


def _sum_holds(packed: zipfile.ZipFile, name: str) -> bool:
    try:
        packed.read(name)
    except zipfile.BadZipFile:
        return False
    return True


def _reason(error: Exception) -> str:
    """The first line of an error that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "nsupported" in line or "GLOBAL" in line]
    return (telling or lines or [type(error).__name__])[0][:300]


def refuse_part(what: str, wanted: Mapping[str, tuple[int, ...]], have: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are missing, unexpected or misshaped, with both shapes.

    Raises:
        WeightsError: lists them.
    """
    faults = [f"missing {name}" for name in sorted(wanted.keys() - have.keys())]
    faults += [f"unexpected {name}" for name in sorted(have.keys() - wanted.keys())]
    faults += [
        f"{name} is {have[name]}, not {wanted[name]}"
        for name in sorted(wanted.keys() & have.keys())
        if have[name] != wanted[name]
    ]
    if faults:
        more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise WeightsError(
            f"the weights of {what} do not fit",
            found="; ".join(faults[:8]) + more,
            allowed="exactly the tensors that its configuration asks for",
            next_step="check that checkpoint, base model, tower and options belong together",
        )
