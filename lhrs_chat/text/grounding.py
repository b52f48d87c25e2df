"""Boxes in a model's words: every known way to write one, as a table. The frame of the numbers belongs to the way.

Parsing forgives spaces, missing decimals and lost closing marks, but never repairs numbers: a box that is inverted,
empty, not finite, out of its frame or not made of four numbers is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lhrs_chat.errors import ConfigError
from lhrs_chat.geo.frames import RELATIVE, Placement, clip, convert
from lhrs_chat.plugins import nearest
from lhrs_chat.schema import XYXY, Box, Frame

_S = r"\s{0,3}"  # spaces that are forgiven; bounded, so that a long blank run costs no time
_NUM = r"(?:[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?|[-+]?(?:nan|inf))"
_NEXT = rf"(?:{_S}[,;]{_S}|\s{{1,3}}){_NUM}"
_ROW = rf"{_NUM}(?:{_NEXT}){{3,}}{_S},?"  # four numbers or more
_CUT_ROW = rf"{_NUM}(?:{_NEXT})*{_S},?"  # a row that the end of the text cut
_FLAGS = re.ASCII | re.IGNORECASE | re.DOTALL


@dataclass(frozen=True)
class Dialect:
    """One way to write boxes.

    Args:
        name: its key in `DIALECTS`.
        frame: what the numbers count in.
        used_by: models that speak it.
        write: a box of this frame, width / height of the image -> text. Only turned boxes look at the latter.
        write_all: the same for several boxes.
        markup: finds all that is markup, cut markup at the end of the text included.
        read: one piece of markup, width / height of the image -> its valid boxes.
    """

    name: str
    frame: Frame
    used_by: str
    write: Callable[[Box, float], str]
    write_all: Callable[[Sequence[Box], float], str]
    markup: re.Pattern[str]
    read: Callable[[str, float], list[Box]]

    def parse(self, text: str, aspect: float = 1.0) -> list[Box]:
        """Return the valid boxes of `text`, in this dialect's frame. `aspect`: width / height of the image."""
        return [box for match in self.markup.finditer(text) for box in self.read(match[0], aspect)]


def parse(text: str, dialect: str, size_px: tuple[int, int] | None = None) -> list[Box]:
    """Read the boxes of a model's text, in the frame of its dialect.

    Args:
        text: what the model said.
        dialect: a name of `DIALECTS`.
        size_px: (width, height) of the image; only turned boxes need it, they are turned in pixels. Left out, the image
            counts as square.

    Raises:
        ConfigError: the dialect is not known.
    """
    aspect = 1.0 if size_px is None else size_px[0] / size_px[1]
    return get(dialect).parse(text, aspect)


def write(box: Box, dialect: str, size_px: tuple[int, int], placement: Placement | None = None) -> str:
    """Write one box the way a dialect does, rounded to its step but never to nothing.

    Args:
        box: in any frame of the image.
        dialect: a name of `DIALECTS`.
        size_px: (width, height) of the original image.
        placement: what was done to the image; dialects that count in the pixels of the sent picture need it.

    Raises:
        ConfigError: the dialect is not known.
        GeoError: the box cannot be brought into the dialect's frame.
    """
    spoken = get(dialect)
    return spoken.write(_prepare(box, spoken, size_px, placement), size_px[0] / size_px[1])


def write_all(boxes: Sequence[Box], dialect: str, size_px: tuple[int, int], placement: Placement | None = None) -> str:
    """Write several boxes as one answer; arguments and errors as in `write`."""
    spoken = get(dialect)
    ready = [_prepare(box, spoken, size_px, placement) for box in boxes]
    return spoken.write_all(ready, size_px[0] / size_px[1])


def strip(text: str, dialect: str) -> str:
    """Return `text` without its box markup; words that the markup names (a phrase, a label) stay.

    Raises:
        ConfigError: the dialect is not known.
    """
    spoken = get(dialect)
    plain = spoken.markup.sub(lambda match: f" {_words(match[0])} ", text)
    plain = re.sub(r"</?p>|</?ref>|<\|object_ref_(?:start|end)\|>|<delim>", "", plain)
    plain = re.sub(r"[ \t]+", " ", plain)
    return re.sub(r" (?=[)\]]|[.,;:!?](?:\s|$)|$)", "", plain, flags=re.MULTILINE).strip()


