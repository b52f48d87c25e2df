"""Every corruption, at every severity, on every kind of picture."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage

from lhrs_chat.corruptions import ALL, CORRUPTIONS, OURS, Geometry, parse
from lhrs_chat.errors import ConfigError, DataError

NAMES = CORRUPTIONS.names()
MOVING = [name for name in NAMES if isinstance(CORRUPTIONS.get(name).effect, Geometry)]
STILL = [name for name in NAMES if name not in MOVING]
CASES = parse(ALL)
RANDOM = ["gaussian_noise", "salt_and_pepper_noise", "cloud", "gaps", "band_drop"]


def textured(bands: int, height: int, width: int, dtype: str = "uint8") -> np.ndarray:
    """Blocks of several sizes: (C, H, W); reflectances up to 10000 for integers of 16 bits, up to 0.4 for floats."""
    rng = np.random.default_rng(0)
    total = np.zeros((bands, height, width))
    for side in (1, 3, 11, 45):
        blocks = rng.random((bands, -(-height // side), -(-width // side))) * (0.4 if side == 1 else 1)
        total += np.kron(blocks, np.ones((side, side)))[:, :height, :width]
    return (total / 3.4 * {"uint8": 255, "uint16": 10_000, "int16": 10_000}.get(dtype, 0.4)).astype(dtype)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return textured(3, 96, 128)


def test_the_twelve_and_ours() -> None:
    ours = [name for name in NAMES if CORRUPTIONS.get(name).source == OURS]
    assert ours == ["band_drop", "gsd_change", "quarter_turn"]
    assert len(NAMES) - len(ours) == 12
    assert {name: len(CORRUPTIONS.get(name).levels) for name in NAMES if name != "quarter_turn"} == {
        name: 5 for name in NAMES if name != "quarter_turn"
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("bands", [1, 13])
def test_shape_type_and_range_stay(name: str, dtype: str, bands: int) -> None:
    if name == "band_drop" and bands == 1:
        bands = 2
    pixels = textured(bands, 40, 40, dtype)
    before = pixels.copy()
    damaged = CORRUPTIONS.get(name).damage(pixels, 3, seed=4)
    assert (damaged.shape, damaged.dtype) == (pixels.shape, pixels.dtype)
    assert (pixels == before).all()
    assert (damaged != pixels).any()
    assert np.isfinite(damaged).all()
    top = 255 if dtype == "uint8" else pixels.max()
    assert damaged.min() >= (0 if dtype in ("uint8", "uint16") else pixels.min())
    assert damaged.max() <= top


@pytest.mark.parametrize("extreme", [0, 60_000])
def test_values_beyond_the_display_range_are_not_flattened(extreme: int) -> None:
    pixels = textured(2, 60, 60, "uint16") + np.uint16(20_000)
    pixels[:, 30, 30] = extreme
    for name in ("gaussian_noise", "compression_artifacts"):
        damaged = CORRUPTIONS.get(name).damage(pixels, 5)[:, 30, 30].astype(int)
        assert (np.abs(damaged - extreme) < 5000).all()


@pytest.mark.parametrize(("name", "severity"), CASES)
def test_a_seed_decides(name: str, severity: int, picture: np.ndarray) -> None:
    damage = CORRUPTIONS.get(name).damage
    assert (damage(picture, severity, 5) == damage(picture, severity, 5)).all()
    if name in RANDOM:
        assert any((damage(picture, severity, 5) != damage(picture, severity, seed)).any() for seed in (6, 7, 8))


@pytest.mark.parametrize("name", STILL)
@pytest.mark.parametrize(("bands", "seed"), [(3, 0), (3, 1), (13, 2)])
def test_damage_grows_with_severity(name: str, bands: int, seed: int) -> None:
    pixels = textured(bands, 96, 128)
    damage = CORRUPTIONS.get(name).damage
    change = [np.abs(damage(pixels, severity, seed).astype(float) - pixels).mean() for severity in range(1, 6)]
    if name == "band_drop" and bands == 3:
        assert change[0] == change[1] < change[2] == change[3] == change[4]
    else:
        assert change == sorted(change)
        assert len(set(change)) == 5


@pytest.mark.parametrize("name", [name for name in MOVING if name != "quarter_turn"])
def test_things_move_farther_with_severity(name: str) -> None:
    points = np.random.default_rng(0).uniform(0, 200, (50, 2))
    motions = [CORRUPTIONS.get(name).motion((200, 200), severity, seed=3) for severity in range(1, 6)]
    way = [np.linalg.norm(motion.xy(points) - points, axis=1).mean() for motion in motions]
    assert way == sorted(way)
    assert len(set(way)) == 5


@pytest.mark.parametrize(("name", "severity"), [case for case in CASES if case[1] in (1, 5) or case[0] in MOVING])
def test_masked_pixels_stay_masked_and_have_no_influence(name: str, severity: int) -> None:
    pixels = textured(4, 60, 60, "uint16")
    hidden = np.zeros(pixels.shape, bool)
    hidden[:, 20:35, 10:30] = True
    results = []
    for garbage in (0, 65535):
        pixels[hidden] = garbage
        results.append(CORRUPTIONS.get(name).damage(np.ma.MaskedArray(pixels, hidden, fill_value=7), severity, seed=2))
    first, second = results
    assert isinstance(first, np.ma.MaskedArray)
    assert first.fill_value == 7
    assert (first.mask == second.mask).all()
    assert (first.compressed() == second.compressed()).all()
    if name in MOVING:
        kept = CORRUPTIONS.get(name).damage(np.where(hidden, 65535, 0).astype("uint16"), severity, seed=2)
        assert first.mask[kept == 65535].all()
        assert not first.mask[(kept == 0)].any() or name == "scale"
    else:
        assert first.mask[hidden].all()
        assert (first.mask == hidden).all() or name == "gaps"


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_not_finite_stay_so(name: str) -> None:
    pixels = textured(3, 50, 50, "float32")
    pixels[:, 20:30, 20:30] = np.nan
    damaged = CORRUPTIONS.get(name).damage(pixels, 2, seed=1)
    assert np.isnan(damaged).mean() == pytest.approx(0.04 * (0.64 if name == "scale" else 1), rel=0.2)
    if name in STILL:
        assert (np.isnan(damaged) == np.isnan(pixels)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2)])
def test_tiny_and_empty_pictures(name: str, size: tuple[int, int]) -> None:
    for pixels in (np.full((3, *size), 9, "uint16"), np.ma.masked_all((3, *size), "uint8")):
        damaged = CORRUPTIONS.get(name).damage(pixels, 3)
        assert sorted(damaged.shape) == sorted(pixels.shape)
        assert np.ma.getmaskarray(damaged).all() == np.ma.isMaskedArray(pixels)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), "uint8"), np.zeros((3, 0, 4), "uint8"), np.zeros((3, 4, 4), bool)])
@pytest.mark.parametrize("name", ["haze", "rotate"])
def test_no_picture(name: str, bad: np.ndarray) -> None:
    with pytest.raises(DataError, match="a picture"):
        CORRUPTIONS.get(name).damage(bad, 1)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_no_such_severity(severity: int, picture: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="1 to 5"):
        CORRUPTIONS.get("haze").damage(picture, severity)
    with pytest.raises(ConfigError, match="1 to 3"):
        CORRUPTIONS.get("quarter_turn").motion((4, 4), 4 if severity > 0 else severity)


def test_negative_seed(picture: np.ndarray) -> None:
    with pytest.raises(DataError, match="seed"):
        CORRUPTIONS.get("haze").damage(picture, 1, seed=-1)


def test_parse() -> None:
    assert parse("cloud:3") == [("cloud", 3)]
    assert parse("haze:5, gaps:1,haze:5") == [("haze", 5), ("gaps", 1)]
    assert parse("quarter_turn") == [("quarter_turn", 1), ("quarter_turn", 2), ("quarter_turn", 3)]
    assert parse("all") == [(name, i + 1) for name in NAMES for i in range(len(CORRUPTIONS.get(name).levels))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clouds:3", "did you mean cloud?"),
        ("", "there is no such corruption"),
        ("_values:1", "there is no such corruption"),
        ("cloud:6", "cloud has no such severity\n  found: 6\n  allowed: 1, 2, 3, 4, 5"),
        ("cloud:", "cloud has no such severity"),
        ("quarter_turn:4", "allowed: 1, 2, 3"),
        ("cloud:3,hazy:1", "did you mean haze?"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in str(caught.value)


# What each one does, against an independent way to compute it.


def test_gaussian_noise_has_its_deviation() -> None:
    for severity, deviation in enumerate((0.04, 0.05, 0.06, 0.07, 0.08), start=1):
        damaged = CORRUPTIONS.get("gaussian_noise").damage(np.full((3, 128, 128), 128, "uint8"), severity)
        assert damaged.std() == pytest.approx(255 * deviation, rel=0.02)


def test_salt_and_pepper_hit_their_share() -> None:
    for severity, share in enumerate((0.005, 0.01, 0.02, 0.03, 0.05), start=1):
        damaged = CORRUPTIONS.get("salt_and_pepper_noise").damage(np.full((3, 256, 256), 128, "uint8"), severity)
        assert set(np.unique(damaged)) == {0, 128, 255}
        assert (damaged == 0).mean() == pytest.approx(share / 2, rel=0.1)
        assert (damaged == 255).mean() == pytest.approx(share / 2, rel=0.1)


def test_gaussian_blur_is_the_filter_of_scipy(picture: np.ndarray) -> None:
    damaged = CORRUPTIONS.get("gaussian_blur").damage(picture, 5)
    expected = ndimage.gaussian_filter(picture.astype(float), sigma=(0, 2, 2), mode="mirror", radius=5)
    assert np.abs(damaged - expected).max() <= 0.51


def test_motion_blur_is_a_mean_along_rows(picture: np.ndarray) -> None:
    damaged = CORRUPTIONS.get("motion_blur").damage(picture, 2)
    expected = ndimage.uniform_filter1d(picture.astype(float), 4, axis=2, mode="mirror", origin=-1)
    assert np.abs(damaged - expected).max() <= 0.51


@pytest.mark.parametrize(("name", "factor", "added"), [("haze", 0.4, 0.6), ("brightness_contrast", 0.2, 0.4)])
def test_veil_and_exposure(name: str, factor: float, added: float, picture: np.ndarray) -> None:
    damaged = CORRUPTIONS.get(name).damage(picture, 5)
    assert np.abs(damaged - (picture * factor + 255 * added)).max() <= 0.51


def test_first_exposure_changes_nothing_as_published(picture: np.ndarray) -> None:
    assert (CORRUPTIONS.get("brightness_contrast").damage(picture, 1) == picture).all()


def test_compression_is_jpeg(picture: np.ndarray) -> None:
    stream = io.BytesIO()
    PIL.Image.fromarray(np.moveaxis(picture, 0, -1)).save(stream, "JPEG", quality=10)
    expected = np.moveaxis(np.asarray(PIL.Image.open(stream)), -1, 0)
    assert (CORRUPTIONS.get("compression_artifacts").damage(picture, 5) == expected).all()


def test_clouds_cover_their_share_and_cast_shadows() -> None:
    ground = np.full((4, 200, 200), 100, "uint8")
    for severity, cover in enumerate((0.10, 0.15, 0.20, 0.25, 0.30), start=1):
        damaged = CORRUPTIONS.get("cloud").damage(ground, severity, seed=9)
        assert (damaged == damaged[0]).all()
        assert (damaged[0] > 155).mean() == pytest.approx(cover, abs=0.03)
        assert (damaged[0] < 80).mean() > cover / 4
        assert damaged.min() > 50
        half_opaque = (damaged[0] > 120) & (damaged[0] < 200)
        assert half_opaque.mean() > cover / 6


def test_gaps_are_parallel_stripes() -> None:
    for severity, (stripes, width) in enumerate(((2, 3), (3, 4), (4, 5), (5, 6), (6, 7)), start=1):
        pixels = np.full((2, 150, 200), 200, "uint8")
        shares = [(CORRUPTIONS.get("gaps").damage(pixels, severity, seed) == 0).mean() for seed in range(25)]
        assert np.mean(shares) == pytest.approx(stripes * width / 250, rel=0.15)
        damaged = CORRUPTIONS.get("gaps").damage(pixels, severity, seed=severity)
        assert set(np.unique(damaged)) == {0, 200}
        missing = (damaged == 0).all(axis=0)
        labels, count = ndimage.label(missing, np.ones((3, 3)))
        assert 1 <= count <= stripes + 1
        angles = []
        for label in range(1, count + 1):
            y, x = np.nonzero(labels == label)
            if len(x) > 200:
                _, vectors = np.linalg.eigh(np.cov(x, y))
                angles.append(np.degrees(np.arctan2(*vectors[::-1, 1])) % 180)
        assert angles
        assert np.ptp(np.exp(2j * np.radians(angles))) < 0.1


def test_gaps_are_masked_where_masks_are_used() -> None:
    pixels = np.ma.MaskedArray(np.full((3, 100, 100), 200, "uint16"))
    damaged = CORRUPTIONS.get("gaps").damage(pixels, 5)
    assert damaged.mask.any()
    assert (damaged.mask == (damaged.data == 0)).all()


def test_bands_are_dropped_one_upon_the_other() -> None:
    pixels = textured(13, 20, 20, "uint16") + np.uint16(1)
    before: set[int] = set()
    for severity, count in enumerate((2, 3, 6, 8, 11), start=1):
        damaged = CORRUPTIONS.get("band_drop").damage(pixels, severity, seed=5)
        lost = {band for band in range(13) if not damaged[band].any()}
        assert len(lost) == count
        assert before <= lost
        assert all((damaged[band] == pixels[band]).all() for band in set(range(13)) - lost)
        before = lost


def test_the_only_band_is_not_dropped() -> None:
    with pytest.raises(DataError, match="none to lose"):
        CORRUPTIONS.get("band_drop").damage(textured(1, 8, 8), 1)


def test_coarser_pixels_are_means() -> None:
    pixels = textured(3, 64, 64, "float32")
    damaged = CORRUPTIONS.get("gsd_change").damage(pixels, 5)
    coarse = pixels.reshape(3, 8, 8, 8, 8).mean(axis=(2, 4))
    assert damaged.reshape(3, 8, 8, 8, 8)[:, :, 3:5, :, 3:5].mean(axis=(2, 4)) == pytest.approx(coarse, abs=0.01)
    assert damaged.std() < pixels.std()
