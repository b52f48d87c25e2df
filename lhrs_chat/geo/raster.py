"""One reader for every raster: any size, type and number of bands, by windows, always shown with one stretch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import PIL.Image
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window

from lhrs_chat.errors import GeoError, RasterError
from lhrs_chat.geo import decimate, opening, sensors, stretch
from lhrs_chat.geo.reference import ground_gsd_m
from lhrs_chat.schema import Georef, Image

Source = str | Path | bytes | np.ndarray | PIL.Image.Image | Image
Extent = tuple[int, int, int, int]
OVERVIEW_PX = 1024  # longest side of the decimated read that decides the stretch
_RGB_WORDS = "red, green, blue"


class Raster:
    """An open raster. Use it as a context manager.

    Attributes:
        image: where the pixels come from, with size, bands, sensor, gsd_m and georef filled in.
        profile: what kind of sensor it is taken to be.
        size_px: width and height.
    """

    def __init__(self, dataset: DatasetReader, memory: MemoryFile | None, image: Image, sensor: str | None) -> None:
        self._dataset = dataset
        self._memory = memory
        self._name = image.path or ("bytes" if image.data is not None else "array")
        meaning = list(dataset.colorinterp)
        self._alpha_is_band = _alpha_is_band(dataset, len(image.bands), sensor)
        real = [self._alpha_is_band or colour != ColorInterp.alpha for colour in meaning]
        self._bands = [i for i in range(dataset.count) if real[i]]  # 0-based, in the file
        if not self._bands:
            raise RasterError("the image has no bands", found=f"{self._name}: only an alpha channel")
        self._complex = dataset.dtypes[self._bands[0]].startswith("complex")
        self._dtype = dataset.dtypes[self._bands[0]]
        self._palette = _palette(dataset) if meaning[0] == ColorInterp.palette else None
        self._item_bytes = np.dtype(np.complex64 if self._complex else self._dtype).itemsize
        self._overviews: dict[tuple[int, ...], np.ma.MaskedArray] = {}
        self.size_px: tuple[int, int] = (dataset.width, dataset.height)
        self._guess = self._tell_sensor(image, sensor)
        self.profile: sensors.SensorProfile = self._guess.profile
        self.image: Image = self._describe(image)

    @staticmethod
    def open(source: Source, *, sensor: str | None = None) -> Raster:
        """Open a file, encoded bytes, an array, a PIL picture or a schema.Image.

        Args:
            source: a local path; bytes of an image file; an array (C, H, W), (H, W, 3) or (H, W); a PIL picture; or an
                `Image`, whose bands, sensor, gsd_m, date and georef win over what the file says.
            sensor: name of a profile in `sensors.SENSORS`, to decide what would otherwise be guessed.

        Raises:
            RasterError: it is missing, not an image, damaged, without bands, or declares absurd sizes.
        """
        image = source if isinstance(source, Image) else None
        if image is not None:
            sensor = sensor or (image.sensor if image.sensor in sensors.SENSORS else None)
        given = _given(source)
        memory: MemoryFile | None = None
        if isinstance(given, str | Path):
            dataset = opening.open_path(Path(given))
            image = image or Image(path=str(given))
        elif isinstance(given, bytes):
            memory, dataset = opening.open_bytes(given)
            image = image or Image(data=given)
        else:
            if isinstance(given, PIL.Image.Image):
                pixels, alpha = opening.from_picture(given)
            else:
                pixels, alpha = (given if image is not None else opening.as_bands(given)), None
            memory, dataset = opening.open_array(pixels, alpha)
            image = image or Image(array=pixels)
        try:
            return Raster(dataset, memory, image, sensor)
        except RasterError:
            dataset.close()
            if memory is not None:
                memory.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._dataset.close()
        if self._memory is not None:
            self._memory.close()

    def __enter__(self) -> Raster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes; of shape, type and values for an array."""
        if self.image.path is not None:
            return opening.sha256_of_file(Path(self.image.path))
        if self.image.data is not None:
            return hashlib.sha256(self.image.data).hexdigest()
        if self.image.array is None:
            raise RasterError("the image has no pixels of its own", found=self._name)
        return opening.sha256_of_array(self.image.array)

    def read(
        self, window: Extent | None = None, bands: Sequence[int] | None = None, max_size_px: int | None = None
    ) -> np.ma.MaskedArray:
        """Read stored values; complex ones become amplitudes.

        Args:
            window: (x0, y0, x1, y1) in pixels, or None for all.
            bands: 0-based indices, alpha not counted; None for all.
            max_size_px: decimate so that the longer side is at most this; overviews of the file are used.

        Returns:
            (C, H, W); nodata, transparent and not finite values are masked, band by band.

        Raises:
            RasterError: the window is empty or not inside, the read is too large for memory, the file is damaged.
        """
        window, (height, width) = self._target(window, bands, max_size_px)
        x0, y0, x1, y1 = window
        chosen = self._chosen(bands)
        if (height, width) == (y1 - y0, x1 - x0):
            return self._stored(window, chosen)
        dtype = np.dtype(np.float32 if self._complex else self._dtype)
        factor = max((x1 - x0) / width, (y1 - y0) / height)
        if self._palette is None and not self._complex and self._has_overview(factor):
            return self._stored(window, chosen, (height, width))
        tall, wide = self._dataset.block_shapes[0]
        pieces = decimate.chunks(window, (wide, tall), len(chosen) * self._item_bytes)
        make = decimate.average if self._palette is None else decimate.pick
        return make(lambda piece: self._stored(piece, chosen), pieces, window, (width, height), len(chosen), dtype)

    def _target(
        self, window: Extent | None, bands: Sequence[int] | None, max_size_px: int | None
    ) -> tuple[Extent, tuple[int, int]]:
        """The extent of a read and the height and width of its result, once it is known to fit into memory."""
        x0, y0, x1, y1 = self._extent(window)
        height, width = _decimated(x1 - x0, y1 - y0, max_size_px)
        count = len(self._chosen(bands))
        wanted = count * height * width * self._item_bytes
        if wanted > opening.MAX_READ_BYTES:
            raise RasterError(
                "this is too much to read at once",
                found=f"{count} bands of {width} x {height} pixels, {wanted / 2**20:.0f} MiB",
                allowed=f"{opening.MAX_READ_BYTES // 2**20} MiB",
                next_step="read it window by window, or give max_size_px",
            )
        return (x0, y0, x1, y1), (height, width)

    def _has_overview(self, factor: float) -> bool:
        levels: list[int] = self._dataset.overviews(self._bands[0] + 1)
        return any(1 < level <= factor for level in levels)

    def _stored(self, extent: Extent, chosen: list[int], out_shape: tuple[int, int] | None = None) -> np.ma.MaskedArray:
        """Read bands of one extent from the file, or from its overviews when `out_shape` is given."""
        x0, y0, x1, y1 = extent
        window = Window(x0, y0, x1 - x0, y1 - y0)
        files = [self._bands[i] for i in chosen]
        flags = [self._dataset.mask_flag_enums[i] for i in files]
        if self._alpha_is_band:
            flags = [[MaskFlags.all_valid]] * len(files)
        plain = all(MaskFlags.all_valid in flag for flag in flags)
        by_value = plain or (out_shape is None and all(MaskFlags.nodata in flag for flag in flags))
        try:
            with opening.quiet():
                values = self._dataset.read(
                    [i + 1 for i in files],
                    window=window,
                    out_shape=None if out_shape is None else (len(files), *out_shape),
                    masked=not by_value,
                    resampling=Resampling.nearest if out_shape is None else Resampling.average,
                )
        except RasterioError as problem:
            raise opening.damaged(self._name, problem) from problem
        data = np.ma.getdata(values)
        if plain and data.dtype.kind in "iu":
            return np.ma.MaskedArray(data)
        mask = np.ma.getmaskarray(values).copy()
        if by_value and not plain:  # the same as GDAL's masks, without a second pass over the file for them
            for channel, i in enumerate(files):
                nodata = self._dataset.nodatavals[i]
                if nodata is not None and not np.isnan(nodata):
                    mask[channel] = _is_nodata(data[channel], nodata)
        if self._complex:
            data = np.abs(data).astype(np.float32)
        if data.dtype.kind == "f":
            mask |= ~np.isfinite(data)
        return np.ma.MaskedArray(data, mask)

    def valid(self, window: Extent | None = None, max_size_px: int | None = None) -> np.ndarray:
        """Where at least one band holds a value: (H, W), bool. Arguments as in `read`."""
        flags = [self._dataset.mask_flag_enums[i] for i in self._bands]
        by_band = self._complex or self._dtype.startswith("float") or any(MaskFlags.nodata in flag for flag in flags)
        values = self.read(window, None if by_band else [0], max_size_px)
        return np.asarray(~np.ma.getmaskarray(values).all(axis=0))

    def rgb(self, window: Extent | None = None, max_size_px: int | None = None) -> np.ndarray:
        """Show a window with the stretch of the whole scene; pixels without a value are black.

        Returns:
            (H, W, 3), uint8. Arguments and errors as in `read`.

        Raises:
            RasterError: also when the scene holds no valid pixel at all.
        """
        self._target(window, self._shown_bands()[0], max_size_px)  # refuse before the scene is read for its stretch
        composite = self._composite
        values = self.read(window, composite.bands, max_size_px)
        masked = None if values.mask is np.ma.nomask else np.ma.getmaskarray(values).all(axis=0)
        if self._palette is not None:
            shown = self._palette[np.clip(values.data[0], 0, len(self._palette) - 1)].transpose(2, 0, 1)
        elif composite.low is None or composite.high is None:
            shown = values.data
        else:
            shown = stretch.to_uint8(stretch.channels(values, composite.scale), composite.low, composite.high)
        picture = np.repeat(shown, 3, axis=0) if shown.shape[0] == 1 else shown
        out = np.ascontiguousarray(picture.transpose(1, 2, 0))
        if masked is not None:
            out[masked] = 0
        return out

    @property
    def composite(self) -> str:
        """One sentence that says which bands are shown and how, for the provenance of an answer."""
        return self._composite.text

    @cached_property
    def _composite(self) -> stretch.Composite:
        bands, said = self._shown_bands()
        overview = self._overview(bands)
        if not np.ma.count(overview):
            raise RasterError(
                "the image holds no valid pixel: every value is nodata, transparent or not finite",
                found=self._name,
                next_step="check the nodata value of the file",
            )
        if self._guess.assumed:
            said += f"; assumed {self.profile.title} ({self._guess.reason})"
        kind = self.profile.kind
        if self._palette is not None or (self._dtype == "uint8" and kind not in ("sar", "height")):
            if self._dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "1":
                return stretch.Composite(bands, "as stored", (0.0,), (1.0,), f"{said}; one-bit values, 1 as white")
            return stretch.Composite(bands, "as stored", None, None, f"{said}; 8-bit values as stored")
        scale: stretch.Scale = "as stored"
        how = ""
        if kind == "sar" and self._dtype != "uint8":
            if stretch.is_decibel(overview):
                how = " in dB"
            else:
                amplitude = self._complex or not self._dtype.startswith("float")
                scale = "amplitude to dB" if amplitude else "power to dB"
                how = f" {scale}"
        percentiles = stretch.PERCENTILES.get(self.profile.stretch, stretch.PERCENTILES["percentile"])
        low, high = stretch.limits(stretch.channels(overview, scale), percentiles)
        said += f";{how}{',' if how else ''} {percentiles[0]:g}-{percentiles[1]:g} % stretch"
        return stretch.Composite(bands, scale, low, high, said)

    def _shown_bands(self) -> tuple[tuple[int, ...], str]:
        """Indices of the bands to show, and the words for it."""
        names = self._guess.bands
        count = len(names)
        if self._palette is not None:
            return (0,), "colour table of the only band"
        if self.profile.kind == "sar":
            if {"VV", "VH"} <= set(names):
                return (names.index("VV"), names.index("VH")), f"VV, VH and VV/VH as {_RGB_WORDS}"
            if count == 2:
                return (0, 1), f"radar {names[0]}, {names[1]} and their ratio as {_RGB_WORDS}"
            if count > 2:
                return (0, 1, count - 1), f"radar {names[0]}, {names[1]}, {names[-1]} of {count} bands as {_RGB_WORDS}"
        wanted = self.profile.rgb
        if len(wanted) == 3 and set(wanted) <= set(names):
            text = f"bands {', '.join(wanted)} of {count} as {_RGB_WORDS}"
            return tuple(names.index(band) for band in wanted), text
        if count < 3:
            return (0,), f"band {names[0]} of {count} in grey" if count > 1 else f"one band ({names[0]}) in grey"
        why = (
            "their meaning is not known" if self.profile.kind == "unknown" else "not all of red, green, blue are there"
        )
        return (0, 1, 2), f"bands {', '.join(names[:3])} of {count} as {_RGB_WORDS}, because {why}"

    def _overview(self, bands: tuple[int, ...]) -> np.ma.MaskedArray:
        """A decimated read of the whole scene, kept: what the stretch and the sensor are told from."""
        if bands not in self._overviews:
            known = next((held for held in self._overviews if set(bands) <= set(held)), None)
            if known is not None:
                return self._overviews[known][[known.index(i) for i in bands]]
            self._overviews[bands] = self.read(None, bands, OVERVIEW_PX)
        return self._overviews[bands]

    def _tell_sensor(self, image: Image, sensor: str | None) -> sensors.Guess:
        dataset = self._dataset
        count = len(self._bands)
        descriptions = [dataset.descriptions[i] for i in self._bands]
        if image.bands:
            if len(image.bands) != count:
                raise RasterError("the image has another number of bands than stated", found=count, allowed=image.bands)
            descriptions = list(image.bands)
        if self._palette is not None and sensor is None:
            return sensors.Guess(sensors.SENSORS["unknown"], ("class",), "a colour table", assumed=False)
        low = high = 0.0
        if self._dtype.startswith("float") and count <= 4 and not all(descriptions):
            values = self._overview(tuple(range(count))).compressed()
            if values.size:
                low, high = (float(v) for v in np.percentile(values, (1, 99)))
        tags = {key.upper(): str(value) for key, value in dataset.tags().items()}
        words = [tags.get(key, "") for key in ("SENSOR", "SATELLITE", "PLATFORM", "SPACECRAFT_ID", "MISSION")]
        return sensors.guess(
            count,
            self._dtype,
            descriptions=descriptions,
            colours=[] if self._alpha_is_band else [dataset.colorinterp[i].name for i in self._bands],
            name=" ".join([Path(self._name).stem if image.path else "", image.sensor or "", *words]),
            low=low,
            high=high,
            sensor=sensor,
        )

    def _describe(self, image: Image) -> Image:
        georef = image.georef or _georef(self._dataset)
        gsd_m = image.gsd_m
        if gsd_m is None and georef is not None:
            try:
                gsd_m = ground_gsd_m(georef, self.size_px)
            except GeoError:
                gsd_m = None  # a CRS without a way to the ground; a map answer will say so
        return Image(
            path=image.path,
            data=image.data,
            array=image.array,
            size_px=self.size_px,
            bands=self._guess.bands,
            sensor=self.profile.name,
            gsd_m=gsd_m if gsd_m is not None else self.profile.gsd_m,
            date=image.date,
            georef=georef,
        )

    def _extent(self, window: Extent | None) -> Extent:
        width, height = self.size_px
        if window is None:
            return (0, 0, width, height)
        x0, y0, x1, y1 = (int(value) for value in window)
        if x1 <= x0 or y1 <= y0:
            raise RasterError("the window is empty", found=tuple(window), allowed="x0 < x1 and y0 < y1")
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise RasterError("the window is not inside the image", found=tuple(window), allowed=(0, 0, width, height))
        return (x0, y0, x1, y1)

    def _chosen(self, bands: Sequence[int] | None) -> list[int]:
        count = len(self._bands)
        chosen = list(range(count)) if bands is None else [int(i) for i in bands]
        if not chosen or min(chosen) < 0 or max(chosen) >= count:
            raise RasterError("no such band", found=chosen, allowed=f"0 to {count - 1}")
        return chosen