def get(name: str) -> Dialect:
    """Return the dialect of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in DIALECTS:
        raise ConfigError(
            "unknown box dialect", found=name, allowed=", ".join(DIALECTS), next_step=nearest(name, list(DIALECTS))
        )
    return DIALECTS[name]


def _prepare(box: Box, dialect: Dialect, size_px: tuple[int, int], placement: Placement | None) -> Box:
    moved = convert(box, dialect.frame, size_px=size_px, placement=placement)
    if dialect is DIALECTS["angles100_turned"] and moved.points is not None:
        return moved
    moved = replace(moved, points=None)
    return moved if moved.frame == "model" else clip(moved, size_px)


def _words(markup: str) -> str:
    """The words inside one piece of markup."""
    named = re.findall(r"<(?:p|ref)>(.*?)</(?:p|ref)>|object_ref_start\|>(.*?)<\|object_ref_end", markup, _FLAGS)
    found = [a or b for a, b in named] or [_label_of(obj) for obj in _OBJECT.findall(markup)]
    return ", ".join(word.strip() for word in found if word.strip())


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(_NUM, text, _FLAGS)]


def _box(
    numbers: Sequence[float], frame: Frame, label: str = "", angle: float = 0.0, aspect: float = 1.0
) -> Box | None:
    """Make a box, or None where the numbers are none. `angle`: degrees, clockwise as seen.

    A turned box may stick out of the image before it is turned, so only its centre is held to the frame.
    """
    if len(numbers) != 4 or not all(math.isfinite(n) for n in (*numbers, angle)):
        return None
    x1, y1, x2, y2 = numbers
    if x1 >= x2 or y1 >= y2:
        return None
    turned = angle % 180 != 0
    lowest, highest = (
        (min(x1, y1), max(x2, y2)) if not turned else (min(x1 + x2, y1 + y2) / 2, max(x1 + x2, y1 + y2) / 2)
    )
    if frame in RELATIVE and (lowest < 0 or highest > RELATIVE[frame]):
        return None
    if not turned:
        return Box((x1, y1, x2, y2), frame, label)
    return Box.oriented(_corners((x1, y1, x2, y2), angle, aspect), frame, label)


def _corners(xyxy: Sequence[float], angle: float, aspect: float) -> tuple[tuple[float, float], ...]:
    """Turn an upright box about its centre, in units that are as long in x as in y."""
    x1, y1, x2, y2 = xyxy
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2 * aspect, (y2 - y1) / 2
    around = ((-w, -h), (w, -h), (w, h), (-w, h))
    return tuple((cx + (cos * dx - sin * dy) / aspect, cy + sin * dx + cos * dy) for dx, dy in around)


def _steps(xyxy: Sequence[float], step: float, top: float | None) -> list[float]:
    """Round four numbers to `step`, kept inside the frame and never an empty side."""
    last = None if top is None else round(top / step)
    rounded = [round(value / step) for value in xyxy]
    if last is not None:
        rounded = [min(max(value, 0), last) for value in rounded]
    for low, high in ((0, 2), (1, 3)):
        if rounded[low] == rounded[high]:
            centre = math.floor((xyxy[low] + xyxy[high]) / 2 / step)
            rounded[low] = centre if last is None else min(max(centre, 0), last - 1)
            rounded[high] = rounded[low] + 1
    return [value * step for value in rounded]


def _digits(step: float) -> int:
    return max(0, round(-math.log10(step)))


def _figures(box: Box, step: float) -> list[str]:
    return [f"{value:.{_digits(step)}f}" for value in _steps(box.xyxy, step, RELATIVE.get(box.frame))]


def _phrase(label: str) -> str:
    """The label without the marks that would end it."""
    return re.sub(r"[<>]", "", label).strip()


def _by_label(boxes: Sequence[Box]) -> list[tuple[str, list[Box]]]:
    """Boxes of one label together, in the order labels come in; no label first, else it would read as the last."""
    labels = sorted(dict.fromkeys(_phrase(box.label) for box in boxes), key=bool)
    return [(label, [box for box in boxes if _phrase(box.label) == label]) for label in labels]


def _brackets(name: str, frame: Frame, step: float, used_by: str, comma: str = ", ") -> Dialect:
    """`[x1, y1, x2, y2]`; several are joined by `, `. A row that the text's end cuts is markup, but no box."""
    one = rf"\[{_S}{_ROW}{_S}\]"
    markup = rf"\[{_S}{one}(?:{_S},?{_S}{one})*{_S}\]|{one}(?:{_S},?{_S}{one})*|\[?\[{_S}(?:{_CUT_ROW}{_S})?$"

    def write_one(box: Box, aspect: float) -> str:
        return f"[{comma.join(_figures(box, step))}]"

    def write_many(boxes: Sequence[Box], aspect: float) -> str:
        return ", ".join(write_one(box, aspect) for box in boxes)

    def read(text: str, aspect: float) -> list[Box]:
        rows = re.findall(r"\[([^\[\]]*)\]", text)
        return [box for row in rows if (box := _box(_numbers(row), frame))]

    return Dialect(name, frame, used_by, write_one, write_many, re.compile(markup, _FLAGS), read)


