"""What is known of each kind of sensor, and how a file is told to be of one.

Band orders and scales: Copernicus Sentinel-2 products (reflectance x 10000), Landsat Collection 2 level 2
(0.0000275 x DN - 0.2), Sentinel-1 GRD (VV, VH), USGS NAIP (red, green, blue, near infrared), Maxar WorldView.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lhrs_chat.errors import RasterError
from lhrs_chat.plugins import nearest

Kind = Literal["optical", "sar", "height", "pan", "unknown"]
Stretch = Literal["none", "percentile", "db", "range"]


@dataclass(frozen=True)
class SensorProfile:
    """What one kind of sensor delivers.

    Args:
        name: the public name.
        bands: band names in file order.
        rgb: the bands shown as red, green, blue; one band is shown in grey; empty = the first bands.
        scale: physical value = scale x stored value + offset; 1 where the stored values are not calibrated.
        offset: see `scale`.
        stretch: how it is brought to 8 bits: `none`, `percentile` (2-98 %), `db` (decibels, then 2-98 %) or
            `range` (0.5-99.5 %). Optical 8-bit pictures are always shown as they are.
        gsd_m: usual pixel size on the ground; None where it varies.
        kind: optical, sar, height, pan or unknown.
        roles: band of each spectral role (blue, green, red, nir, swir1 ...).
        title: the name in a sentence.
    """

    name: str
    bands: tuple[str, ...]
    rgb: tuple[str, ...]
    scale: float = 1.0
    offset: float = 0.0
    stretch: Stretch = "percentile"
    gsd_m: float | None = None
    kind: Kind = "optical"
    roles: dict[str, str] = field(default_factory=dict)
    title: str = ""


@dataclass(frozen=True)
class Guess:
    """The profile of a file, the names of its bands in file order, and why it was chosen."""

    profile: SensorProfile
    bands: tuple[str, ...]
    reason: str
    assumed: bool


_S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
_S2_10 = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
_S2_ROLES = {"coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "swir1": "B11", "swir2": "B12"}
_L8 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7")
_L8_ROLES = {"coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir": "B5", "swir1": "B6", "swir2": "B7"}
_WV8 = ("coastal", "blue", "green", "yellow", "red", "rededge", "nir", "nir2")
_RGB = ("red", "green", "blue")
_SAME = {name: name for name in ("coastal", "blue", "green", "red", "nir", "swir1", "swir2")}


def _named(*bands: str) -> dict[str, str]:
    return {band: band for band in bands if band in _SAME}


SENSORS: dict[str, SensorProfile] = {
    profile.name: profile
    for profile in (
        SensorProfile("sentinel2", _S2, ("B4", "B3", "B2"), 1e-4, gsd_m=10.0, roles=_S2_ROLES, title="Sentinel-2"),
        SensorProfile("sentinel1", ("VV", "VH"), (), stretch="db", gsd_m=10.0, kind="sar", title="Sentinel-1"),
        SensorProfile(
            "landsat8", _L8, ("B4", "B3", "B2"), 2.75e-5, -0.2, gsd_m=30.0, roles=_L8_ROLES, title="Landsat 8/9"
        ),
        SensorProfile(
            "rgbn", (*_RGB, "nir"), _RGB, roles=_named(*_RGB, "nir"), title="red, green, blue, near infrared"
        ),
        SensorProfile(
            "worldview4",
            ("blue", "green", "red", "nir"),
            _RGB,
            roles=_named(*_RGB, "nir"),
            title="WorldView-like, 4 bands",
        ),
        SensorProfile("worldview8", _WV8, _RGB, roles=_named(*_WV8), title="WorldView-like, 8 bands"),
        SensorProfile("rgb", _RGB, _RGB, stretch="none", roles=_named(*_RGB), title="colour picture"),
        SensorProfile("sar", (), (), stretch="db", kind="sar", title="radar"),
        SensorProfile("height", ("height",), ("height",), stretch="range", kind="height", title="height model"),
        SensorProfile("pan", ("pan",), ("pan",), kind="pan", title="panchromatic"),
        SensorProfile("unknown", (), (), kind="unknown", title="unknown sensor"),
    )
}

# Band lists that are also delivered under a profile, by number of bands.
_VARIANTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sentinel2": (_S2, tuple(b for b in _S2 if b != "B10"), _S2_10, ("B2", "B3", "B4", "B8"), ("B4", "B3", "B2")),
    "sentinel1": (("VV", "VH"), ("VV",)),
    "landsat8": (_L8, _L8[1:], (*_L8, "B8", "B9", "B10", "B11"), ("B4", "B3", "B2")),
}
_ANY_COUNT = ("sar", "unknown")

_HINTS: tuple[tuple[str, str], ...] = (
    ("sentinel1", r"s1|s1a|s1b|s1c|sentinel1|grd|slc"),
    ("sar", r"sar|radar|vv|vh|hh|hv|capella|iceye|terrasar|umbra"),
    ("sentinel2", r"s2|s2a|s2b|s2c|sentinel2|msil1c|msil2a"),
    ("landsat8", r"lc08|lc09|landsat8|landsat9|landsat|l8|l9|oli"),
    ("height", r"dem|dsm|dtm|ndsm|chm|height|elevation|srtm"),
    ("rgbn", r"naip|rgbn|rgbnir"),
    ("worldview8", r"wv2|wv3|worldview|worldview2|worldview3"),
    ("pan", r"pan|panchromatic"),
)
_POLARISATIONS = {"VV", "VH", "HH", "HV"}
_WORDS = {
    "r": "red",
    "g": "green",
    "b": "blue",
    "n": "nir",
    "nir1": "nir",
    "near infrared": "nir",
    "near-infrared": "nir",
    "nearinfrared": "nir",
    "red edge": "rededge",
    "coastal blue": "coastal",
    "coastal aerosol": "coastal",
    "swir": "swir1",
    "swir 1": "swir1",
    "swir 2": "swir2",
    "panchromatic": "pan",
}
_KNOWN_WORDS = {
    "coastal",
    "blue",
    "green",
    "red",
    "nir",
    "nir2",
    "rededge",
    "yellow",
    "swir1",
    "swir2",
    "pan",
    "height",
}


def profile(name: str) -> SensorProfile:
    """Return the profile of that name.

    Raises:
        RasterError: there is none.
    """
    if name not in SENSORS:
        known = list(SENSORS)
        raise RasterError("unknown sensor", found=name, allowed=", ".join(known), next_step=nearest(name, known))
    return SENSORS[name]


def band_name(description: str) -> str:
    """Bring a band description to the name used in the profiles: B04 -> B4, SR_B4 -> B4, Red -> red, vv -> VV."""
    text = description.strip()
    match = re.fullmatch(r"(?:SR_|TOA_|BAND[ _]?|B)0*(?:B0*)?(\d{1,2}A?)(?:[ ,(-].*)?", text, flags=re.IGNORECASE)
    if match:
        return "B" + match.group(1).upper()
    match = re.fullmatch(r"(?:sigma0_|gamma0_|amplitude_|intensity_)?(vv|vh|hh|hv)(?:_db)?", text, flags=re.IGNORECASE)
    if match:
        return match.group(1).upper()
    lower = text.lower()
    return _WORDS.get(lower, lower)


def _hint(name: str) -> str | None:
    tokens = set(re.split(r"[^a-z0-9]+", name.lower()))
    for sensor, pattern in _HINTS:
        if any(re.fullmatch(pattern, token) for token in tokens):
            return sensor
    return None


def _bands_for(sensor: str, count: int) -> tuple[str, ...] | None:
    """Band names of `count` bands under a profile, or None when it is never delivered so."""
    if sensor in _ANY_COUNT:
        return tuple(f"band {i + 1}" for i in range(count))
    for bands in (SENSORS[sensor].bands, *_VARIANTS.get(sensor, ())):
        if len(bands) == count:
            return bands
    return None


def _from_descriptions(descriptions: Sequence[str | None], hint: str | None) -> Guess | None:
    """Use the band names that the file itself states."""
    if not descriptions or any(not text for text in descriptions):
        return None
    bands = tuple(band_name(text or "") for text in descriptions)
    if len(set(bands)) != len(bands):
        return None
    why = f"band names in the file: {', '.join(bands)}"
    if set(bands) <= _POLARISATIONS:
        name = "sentinel1" if set(bands) <= {"VV", "VH"} and hint in (None, "sentinel1") else "sar"
        return Guess(SENSORS[name], bands, why, assumed=False)
    if all(re.fullmatch(r"B\d{1,2}A?", band) for band in bands):
        surface = any((text or "").upper().startswith("SR_") for text in descriptions)
        if "B8A" in bands or "B12" in bands or hint == "sentinel2":
            return Guess(SENSORS["sentinel2"], bands, why, assumed=False)
        if surface or hint == "landsat8":
            return Guess(SENSORS["landsat8"], bands, why, assumed=False)
        return None
    if set(bands) <= _KNOWN_WORDS:
        name = _profile_of_words(bands)
        return Guess(SENSORS[name], bands, why, assumed=False)
    return None


def _profile_of_words(bands: tuple[str, ...]) -> str:
    if bands in (("pan",), ("height",)):
        return bands[0]
    if set(bands) == set(_RGB):
        return "rgb"
    if set(bands) == {*_RGB, "nir"}:
        return "worldview4" if bands[0] == "blue" else "rgbn"
    return "worldview8"


def _from_count(count: int, dtype: str, low: float, high: float) -> tuple[str, str]:
    """The profile of an unnamed band set and the reason."""
    floating = dtype.startswith(("float", "complex"))
    decibels = floating and low < -1 and high < 60
    if dtype.startswith("complex"):
        return "sar", "complex values"
    if count == 1:
        if floating or dtype in ("int16", "int32"):
            return "height", f"one band of {dtype}"
        return "pan", f"one band of {dtype}"
    if count == 2:
        return ("sentinel1", "two bands of floats taken as VV, VH") if floating else ("unknown", "two bands")
    if decibels and count <= 4:
        return "sar", f"{count} bands of floats with negative values"
    table = {
        3: ("rgb", "three bands"),
        6: ("landsat8", "six bands taken as B2 to B7"),
        7: ("landsat8", "seven bands taken as B1 to B7"),
        8: ("worldview8", "eight bands taken as WorldView order"),
        10: ("sentinel2", "ten bands taken as the 10 m and 20 m bands"),
        11: ("landsat8", "eleven bands taken as B1 to B11"),
        12: ("sentinel2", "twelve bands taken as level 2A order (no B10)"),
        13: ("sentinel2", "thirteen bands taken as level 1C order"),
    }
    if count == 4:
        if dtype == "uint8":
            return "rgbn", "four bands of uint8 taken as red, green, blue, near infrared"
        return "worldview4", f"four bands of {dtype} taken as blue, green, red, near infrared"
    return table.get(count, ("unknown", f"{count} bands of unknown meaning"))


def guess(
    count: int,
    dtype: str,
    *,
    descriptions: Sequence[str | None] = (),
    colours: Sequence[str] = (),
    name: str = "",
    low: float = 0.0,
    high: float = 0.0,
    sensor: str | None = None,
) -> Guess:
    """Tell the sensor of a file.

    The order of trust: the sensor named by the user, the band names in the file, its colour interpretation, the
    file name and tags, the number of bands with their type and values.

    Args:
        count: number of bands without alpha.
        dtype: numpy name of their type.
        descriptions: what the file calls each band.
        colours: GDAL's colour interpretation of each band (red, green, gray ...).
        name: file name and tags, searched for words such as S1, SAR, LC08, DEM.
        low: smallest value of a decimated read.
        high: largest value of a decimated read.
        sensor: the name of a profile, to decide it.

    Raises:
        RasterError: `sensor` is unknown, or never has that many bands.
    """
    hint = _hint(name)
    stated = _from_descriptions(descriptions, sensor or hint)
    if sensor is not None:
        chosen = profile(sensor)
        if stated is not None and (set(stated.bands) <= set(chosen.bands) or chosen.kind in ("sar", "unknown")):
            return Guess(chosen, stated.bands, "named by the user", assumed=False)
        bands = _bands_for(sensor, count)
        if bands is None:
            counts = sorted({len(chosen.bands), *(len(v) for v in _VARIANTS.get(sensor, ()))})
            raise RasterError(f"sensor {sensor} does not have that many bands", found=count, allowed=counts)
        return Guess(chosen, bands, "named by the user", assumed=False)
    if stated is not None:
        return stated
    if count == 3 and tuple(colours[:3]) == _RGB and dtype in ("uint8", "uint16"):
        return Guess(SENSORS["rgb"], _RGB, "bands marked red, green, blue", assumed=False)
    picture = count == 3 and dtype == "uint8"
    if hint is not None and not picture:
        hint = "worldview4" if (hint, count) == ("worldview8", 4) else hint
        bands = _bands_for(hint, count)
        if bands is not None:
            return Guess(SENSORS[hint], bands, "file name or tags", assumed=True)
    chosen_name, reason = _from_count(count, dtype, low, high)
    bands = _bands_for(chosen_name, count) or tuple(f"band {i + 1}" for i in range(count))
    return Guess(SENSORS[chosen_name], bands, reason, assumed=True)
