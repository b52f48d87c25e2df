"""Damage done to pictures on purpose, to see how much a model loses by it. One file each; the file name is the name.

The twelve corruptions of REOBench (Li et al. 2025, arXiv 2505.16793) have the numbers of its released generator
(github.com/lx709/REOBench); three more are ours. Every picture can be damaged: any number of bands, any number type,
masked or not. A corruption that moves the pixels says how boxes, masks and words about directions move with them.

Shapes: C bands, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from lhrs_chat.corruptions import _motion, _values
from lhrs_chat.corruptions._motion import Motion
from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.plugins import Folder, nearest

__all__ = ["ALL", "CORRUPTIONS", "Appearance", "Corruption", "Geometry", "Motion", "parse"]

ALL = "all"
REOBENCH = "REOBench, its released generator"
OURS = "ours"

L = TypeVar("L")


@dataclass(frozen=True)
class Appearance(Generic[L]):
    """Values change, and everything stays where it is.

    Args:
        change: takes values (C, H, W), the level and random numbers, and returns values (C, H, W). Values are
            float32, 0 dark and 1 bright; NaN says that nothing is measured there.
    """

    change: Callable[[np.ndarray, L, np.random.Generator], np.ndarray]

    def damaged(self, pixels: np.ndarray, level: L, rng: np.random.Generator) -> np.ndarray:
        """Return a damaged copy of `pixels`: (C, H, W)."""
        return _values.change(pixels, lambda values: self.change(values, level, rng))

    def motion(self, size_px: tuple[int, int], level: L, rng: np.random.Generator) -> Motion:
        """Tell where things of a picture of `size_px`, width and height, go."""
        return Motion.none(size_px)


@dataclass(frozen=True)
class Geometry(Generic[L]):
    """Pixels move.

    Args:
        move: takes (width, height), the level and random numbers, and returns the motion.
        border: what comes in from outside: the picture mirrored at its edge, or nothing.
    """

    move: Callable[[tuple[int, int], L, np.random.Generator], Motion]
    border: Literal["mirror", "empty"]

    def damaged(self, pixels: np.ndarray, level: L, rng: np.random.Generator) -> np.ndarray:
        """Return a damaged copy of `pixels`: (C, H, W)."""
        height, width = pixels.shape[1:]
        return _motion.warp(pixels, self.motion((width, height), level, rng), self.border)

    def motion(self, size_px: tuple[int, int], level: L, rng: np.random.Generator) -> Motion:
        """Tell where things of a picture of `size_px`, width and height, go."""
        return self.move(size_px, level, rng)


@dataclass(frozen=True)
class Corruption(Generic[L]):
    """A corruption plug-in.

    Args:
        summary: one phrase, with the meaning of the levels.
        source: where the levels come from, `REOBENCH` or `OURS`.
        levels: the setting of each severity; the first is severity 1, the mildest.
        effect: what happens to a picture.
    """

    summary: str
    source: str
    levels: tuple[L, ...]
    effect: Appearance[L] | Geometry[L]

    def damage(self, pixels: np.ndarray, severity: int, seed: int = 0) -> np.ndarray:
        """Return a damaged copy of a picture.

        Args:
            pixels: (C, H, W), integers or floats, masked or not; they are computed with in single precision. What is
                masked or not finite stays so, and its value has no influence on the rest.
            severity: 1 to the number of levels.
            seed: the same seed gives the same picture. Severities of one seed share their random numbers, so that a
                larger one adds to the damage of a smaller one.

        Returns:
            (C, H, W) of the same type; `quarter_turn` exchanges H and W. Where nothing is measured any more, the
            value is 0 (signed types and floats: the lowest of the band), and a masked array is masked.

        Raises:
            ConfigError: there is no such severity.
            DataError: this is no picture, or not one that can be damaged in this way.
        """
        _values.check(pixels)
        return self.effect.damaged(pixels, self._level(severity), _random(seed))

    def motion(self, size_px: tuple[int, int], severity: int, seed: int = 0) -> Motion:
        """Tell how boxes, masks and words move when a picture of `size_px`, width and height, is damaged.

        Raises:
            ConfigError: there is no such severity.
        """
        return self.effect.motion(size_px, self._level(severity), _random(seed))

    def _level(self, severity: int) -> L:
        if severity not in range(1, len(self.levels) + 1):
            raise ConfigError("there is no such severity", found=severity, allowed=f"1 to {len(self.levels)}")
        return self.levels[severity - 1]


CORRUPTIONS: Folder[Corruption[Any]] = Folder(__name__, "CORRUPTION", Corruption)


def parse(text: str) -> list[tuple[str, int]]:
    """Read which corruptions are wanted: `cloud:3`, `cloud` (every severity), several with commas, or `all`.

    Returns:
        Name and severity of each, in the order in which they were named, none twice.

    Raises:
        ConfigError: a name or a severity that does not exist.
    """
    wanted: dict[tuple[str, int], None] = {}
    for item in text.split(","):
        wanted.update(dict.fromkeys(_read(item.strip())))
    return list(wanted)


def _read(item: str) -> list[tuple[str, int]]:
    names = CORRUPTIONS.names()
    if item == ALL:
        return [(name, severity) for name in names for severity in _severities(name)]
    name, colon, severity = item.partition(":")
    if name not in names:
        raise ConfigError(
            "there is no such corruption",
            found=name,
            allowed=", ".join([*names, ALL]),
            next_step=nearest(name, [*names, ALL]),
        )
    if not colon:
        return [(name, each) for each in _severities(name)]
    allowed = {str(each): each for each in _severities(name)}
    if severity not in allowed:
        raise ConfigError(f"{name} has no such severity", found=severity, allowed=", ".join(allowed))
    return [(name, allowed[severity])]


def _severities(name: str) -> range:
    return range(1, len(CORRUPTIONS.get(name).levels) + 1)


def _random(seed: int) -> np.random.Generator:
    if seed < 0:
        raise DataError("a seed is a whole number that is not negative", found=seed)
    return np.random.default_rng(seed)
