"""The nouns of the project. Frozen dataclasses without torch; every coordinate carries its frame."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from lhrs_chat.errors import DataError, GeoError

Frame = Literal["pixel", "unit", "per100", "per1000", "model", "map"]
FRAMES: tuple[str, ...] = get_args(Frame)
Role = Literal["system", "user", "assistant"]
XYXY = tuple[float, float, float, float]


def _check_frame(frame: str) -> None:
    if frame not in FRAMES:
        raise GeoError("unknown coordinate frame", found=frame, allowed=", ".join(FRAMES))


@dataclass(frozen=True)
class Georef:
    """Where a raster lies: CRS as authority code or WKT, and the affine (a, b, c, d, e, f) of rasterio."""

    crs: str
    transform: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Image:
    """Where the pixels of one picture come from, and what is known of them.

    Exactly one of `path`, `data` and `array` is set. `array`: (C, H, W).
    """

    path: str | None = None
    data: bytes | None = None
    array: np.ndarray | None = field(default=None, compare=False)
    size_px: tuple[int, int] | None = None  # width, height
    bands: tuple[str, ...] = ()
    sensor: str | None = None
    gsd_m: float | None = None
    date: str | None = None
    georef: Georef | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("path", "data", "array") if getattr(self, name) is not None]
        if len(given) != 1:
            raise DataError("an image has one source", found=given or "none", allowed="path, data or array")
        if self.array is not None and self.array.ndim != 3:
            raise DataError("an image array is (C, H, W)", found=self.array.shape)


@dataclass(frozen=True)
class Point:
    """One position, x right and y down except in the frame `map`."""

    x: float
    y: float
    frame: Frame
    label: str = ""

    def __post_init__(self) -> None:
        _check_frame(self.frame)


@dataclass(frozen=True)
class Box:
    """An upright box (x1, y1, x2, y2); `points` holds the four corners of an oriented one, `xyxy` its envelope."""

    xyxy: XYXY
    frame: Frame
    label: str = ""
    score: float | None = None
    points: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        _check_frame(self.frame)
        if len(self.xyxy) != 4:
            raise GeoError("a box has four numbers", found=self.xyxy, allowed="x1, y1, x2, y2")
        if not all(np.isfinite(self.xyxy)):
            raise GeoError("a box has finite numbers", found=self.xyxy)
        if self.xyxy[0] > self.xyxy[2] or self.xyxy[1] > self.xyxy[3]:
            raise GeoError("a box has x1 <= x2 and y1 <= y2", found=self.xyxy)
        if self.points is not None and len(self.points) != 4:
            raise GeoError("an oriented box has four corners", found=len(self.points), allowed=4)
        if self.points is not None and not np.isfinite(self.points).all():
            raise GeoError("the corners of a box are finite", found=self.points)

    @staticmethod
    def oriented(
        points: tuple[tuple[float, float], ...], frame: Frame, label: str = "", score: float | None = None
    ) -> Box:
        """Make a box from four corners; `xyxy` becomes their envelope."""
        xs = [x for x, _ in points]
        ys = [y for _, y in points]
        return Box((min(xs), min(ys), max(xs), max(ys)), frame, label, score, points)


@dataclass(frozen=True)
class Mask:
    """A region, as polygon rings in `frame` (outer first) or as run lengths over (height, width) pixels.

    `rle`: COCO's uncompressed counts, column-major, beginning with the number of zeros; frame is then `pixel`.
    """

    frame: Frame
    polygons: tuple[tuple[tuple[float, float], ...], ...] | None = None
    rle: tuple[int, ...] | None = field(default=None, repr=False)
    shape_px: tuple[int, int] | None = None  # height, width of the run lengths
    label: str = ""
    score: float | None = None

    def __post_init__(self) -> None:
        _check_frame(self.frame)
        if (self.polygons is None) == (self.rle is None):
            raise DataError("a mask is polygons or run lengths", found="both or neither")
        if self.rle is not None:
            if self.shape_px is None or self.frame != "pixel":
                raise DataError("run lengths need shape_px and frame pixel", found=(self.shape_px, self.frame))
            if min(self.rle, default=0) < 0 or sum(self.rle) != self.shape_px[0] * self.shape_px[1]:
                raise DataError("run lengths do not fill the mask", found=sum(self.rle), allowed=self.shape_px)

    @staticmethod
    def from_array(array: np.ndarray, label: str = "", score: float | None = None) -> Mask:
        """Encode `array`: (H, W), bool."""
        flat = np.asarray(array, dtype=bool).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        bounds = np.concatenate([[0], edges, [flat.size]])
        counts = [int(n) for n in np.diff(bounds)]
        if flat.size and flat[0]:
            counts = [0, *counts]
        return Mask("pixel", rle=tuple(counts), shape_px=(array.shape[0], array.shape[1]), label=label, score=score)

    def to_array(self) -> np.ndarray:
        """Decode run lengths to (H, W), bool."""
        if self.rle is None or self.shape_px is None:
            raise DataError("this mask is stored as polygons", next_step="rasterise it with geo.vector")
        values = np.arange(len(self.rle)) % 2 == 1
        return np.repeat(values, self.rle).reshape(self.shape_px, order="F")


@dataclass(frozen=True)
class Number:
    """A value with its unit ('' for a count, '%', 'm', 'm2'), read from the model's text or computed from pixels."""

    value: float
    unit: str = ""
    evidence: Literal["model", "computed"] = "model"
    label: str = ""