def _tagged(
    name: str,
    frame: Frame,
    step: float,
    used_by: str,
    *,
    tags: tuple[str, str],
    phrase: tuple[str, str] | None = ("<ref>", "</ref>"),
    row: str = "[{},{},{},{}]",
    rows: str = "",
) -> Dialect:
    """A row of numbers between two tags, its phrase in tags of its own before it.

    `row` shapes one box; `rows` shapes several within one pair of tags (left out: each box has its own tags). A model
    without `phrase` writes none; one that comes anyway is read.
    """
    end = re.escape(tags[1])
    opening, closing = phrase or ("<ref>", "</ref>")
    before = rf"(?:{re.escape(opening)}(?P<label>[^<]*){re.escape(closing)}{_S})?"
    pattern = re.compile(rf"{before}{re.escape(tags[0])}(?P<body>[-+.,;\s\d\[\]()einfa]*)(?P<end>{end}|$)", _FLAGS)

    def tag(label: str, boxes: Sequence[Box]) -> str:
        inner = ", ".join(row.format(*_figures(box, step)) for box in boxes)
        named = f"{opening}{label}{closing}" if label and phrase else ""
        return f"{named}{tags[0]}{rows.format(inner) if rows else inner}{tags[1]}"

    def write_many(boxes: Sequence[Box], aspect: float) -> str:
        if rows:
            return "".join(tag(label, group) for label, group in _by_label(boxes))
        return "".join(tag(_phrase(box.label), [box]) for box in boxes)

    def read(text: str, aspect: float) -> list[Box]:
        match = pattern.match(text)
        if match is None:
            return []
        found = [_numbers(group) for group in re.findall(r"\[([^\[\]]*)\]", match["body"])]
        pairs = [_numbers(pair) for pair in re.findall(r"\(([^()]*)\)", match["body"])]
        if not found and pairs:
            found = [a + b for a, b in zip(pairs[::2], pairs[1::2], strict=False)]
        elif not found and match["end"]:
            found = [_numbers(match["body"])]
        label = (match["label"] or "").strip()
        return [box for numbers in found if (box := _box(numbers, frame, label))]

    return Dialect(name, frame, used_by, lambda box, aspect: write_many([box], aspect), write_many, pattern, read)


_ANGLED = rf"(?:{_S}<{_S}{_NUM}{_S}>){{4}}(?:{_S}\|?{_S}<{_S}{_NUM}{_S}>)?"
_ANGLED_MARKUP = re.compile(
    rf"(?:<p>(?P<label>[^<]*)</p>{_S})?\{{?{_ANGLED}{_S}\}}?(?:{_S}(?:<delim>)?{_S}\{{?{_ANGLED}{_S}\}}?)*"
    rf"|\{{(?:{_S}<{_S}{_NUM}{_S}>)*{_S}\|?(?:{_S}<{_S}(?:{_NUM})?)?{_S}$",
    _FLAGS,
)


def _angled(name: str, used_by: str, *, turned: bool) -> Dialect:
    """`{<x1><y1><x2><y2>}` or `{<x1><y1><x2><y2>|<angle>}`; boxes of one `<p>phrase</p>` are joined by `<delim>`.

    The angle turns the box about its centre, clockwise as seen, in degrees: the sense in which GeoChat's polygons are
    computed (its demo draws them the other way round).
    """

    def bare(box: Box, aspect: float) -> str:
        xyxy, angle = _unturn(box, aspect) if turned else (box.xyxy, 0)
        steps = _steps(xyxy, 1.0, 100.0 if angle == 0 else None)
        return "{" + "".join(f"<{value:.0f}>" for value in steps) + (f"|<{angle}>" if turned else "") + "}"

    def write_many(boxes: Sequence[Box], aspect: float) -> str:
        rows = [(label, "<delim>".join(bare(box, aspect) for box in group)) for label, group in _by_label(boxes)]
        return " ".join(f"<p>{label}</p> {row}" if label else row for label, row in rows)

    def read(text: str, aspect: float) -> list[Box]:
        match = _ANGLED_MARKUP.match(text)
        label = ((match["label"] if match else None) or "").strip()
        found = []
        for piece in re.finditer(rf"({_ANGLED}){_S}(\}}?)", text, _FLAGS):
            numbers = _numbers(piece[1])
            angle = numbers.pop() if len(numbers) == 5 else None
            if turned and angle is None and not piece[2]:
                continue  # the text's end may have cut the angle
            if turned or angle is None:
                found.append(_box(numbers, "per100", label, angle or 0.0, aspect))
        return [box for box in found if box is not None]

    return Dialect(
        name, "per100", used_by, lambda box, aspect: write_many([box], aspect), write_many, _ANGLED_MARKUP, read
    )


