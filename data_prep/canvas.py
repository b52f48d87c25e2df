"""The canvas a procedural scene is drawn on: ground colours, a cover for each pixel, things with height and shadow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

COVERS = (
    "water",
    "forest",
    "field",
    "bare soil",
    "grass",
    "sand",
    "road",
    "pavement",
    "building",
    "built-up area",
)
THINGS = ("building", "ship", "airplane", "storage tank", "car")
CODE = {cover: code for code, cover in enumerate(COVERS)}
SUPERSAMPLING = 2
NO_COVER = 255  # the code of a pixel whose cover is not told

Colour = tuple[float, float, float]  # red, green, blue, 0 to 1
Polygon = list[tuple[float, float]]  # x, y in pixels of the picture


def rectangle(x: float, y: float, length: float, width: float, angle: float) -> Polygon:
    """Four corners of a rectangle about (x, y), its length along `angle` (radians)."""
    c, s = math.cos(angle), math.sin(angle)
    a, b = length / 2, width / 2
    return [(x + u * c - v * s, y + u * s + v * c) for u, v in ((-a, -b), (a, -b), (a, b), (-a, b))]


def placed(shape: Sequence[tuple[float, float]], x: float, y: float, scale: float, angle: float) -> Polygon:
    """Scale, turn and move a shape given about its own origin."""
    c, s = math.cos(angle) * scale, math.sin(angle) * scale
    return [(x + u * c - v * s, y + u * s + v * c) for u, v in shape]


def disk(x: float, y: float, radius: float, corners: int = 20) -> Polygon:
    """A regular polygon close to a circle."""
    step = 2 * math.pi / corners
    return [(x + radius * math.cos(i * step), y + radius * math.sin(i * step)) for i in range(corners)]


def crown_of(x: float, y: float, radius: float) -> Polygon:
    """Outline of the crown of a single tree."""
    return disk(x, y, radius, 9)


def swept(shape: Polygon, dx: float, dy: float) -> Polygon:
    """Convex hull of a convex shape and its copy moved by (dx, dy): the shadow of a prism (monotone chain)."""
    points = sorted({*shape, *((x + dx, y + dy) for x, y in shape)})

    def half(ordered: list[tuple[float, float]]) -> Polygon:
        chain: Polygon = []
        for p in ordered:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], p) <= 0:
                chain.pop()
            chain.append(p)
        return chain[:-1]

    return half(points) + half(points[::-1])


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@lru_cache(maxsize=4)
def _grid(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each pixel, (H, W) float32 each; shared by all canvases of one size, so not to be changed."""
    rows, columns = np.mgrid[0:size_px, 0:size_px].astype(np.float32)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def planes(colours: np.ndarray) -> np.ndarray:
    """`colours`: (3, H, W), seen as (H, W, 3). With a plane for each channel arithmetic is several times faster."""
    return colours.transpose(1, 2, 0)


@dataclass(frozen=True)
class Sun:
    """Where the light comes from: `azimuth` in radians in the image plane, `elevation` above the ground."""

    azimuth: float
    elevation: float

    @property
    def towards(self) -> tuple[float, float]:
        """Unit vector in the image that points to the sun."""
        return math.cos(self.azimuth), math.sin(self.azimuth)

    def shadow_px(self, height_m: float, gsd_m: float) -> tuple[float, float]:
        """Offset in pixels of the shadow's tip: height / tan(elevation), away from the sun."""
        length = height_m / math.tan(self.elevation) / gsd_m
        return -length * math.cos(self.azimuth), -length * math.sin(self.azimuth)


@dataclass
class Thing:
    """One object on the canvas; `bounds` is the window its footprint can lie in."""

    label: str
    height_m: float
    bounds: tuple[int, int, int, int]
    area_px: float


@dataclass(frozen=True)
class Tree:
    """A single tree: centre and radius of its crown in pixels."""

    x: float
    y: float
    radius: float
    height_m: float