@dataclass(frozen=True)
class Part:
    """One piece of a message: text, the next image of the conversation, or a region of it."""

    type: Literal["text", "image", "region"]
    text: str = ""
    image: int | None = None  # index into the images of the conversation
    region: Box | None = None


@dataclass(frozen=True)
class Message:
    """One turn, in the chat format of transformers plus regions."""

    role: Role
    content: tuple[Part, ...]

    @staticmethod
    def of(role: Role, text: str, images: tuple[int, ...] = ()) -> Message:
        """Make a turn whose images come before its text."""
        return Message(role, (*(Part("image", image=i) for i in images), Part("text", text=text)))

    @property
    def text(self) -> str:
        """All text of the turn."""
        return "".join(part.text for part in self.content if part.type == "text")


@dataclass(frozen=True)
class Targets:
    """What is true of a sample: the answer of a question, or all facts of a scene."""

    answer: str | None = None
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    masks: tuple[Mask, ...] = ()
    numbers: tuple[Number, ...] = ()
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One row of data: a scene with its facts (task `facts`, no messages) or one instruction made from it."""

    id: str
    images: tuple[Image, ...]
    task: str
    source: str
    licence: str
    scene_id: str
    messages: tuple[Message, ...] = ()
    targets: Targets = field(default_factory=Targets)
    split: str = "train"
    footprint: tuple[float, float, float, float] | None = None  # lon/lat west, south, east, north
    score: float | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """How an answer came about; enough to ask again and to cite."""

    model: str
    weights_sha256: str = ""
    image_sha256: str = ""
    prompt: str = ""
    composite: str = ""
    sensor: str = ""
    crs: str | None = None
    size_px: tuple[int, int] | None = None
    sent_size_px: tuple[int, int] | None = None
    tile: tuple[int, int, int, int] | None = None
    time: str = ""
    version: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Answer:
    """Text with its evidence. Boxes and masks are in the frame they carry, `pixel` unless said otherwise."""

    text: str
    provenance: Provenance
    boxes: tuple[Box, ...] = ()
    masks: tuple[Mask, ...] = ()
    numbers: tuple[Number, ...] = ()
    confidence: float | None = None  # mean probability per token, 0 to 1
    options: dict[str, float] = field(default_factory=dict)  # probability of each choice, where asked

    def to_dict(self) -> dict[str, Any]:
        """The object printed by `lhrs-chat ask --json`."""
        return asdict(self)