def _unturn(box: Box, aspect: float) -> tuple[XYXY, int]:
    """Return the upright box that, turned about its centre by whole degrees (0 to 179), gives `box`."""
    if box.points is None:
        return box.xyxy, 0
    a, b, c, d = ((x * aspect, y) for x, y in box.points)
    x, y = (a[0] + b[0] + c[0] + d[0]) / 4, (a[1] + b[1] + c[1] + d[1]) / 4
    width = (math.dist(a, b) + math.dist(d, c)) / 2
    height = (math.dist(b, c) + math.dist(a, d)) / 2
    angle = round(math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))) % 180
    ways: list[tuple[XYXY, int]] = [
        (((x - w / 2) / aspect, y - h / 2, (x + w / 2) / aspect, y + h / 2), turn)
        for w, h, turn in ((width, height, angle), (height, width, (angle + 90) % 180))
    ]
    return min(ways, key=lambda way: max(0.0, -min(way[0]), max(way[0]) - 100))


_STRING = r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'"
_OBJECT = re.compile(rf"""\{{(?:[^{{}}"']|{_STRING})*["']bbox(?:_2d)?["'](?:[^{{}}"']|{_STRING})*\}}""", re.DOTALL)
_JSON_MARKUP = re.compile(
    rf"(?:```(?:json)?\s*)?(?:\[\s*)?{_OBJECT.pattern}(?:\s*,?\s*{_OBJECT.pattern})*"
    r"""\s*,?\s*(?:\{[^{}]*$|\])?(?:\s*```)?|(?:```(?:json)?\s*)?(?:\[\s*)?\{\s*["']?(?:bbox|label)[^{}]*$""",
    re.DOTALL,
)


def _label_of(obj: str) -> str:
    match = re.search(rf"""["']label["']\s*:\s*({_STRING})""", obj, re.DOTALL)
    if match is None:
        return ""
    quoted = match[1]
    try:
        return str(json.loads(quoted))
    except json.JSONDecodeError:
        return quoted[1:-1]


def _objects(name: str, frame: Frame, used_by: str) -> Dialect:
    """A JSON list of `{"bbox_2d": [x1, y1, x2, y2], "label": "..."}` in a code fence, or one such object."""

    def obj(box: Box, aspect: float) -> str:
        named = {"label": box.label} if box.label else {}
        row = [round(value) for value in _steps(box.xyxy, 1.0, RELATIVE.get(frame))]
        return json.dumps({"bbox_2d": row, **named}, ensure_ascii=False)

    def write_many(boxes: Sequence[Box], aspect: float) -> str:
        rows = ",\n".join(f"\t{obj(box, aspect)}" for box in boxes)
        return f"```json\n[\n{rows}\n]\n```"

    def read(text: str, aspect: float) -> list[Box]:
        found = []
        for piece in _OBJECT.findall(text):
            row = re.search(r"""["']bbox(?:_2d)?["']\s*:\s*\[([^\[\]]*)\]""", piece)
            if row is not None:
                found.append(_box(_numbers(row[1]), frame, _label_of(piece)))
        return [box for box in found if box is not None]

    return Dialect(name, frame, used_by, obj, write_many, _JSON_MARKUP, read)


_QWEN2 = ("<|box_start|>", "<|box_end|>")
_QWEN2_PHRASE = ("<|object_ref_start|>", "<|object_ref_end|>")

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        _brackets("brackets1", "unit", 0.001, "LHRS-Bot", comma=","),
        _brackets("brackets100", "per100", 1.0, "lhrs-nano"),
        _brackets("brackets1000", "per1000", 1.0, "models asked for 0 to 1000"),
        _brackets("brackets_pixel", "pixel", 1.0, "models asked for pixels of the original image"),
        _tagged("bbox_tag1", "unit", 0.001, "LHRS-Bot-Nova", tags=("<bbox>", "</bbox>"), phrase=None),
        _tagged(
            "box_tag1000",
            "per1000",
            1.0,
            "InternVL",
            tags=("<box>", "</box>"),
            row="[{}, {}, {}, {}]",
            rows="[{}]",
        ),
        _tagged(
            "box_pairs1000",
            "per1000",
            1.0,
            "Qwen-VL",
            tags=("<box>", "</box>"),
            row="({},{}),({},{})",
        ),
        _tagged("box_tokens1000", "per1000", 1.0, "Qwen2-VL", tags=_QWEN2, phrase=_QWEN2_PHRASE, row="({},{}),({},{})"),
        _angled("angles100", "MiniGPT-v2, SkyEyeGPT", turned=False),
        _angled("angles100_turned", "GeoChat", turned=True),
        _objects("json_model", "model", "Qwen2.5-VL: pixels of the picture that was sent"),
        _objects("json1000", "per1000", "Qwen3-VL"),
    )
}
