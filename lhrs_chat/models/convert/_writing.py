"""Writing a model's folder: shard by shard, tensor by tensor, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.convert._tensors import Entry

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_CHUNK = 4 << 20  # elements that are converted at a time
_ALIGNMENT = 8
_SMALL_FILES = 32 << 20  # bytes, generous: configurations, and a tokenizer of up to 20 MB


def check_room(folder: Path, entries: Sequence[Entry], dtype: torch.dtype) -> None:
    """Refuse a disk that cannot take the tensors.

    Raises:
        WeightsError: it is too small.
    """
    needed = sum(entry.numel for entry in entries) * dtype.itemsize + _SMALL_FILES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError("the disk is too small", found=f"{free:,} bytes free", allowed=f"{needed:,} bytes or more")


def write_model(folder: Path, entries: Sequence[Entry], dtype: torch.dtype, shard_bytes: int) -> dict[str, str]:
    """Write `model.safetensors`, or its shards and their index; return the SHA-256 of each file.

    Raises:
        WeightsError: a tensor holds numbers that are not finite.
    """
    shards = cut(entries, dtype, shard_bytes)
    if len(shards) == 1:
        return {"model.safetensors": write_file(folder / "model.safetensors", entries, dtype)}
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    hashes = {name: write_file(folder / name, shard, dtype) for name, shard in zip(names, shards, strict=True)}
    weight_map = {entry.name: name for name, shard in zip(names, shards, strict=True) for entry in shard}
    total = sum(entry.numel for entry in entries) * dtype.itemsize
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return hashes


def cut(entries: Sequence[Entry], dtype: torch.dtype, shard_bytes: int) -> list[list[Entry]]:
    """Cut the tensors, in their order, into shards of at most `shard_bytes`, or of one larger tensor."""
    shards: list[list[Entry]] = []
    filled = 0
    for entry in entries:
        size = entry.numel * dtype.itemsize
        if not shards or filled + size > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(entry)
        filled += size
    return shards


def write_file(path: Path, entries: Sequence[Entry], dtype: torch.dtype) -> str:
    """Write one safetensors file and return its SHA-256. One tensor at a time is in memory.

    The form (https://huggingface.co/docs/safetensors): the header's length in 8 bytes, the header in JSON, filled up
    with spaces, then the tensors, one behind the other.

    Raises:
        WeightsError: a tensor holds numbers that are not finite in `dtype`.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for entry in entries:
        start, end = end, end + entry.numel * dtype.itemsize
        header[entry.name] = {"dtype": DTYPES[dtype], "shape": list(entry.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            file.write(piece)
            digest.update(piece)
        for entry in entries:
            for block in _blocks(entry, dtype):
                file.write(block)
                digest.update(block)
    return digest.hexdigest()


def _blocks(entry: Entry, dtype: torch.dtype) -> Iterator[memoryview]:
    """Read one tensor and yield its bytes, piece by piece, in the type it is stored in."""
    tensor = entry.read()
    if tuple(tensor.shape) != entry.shape:
        raise WeightsError(f"{entry.name} changed its shape", found=tuple(tensor.shape), allowed=entry.shape)
    for piece in tensor.contiguous().flatten().split(_CHUNK):
        stored = piece.to(dtype)
        low, high = torch.aminmax(stored)
        if not bool(torch.isfinite(low) and torch.isfinite(high)):
            raise WeightsError(
                f"{entry.name} holds numbers that are not finite as {dtype}",
                found=f"{float(low)} to {float(high)}",
                next_step="fetch the checkpoint again, or convert with --dtype float32",
            )
        yield memoryview(stored.view(torch.uint8).numpy())
