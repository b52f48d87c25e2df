"""Land cover masks computed from named bands: an answer that does not depend on a model.

NDVI: Rouse et al. 1974. NDWI: McFeeters 1996. MNDWI: Xu 2006. Radar water: open water is smooth and reflects little
back. The thresholds NDWI > -0.1 (beside MNDWI > 0) and VV < -15 dB were chosen on one hand-labelled chip, Spain of
Sen1Floods11: what they give there is an indication, not an independent test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lhrs_chat.geo.raster import Raster
from lhrs_chat.geo.stretch import Scale, channels, is_decibel

COVERS = ("water", "vegetation")
_WATER = 0.0
_WATER_NIR = -0.1  # of NDWI beside MNDWI: wet soil passes MNDWI alone, but is bright in the near infrared
_VEGETATION = 0.4  # of reflectance
_VEGETATION_RAW = 0.2  # of uncalibrated values, whose near infrared is weaker than its reflectance
_RADAR_WATER_DB = -15.0
_DN_TYPES = ("uint16", "int16")


def cover_mask(raster: Raster, cover: str, max_size_px: int | None = None) -> tuple[np.ndarray, str] | None:
    """Compute where a cover is.

    Args:
        raster: the scene.
        cover: `water` or `vegetation`.
        max_size_px: decimate as in `Raster.read`.

    Returns:
        The mask (H, W), bool, False where there is no data, and the rule in words, e.g. `MNDWI > 0 (B3, B11)`;
        None when there is no rule for this cover or the scene lacks the bands for it.

    Raises:
        RasterError: the scene cannot be read.
    """
    if cover not in COVERS:
        return None
    if raster.profile.kind == "sar":
        return _radar_water(raster, max_size_px) if cover == "water" else None
    if cover == "vegetation":
        threshold = _VEGETATION if raster.profile.scale != 1 else _VEGETATION_RAW
        return _difference(raster, "nir", "red", threshold, "NDVI", max_size_px)
    shortwave = _difference(raster, "green", "swir1", _WATER, "MNDWI", max_size_px)
    if shortwave is None:
        return _difference(raster, "green", "nir", _WATER, "NDWI", max_size_px)
    infrared = _difference(raster, "green", "nir", _WATER_NIR, "NDWI", max_size_px)
    if infrared is None:
        return shortwave
    return shortwave[0] & infrared[0], f"{shortwave[1]} and {infrared[1]}"


def _difference(
    raster: Raster, first: str, second: str, threshold: float, name: str, max_size_px: int | None
) -> tuple[np.ndarray, str] | None:
    """Where the normalised difference of two spectral roles is above a threshold."""
    found = reflectance(raster, (first, second), max_size_px)
    if found is None:
        return None
    values, missing, pair = found
    total = values[0] + values[1]
    usable = ~missing & (total > 0)
    index = np.divide(values[0] - values[1], total, out=np.zeros_like(total), where=usable)
    return usable & (index > threshold), f"{name} > {threshold:g} ({pair[0]}, {pair[1]})"


def reflectance(
    raster: Raster, roles: Sequence[str], max_size_px: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """Read bands by their spectral roles (`red`, `swir1` ...), scaled as the sensor's products are.

    Returns:
        Values (C, H, W) float32, where one of them is missing (H, W) bool, and the names of the bands; None when the
        scene lacks one.

    Raises:
        RasterError: the scene cannot be read.
    """
    bands = raster.image.bands
    names = [raster.profile.roles.get(role, "") for role in roles]
    if not set(names) <= set(bands):
        return None
    stored = raster.read(None, [bands.index(name) for name in names], max_size_px)
    values = np.ma.getdata(stored).astype(np.float32)
    if stored.dtype.name in _DN_TYPES:
        values = values * np.float32(raster.profile.scale) + np.float32(raster.profile.offset)
    return values, np.asarray(np.ma.getmaskarray(stored).any(axis=0)), names


def _radar_water(raster: Raster, max_size_px: int | None) -> tuple[np.ndarray, str] | None:
    """Where VV backscatter is low."""
    if "VV" not in raster.image.bands:
        return None
    stored = raster.read(None, [raster.image.bands.index("VV")], max_size_px)
    if stored.dtype.kind != "f":
        return None  # uncalibrated amplitudes: no threshold holds
    scale: Scale = "as stored" if is_decibel(stored) else "power to dB"
    decibels = channels(stored, scale)[0]
    mask = np.asarray(decibels.filled(np.inf) < _RADAR_WATER_DB)
    return mask, f"VV < {_RADAR_WATER_DB:g} dB"
