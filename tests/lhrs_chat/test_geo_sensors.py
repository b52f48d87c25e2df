from __future__ import annotations

import pytest

from lhrs_chat.geo.sensors import SENSORS, band_name, guess

S2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
ORDER = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")


def test_profiles_hold_together() -> None:
    for name, profile in SENSORS.items():
        assert name == profile.name
        assert set(profile.rgb) <= set(profile.bands)
        assert set(profile.roles.values()) <= set(profile.bands)
        assert len(profile.rgb) in (0, 1, 3)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("B04", "B4"), ("SR_B4", "B4"), ("Band 12", "B12"), ("b8a", "B8A"), ("B8A, vegetation edge", "B8A"),
        ("Red", "red"), ("vv", "VV"), ("Gamma0_VH_db", "VH"), ("Near Infrared", "nir"), ("B02 (490 nm)", "B2"),
    ],
)  # fmt: skip
def test_band_names(text: str, want: str) -> None:
    assert band_name(text) == want


@pytest.mark.parametrize(
    ("count", "dtype", "more", "sensor", "bands"),
    [
        (13, "int16", {}, "sentinel2", ORDER),
        (13, "uint16", {"descriptions": S2}, "sentinel2", ORDER),
        (12, "uint16", {}, "sentinel2", tuple(b for b in ORDER if b != "B10")),
        (3, "uint16", {"descriptions": ["B12", "B8A", "B04"]}, "sentinel2", ("B12", "B8A", "B4")),
        (2, "float32", {"low": -25, "high": 1}, "sentinel1", ("VV", "VH")),
        (2, "float32", {"descriptions": ["vh", "vv"]}, "sentinel1", ("VH", "VV")),
        (2, "float32", {"descriptions": ["HH", "HV"]}, "sar", ("HH", "HV")),
        (4, "float32", {"low": -22, "high": 10}, "sar", ("band 1", "band 2", "band 3", "band 4")),
        (1, "complex64", {}, "sar", ("band 1",)),
        (1, "float32", {"name": "S1A_IW_GRDH_VV"}, "sentinel1", ("VV",)),
        (7, "uint16", {"name": "LC08_L2SP_1"}, "landsat8", ("B1", "B2", "B3", "B4", "B5", "B6", "B7")),
        (3, "uint16", {"descriptions": ["SR_B4", "SR_B3", "SR_B2"]}, "landsat8", ("B4", "B3", "B2")),
        (4, "uint8", {}, "rgbn", ("red", "green", "blue", "nir")),
        (4, "uint16", {}, "worldview4", ("blue", "green", "red", "nir")),
        (4, "uint8", {"name": "wv3_scene"}, "worldview4", ("blue", "green", "red", "nir")),
        (4, "uint16", {"name": "naip_2019"}, "rgbn", ("red", "green", "blue", "nir")),
        (4, "uint16", {"descriptions": ["Red", "Green", "Blue", "NIR"]}, "rgbn", ("red", "green", "blue", "nir")),
        (8, "uint16", {}, "worldview8", SENSORS["worldview8"].bands),
        (3, "uint8", {"colours": ["red", "green", "blue"]}, "rgb", ("red", "green", "blue")),
        (3, "uint8", {"name": "S2_true_colour"}, "rgb", ("red", "green", "blue")),
        (1, "float32", {}, "height", ("height",)),
        (1, "uint16", {"name": "site_ndsm"}, "height", ("height",)),
        (1, "uint16", {}, "pan", ("pan",)),
        (5, "float32", {}, "unknown", ("band 1", "band 2", "band 3", "band 4", "band 5")),
    ],
)
def test_guesses(count: int, dtype: str, more: dict[str, object], sensor: str, bands: tuple[str, ...]) -> None:
    found = guess(count, dtype, **more)
    assert (found.profile.name, found.bands) == (sensor, bands)
    assert found.reason
    assert found.assumed == ("descriptions" not in more and "colours" not in more)