def _given(source: Source) -> str | Path | bytes | np.ndarray | PIL.Image.Image:
    """What holds the pixels."""
    if isinstance(source, Image):
        for held in (source.path, source.data, source.array):
            if held is not None:
                return held
    elif isinstance(source, str | Path | bytes | np.ndarray | PIL.Image.Image):
        return source
    raise RasterError(
        "an image cannot be opened from this",
        found=type(source).__name__,
        allowed="a path, bytes, a numpy array, a PIL picture or an Image",
    )


def _decimated(width: int, height: int, max_size_px: int | None) -> tuple[int, int]:
    """Height and width after decimation."""
    if max_size_px is not None and max_size_px < 1:
        raise RasterError("max_size_px is too small", found=max_size_px, allowed="1 or more")
    if max_size_px is None or max(width, height) <= max_size_px:
        return height, width
    factor = max_size_px / max(width, height)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _alpha_is_band(dataset: DatasetReader, stated: int, sensor: str | None) -> bool:
    """Whether the fourth band, marked as alpha, is a measured one.

    Common writers mark any fourth 8-bit band as alpha, also the near infrared of NAIP. Real alpha is nearly
    everywhere 0 or 255.
    """
    if dataset.count != 4 or dataset.dtypes[0] != "uint8" or dataset.colorinterp[3] != ColorInterp.alpha:
        return False
    if stated or sensor is not None:
        return stated == 4 or sensor in ("rgbn", "worldview4")
    width, height = dataset.width, dataset.height
    side = 512
    window = Window(max(0, (width - side) // 2), max(0, (height - side) // 2), min(side, width), min(side, height))
    try:
        with opening.quiet():
            alpha = dataset.read(4, window=window)
    except RasterioError as problem:
        raise opening.damaged(dataset.name, problem) from problem
    return bool(np.mean((alpha > 0) & (alpha < 255)) > 0.5)


def _is_nodata(data: np.ndarray, nodata: float) -> np.ndarray:
    """Where pixels hold the nodata value: a float32 raster stores -3.4e38 with fewer digits than its tag."""
    value = np.float32(nodata) if data.dtype in (np.float32, np.complex64) else nodata
    return np.asarray(data == value)


def _palette(dataset: DatasetReader) -> np.ndarray:
    """Colour table of the first band: (N, 3), uint8."""
    table = dataset.colormap(1)
    palette = np.zeros((max(table) + 1, 3), dtype=np.uint8)
    for index, colour in table.items():
        palette[index] = colour[:3]
    return palette


def _georef(dataset: DatasetReader) -> Georef | None:
    """CRS and affine of a file that has both."""
    crs, affine = dataset.crs, dataset.transform
    if not crs or affine.is_identity or affine.determinant == 0:
        return None
    authority = crs.to_authority(confidence_threshold=100)
    name = f"{authority[0]}:{authority[1]}" if authority else crs.to_wkt()
    return Georef(name, (affine.a, affine.b, affine.c, affine.d, affine.e, affine.f))
