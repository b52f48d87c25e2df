"""Encoder levels of many pictures, computed once and kept on disk in half precision; resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from lhrs_chat.models.encoders import EncoderModule
from lhrs_chat.models.processing import LhrsImageProcessor, LhrsProcessor
from lhrs_chat.models.vlm import LhrsForConditionalGeneration

from .pictures import pixels_of
from .recipe import Recipe

log = logging.getLogger(__name__)

BATCH = 32


def _stamp(encoder: EncoderModule, processor: LhrsImageProcessor) -> str:
    """Hash whatever decides the features of a picture: the encoder's weights and the processing."""
    digest = hashlib.sha256(json.dumps(processor.to_dict()).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class FeatureStore:
    """Levels of `files`, one array (files, N, D) of float16 per level.

    Args:
        folder: where the arrays lie; a folder below it is made for this encoder.
        encoder: in evaluation mode.
        processor: how pictures are prepared.
        files: picture files, each once; those that an earlier run had are taken over.
        size_px: side of the square that the encoder sees.
    """

    def __init__(
        self,
        folder: Path,
        encoder: EncoderModule,
        processor: LhrsImageProcessor,
        files: Sequence[str],
        size_px: int,
    ) -> None:
        self.folder = folder / _stamp(encoder, processor)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shapes = [
            (grid[0] * grid[1], width) for grid, width in zip(encoder.grids(size_px), encoder.widths, strict=True)
        ]
        record = self.folder / "files.json"
        known: list[str] = json.loads(record.read_text()) if record.exists() else []
        self.files = known + [file for file in files if file not in set(known)]
        self.row = {file: number for number, file in enumerate(self.files)}
        if len(self.files) > len(known):
            self._grow(len(known))
            record.write_text(json.dumps(self.files))
        self.levels = [np.load(self._array(f"level{i}"), mmap_mode="r+") for i in range(len(self.shapes))]
        self.done = np.load(self._array("done"), mmap_mode="r+")
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
        self._fill(encoder, processor)

    def _array(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _grow(self, known: int) -> None:
        """Make room for more files, keeping what the first `known` rows hold."""
        names = {f"level{i}": (shape, np.float16) for i, shape in enumerate(self.shapes)}
        for name, (shape, dtype) in {**names, "done": ((), np.bool_)}.items():
            scratch = self._array(f".{name}")
            grown = np.lib.format.open_memmap(scratch, mode="w+", dtype=dtype, shape=(len(self.files), *shape))
            if known:
                grown[:known] = np.load(self._array(name), mmap_mode="r")
            grown.flush()
            scratch.replace(self._array(name))

    @torch.inference_mode()
    def _fill(self, encoder: EncoderModule, processor: LhrsImageProcessor) -> None:
        missing = np.flatnonzero(~self.done)
        log.info("features: %d pictures, %d reused", len(self.files), len(self.files) - len(missing))
        for start in range(0, len(missing), BATCH):
            rows = missing[start : start + BATCH]
            pixels = pixels_of(processor, [self.files[row] for row in rows])
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            for store, level in zip(self.levels, encoder(pixels), strict=True):
                store[rows] = level.numpy().astype(np.float16)
            self.done[rows] = True
            if start // BATCH % 20 == 0:
                log.info("features: %d of %d", start + len(rows), len(missing))
        for array in (*self.levels, self.done):
            array.flush()

    def get(self, files: Sequence[str]) -> tuple[torch.Tensor, ...]:
        """Return the levels of `files`, one (B, N, D) float32 tensor each."""
        rows = [self.row[file] for file in files]
        return tuple(torch.from_numpy(level[rows].astype(np.float32)) for level in self.levels)


def features(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor, files: Iterable[str]
) -> FeatureStore:
    """Open the features of pictures. `words` and `text` ask for those of all, whatever the mix, and so share them."""
    cache, once = recipe.data.folder / "features", list(dict.fromkeys(files))
    return FeatureStore(cache, model.encoder.eval(), processor.image_processor, once, model.config.image_size_px)
