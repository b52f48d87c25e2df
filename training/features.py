"""Encoder levels of many pictures, computed once and kept on disk in half precision; resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage

from lhrs_chat.models.encoders import EncoderModule
from lhrs_chat.models.processing import LhrsImageProcessor

log = logging.getLogger(__name__)

BATCH = 32


def _stamp(encoder: EncoderModule, processor: LhrsImageProcessor, files: Sequence[str]) -> str:
    """Hash whatever decides the features: the encoder's weights, the processing and the list of files."""
    digest = hashlib.sha256(json.dumps([processor.to_dict(), list(files)]).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class FeatureStore:
    """Levels of `files` under `folder`, one array (files, N, D) of float16 per level.

    Args:
        folder: where the arrays lie; a folder below it is made for this encoder and these files.
        encoder: in evaluation mode.
        processor: how pictures are prepared.
        files: picture files, each once.
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
        self.row = {file: number for number, file in enumerate(files)}
        self.files = list(files)
        self.folder = folder / _stamp(encoder, processor, files)
        shapes = [
            (len(files), grid[0] * grid[1], width)
            for grid, width in zip(encoder.grids(size_px), encoder.widths, strict=True)
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.levels = [self._open(f"level{i}.npy", shape, np.float16) for i, shape in enumerate(shapes)]
        self.done = self._open("done.npy", (len(files),), np.bool_)
        self._fill(encoder, processor)

    def _open(self, name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        path = self.folder / name
        mode = "r+" if path.exists() else "w+"
        return np.lib.format.open_memmap(path, mode=mode, dtype=dtype, shape=None if mode == "r+" else shape)

    @torch.inference_mode()
    def _fill(self, encoder: EncoderModule, processor: LhrsImageProcessor) -> None:
        missing = np.flatnonzero(~self.done)
        log.info("features: %d pictures, %d reused", len(self.files), len(self.files) - len(missing))
        for start in range(0, len(missing), BATCH):
            rows = missing[start : start + BATCH]
            pixels = torch.stack([processor.one(_picture(self.files[row])) for row in rows])
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


def _picture(file: str) -> PilImage.Image:
    with PilImage.open(file) as picture:
        return picture.convert("RGB")