@dataclass(frozen=True)
class Stand:
    """Closed forest as it was painted: where (None is everywhere), its lit canopy (H, W), the width of its crowns."""

    where: np.ndarray | None
    canopy: np.ndarray
    crown_m: float


@dataclass
class Canvas:
    """A square scene while it is drawn. Lengths are in pixels unless their name says metres."""

    rng: np.random.Generator
    size_px: int
    gsd_m: float
    sun: Sun
    things: list[Thing] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    stands: list[Stand] = field(default_factory=list)
    tree_px: float = 0.0

    def __post_init__(self) -> None:
        side = self.size_px * SUPERSAMPLING
        self.rgb: np.ndarray = planes(np.zeros((3, self.size_px, self.size_px), dtype=np.float32))
        self.cover: np.ndarray = np.zeros((self.size_px, self.size_px), dtype=np.uint8)
        self.shadow: np.ndarray = np.zeros((self.size_px, self.size_px), dtype=np.float32)
        self.solid: np.ndarray = np.zeros((self.size_px, self.size_px), dtype=np.float32)
        self.ids: np.ndarray = np.zeros((self.size_px, self.size_px), dtype=np.int32)
        self._ground = Image.new("RGBA", (side, side))
        self._ground_cover = Image.new("L", (side, side), NO_COVER)
        self._objects = Image.new("RGBA", (side, side))
        self._shadows = Image.new("L", (side, side))
        self._id_image = Image.new("I", (side, side))
        self._take_pens()
        self.y, self.x = _grid(self.size_px)

    def _take_pens(self) -> None:
        self._ground_pen = ImageDraw.Draw(self._ground)
        self._ground_cover_pen = ImageDraw.Draw(self._ground_cover)
        self._object_pen = ImageDraw.Draw(self._objects)
        self._shadow_pen = ImageDraw.Draw(self._shadows)
        self._id_pen = ImageDraw.Draw(self._id_image)

    def copy(self, rng: np.random.Generator) -> Canvas:
        """A canvas with the same drawing, to go on from with another generator."""
        other = Canvas(rng, self.size_px, self.gsd_m, self.sun, [*self.things], [*self.trees], [*self.stands])
        other.tree_px = self.tree_px
        for name in (
            "cover",
            "shadow",
            "solid",
            "ids",
            "_ground",
            "_ground_cover",
            "_objects",
            "_shadows",
            "_id_image",
        ):
            setattr(other, name, getattr(self, name).copy())
        other.rgb[:] = self.rgb
        other._take_pens()
        return other

    def px(self, metres: float) -> float:
        """Metres on the ground as pixels."""
        return metres / self.gsd_m

    # -- ground ---------------------------------------------------------------------------------------------------

    def fill(self, cover: str, colours: np.ndarray, where: np.ndarray | None = None) -> None:
        """Paint an area.

        Args:
            cover: what it is; one of COVERS.
            colours: (H, W, 3).
            where: (H, W), 0 to 1; soft edges are allowed, the cover changes at 0.5. None paints everything.
        """
        if where is None:
            self.rgb[:] = colours
            self.cover[:] = CODE[cover]
            return
        weight = where.astype(np.float32)
        self.rgb += weight[..., None] * (colours - self.rgb)
        self.cover[weight > 0.5] = CODE[cover]

    def pave(self, cover: str | None, shape: Polygon, colour: Colour) -> None:
        """Draw a flat polygon on the ground; `cover` None leaves the cover as it is (markings)."""
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in shape]
        self._ground_pen.polygon(scaled, fill=_rgba(colour))
        if cover is not None:
            self._ground_cover_pen.polygon(scaled, fill=CODE[cover])

    def stroke(self, cover: str | None, points: Polygon, width: float, colour: Colour) -> None:
        """Draw a line of constant width on the ground."""
        scaled = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        width_ss = max(1, round(width * SUPERSAMPLING))
        self._ground_pen.line(scaled, fill=_rgba(colour), width=width_ss, joint="curve")
        if cover is not None:
            self._ground_cover_pen.line(scaled, fill=CODE[cover], width=width_ss, joint="curve")

    def settle(
        self, texture: np.ndarray | None = None, strength: float = 0.05, only: str = "", spare: str = ""
    ) -> None:
        """Merge what was paved and stroked into the ground.

        Args:
            texture: (H, W), grain of what was drawn.
            strength: how much of it.
            only: what was drawn shows on this cover alone (wakes stay on the water).
            spare: this cover hides what was drawn.
        """
        box = _whole_pixels(self._ground)
        if box is None:
            return
        window, layer = _reduced(self._ground, box)
        drawn = np.asarray(self._ground_cover.crop(box))[1::SUPERSAMPLING, 1::SUPERSAMPLING]
        rgb, cover = self.rgb[window], self.cover[window]
        alpha, colours = layer[..., 3:], layer[..., :3]
        shown = drawn != NO_COVER
        if only or spare:
            allowed = cover == CODE[only] if only else cover != CODE[spare]
            alpha, shown = alpha * allowed[..., None], shown & allowed
        if texture is not None:
            colours = colours * (1 + strength * texture[window])[..., None]
        rgb += alpha * (colours - rgb)
        cover[shown] = drawn[shown]
        self._ground.paste((0, 0, 0, 0), box)
        self._ground_cover.paste(NO_COVER, box)

    # -- things ---------------------------------------------------------------------------------------------------

    def free(self, shape: Polygon, covers: tuple[str, ...] | None = None, inside: float = 0.6) -> bool:
        """Whether a convex shape has no thing below it, lies on `covers` and is mostly inside the picture."""
        cx = sum(x for x, _ in shape) / len(shape)
        cy = sum(y for _, y in shape) / len(shape)
        hits = total = 0
        codes = None if covers is None else [CODE[c] for c in covers]
        corners = [*shape, *(((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(shape))]
        for reach in (0.0, 0.55, 1.08):
            for x, y in corners if reach else ((cx, cy),):
                total += 1
                col, row = int(cx + reach * (x - cx)), int(cy + reach * (y - cy))
                if not (0 <= col < self.size_px and 0 <= row < self.size_px):
                    continue
                hits += 1
                if codes is not None and self.cover[row, col] not in codes:
                    return False
                if self._id_image.getpixel((col * SUPERSAMPLING, row * SUPERSAMPLING)) != 0:
                    return False
        return hits >= inside * total

    def shade(self, shape: Polygon, height_m: float, convex: bool = True) -> None:
        """Cast the shadow of a shape that stands `height_m` high (convex) or hovers there."""
        dx, dy = self.sun.shadow_px(height_m, self.gsd_m)
        outline = swept(shape, dx, dy) if convex else [(x + dx, y + dy) for x, y in shape]
        self._shadow_pen.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in outline], fill=255)

    def put(
        self, label: str, parts: Sequence[tuple[Polygon, Colour]], outline: Sequence[Polygon], height_m: float
    ) -> None:
        """Add a thing: coloured parts drawn in order; `outline` polygons make its footprint (they hold all parts)."""
        self.things.append(Thing(label, height_m, _bounds(outline, self.size_px), sum(_area(p) for p in outline)))
        for shape in outline:
            self._id_pen.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in shape], fill=len(self.things))
        self.draw(parts)

    def draw(self, parts: Sequence[tuple[Polygon, Colour]]) -> None:
        """Draw parts on the layer of things."""
        for shape, colour in parts:
            self._object_pen.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in shape], fill=_rgba(colour))

    def tree(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Add a single tree: it stands on its cover and is no thing of its own, but hides what is below."""
        height_m = max(2.0, radius * self.gsd_m * 1.6)
        crown = crown_of(x, y, radius)
        self.shade(disk(x, y, radius * 0.9, 8), height_m * 0.8)
        self._id_pen.polygon([(a * SUPERSAMPLING, b * SUPERSAMPLING) for a, b in crown], fill=0)
        sx, sy = self.sun.towards
        lit = disk(x + sx * radius * 0.25, y + sy * radius * 0.25, radius * 0.6, 7)
        bright = (colour[0] * 1.35, colour[1] * 1.35, colour[2] * 1.3)
        self.draw(((crown, colour), (lit, bright)))
        self.trees.append(Tree(x, y, radius, height_m))
        if 0 <= x < self.size_px and 0 <= y < self.size_px:
            self.tree_px += math.pi * radius * radius

    def finish(self, texture: np.ndarray, strength: float = 0.05, darkness: float = 0.6) -> None:
        """Merge shadows and things into the picture and set the cover of buildings."""
        if self._shadows.getbbox() is not None:
            self.shadow = np.asarray(self._shadows.reduce(SUPERSAMPLING), dtype=np.float32) / 255
            tint = np.array([1.0, 0.97, 0.88], dtype=np.float32) * darkness
            self.rgb *= 1 - self.shadow[..., None] * tint
        box = _whole_pixels(self._objects)
        if box is not None:
            window, layer = _reduced(self._objects, box)
            self.solid[window] = layer[..., 3]
            rgb, colours = self.rgb[window], layer[..., :3] * (1 + strength * texture[window])[..., None]
            rgb += layer[..., 3:] * (colours - rgb)
        if self.things:
            self.ids = np.asarray(self._id_image)[1::SUPERSAMPLING, 1::SUPERSAMPLING]
            is_building = np.array([False, *(thing.label == "building" for thing in self.things)])
            self.cover[is_building[self.ids]] = CODE["building"]
        np.clip(self.rgb, 0, 1, out=self.rgb)

    def visible(self, index: int) -> tuple[tuple[float, float, float, float] | None, int]:
        """Tight box (x1, y1, x2, y2) of the visible pixels of a thing, and how many they are."""
        left, top, right, bottom = self.things[index].bounds
        mask = self.ids[top:bottom, left:right] == index + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if rows.size == 0:
            return None, 0
        box = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
        return (float(box[0]), float(box[1]), float(box[2]), float(box[3])), int(mask.sum())


def _whole_pixels(drawn: Image.Image) -> tuple[int, int, int, int] | None:
    """Box of what was drawn on a layer, in its own pixels and grown to whole pixels of the picture."""
    box = drawn.getbbox()
    if box is None:
        return None
    step = SUPERSAMPLING
    return box[0] // step * step, box[1] // step * step, -(-box[2] // step) * step, -(-box[3] // step) * step


def _reduced(drawn: Image.Image, box: tuple[int, int, int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Window of the picture below `box`, and the layer there: (h, w, 4), 0 to 1."""
    left, top, right, bottom = (side // SUPERSAMPLING for side in box)
    layer = np.asarray(drawn.reduce(SUPERSAMPLING, box)).transpose(2, 0, 1).astype(np.float32, order="C") / 255
    return (slice(top, bottom), slice(left, right)), planes(layer)


def _rgba(colour: Colour) -> tuple[int, int, int, int]:
    red, green, blue = (min(255, max(0, round(255 * value))) for value in colour)
    return red, green, blue, 255


def _area(shape: Polygon) -> float:
    pairs = zip(shape, [*shape[1:], shape[0]], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs)) / 2


def _bounds(shapes: Sequence[Polygon], size_px: int) -> tuple[int, int, int, int]:
    xs = [x for shape in shapes for x, _ in shape]
    ys = [y for shape in shapes for _, y in shape]
    low = (max(0, math.floor(min(xs)) - 2), max(0, math.floor(min(ys)) - 2))
    high = (min(size_px, math.ceil(max(xs)) + 2), min(size_px, math.ceil(max(ys)) + 2))
    return low[0], low[1], max(low[0], high[0]), max(low[1], high[1])
