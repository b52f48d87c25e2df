"""Evidence in words, for people: what a terminal and a web page write below an answer."""

from __future__ import annotations

from lhrs_chat.evidence import area_text
from lhrs_chat.geo import frames
from lhrs_chat.schema import Answer, Box, Image, Number

Entry = tuple[str, str]  # what it is, and the words for it


def evidence(answer: Answer, image: Image) -> list[Entry]:
    """Tell the regions, numbers and confidence of an answer about `image`."""
    on_map = " and outlined on the map" if image.georef is not None else ""
    found = [("box", _box(box, image)) for box in answer.boxes]
    found += [("region", f"{mask.label or 'found'}, drawn in the overlay{on_map}") for mask in answer.masks]
    about = dict.fromkeys((number.label, number.evidence) for number in answer.numbers)
    found += [("number", _numbers([n for n in answer.numbers if (n.label, n.evidence) == key])) for key in about]
    if answer.options:
        found.append(("options", ", ".join(f"{name} {100 * p:.0f} %" for name, p in answer.options.items())))
    if answer.confidence is not None:
        found.append(("confidence", f"{answer.confidence:.2f} (mean probability of the words)"))
    return found


def source(answer: Answer) -> list[Entry]:
    """Tell what the model saw, and which model it was."""
    origin = answer.provenance
    found = [("image", origin.composite)]
    if origin.size_px is not None and origin.sent_size_px is not None:
        found.append(("size", f"{size(origin.size_px)} pixels, sent to the model as {size(origin.sent_size_px)}"))
    return [*found, ("model", f"{origin.model}, {origin.seconds:.1f} s")]


def picture(image: Image) -> str:
    """Tell the size, pixel size and CRS of an image."""
    words = f"{size(image.size_px)} pixels" if image.size_px is not None else "size not known"
    if image.gsd_m is not None:
        words += f" of {image.gsd_m:.3g} m"
    return words + (f", {crs(image.georef.crs)}" if image.georef is not None else ", not georeferenced")


def place(box: Box, image: Image) -> str:
    """Tell where a box lies on the map; empty for an image without georeference."""
    if image.georef is None or image.size_px is None:
        return ""
    x1, y1, x2, y2 = frames.convert(box, "map", size_px=image.size_px, georef=image.georef).xyxy
    digits = 5 if abs(image.georef.transform[0]) < 0.01 else 1
    return f"{crs(image.georef.crs)}: {x1:.{digits}f}, {y1:.{digits}f} to {x2:.{digits}f}, {y2:.{digits}f}"


def amount(number: Number) -> str:
    """Write a number with its unit; an area in the unit that reads best."""
    if number.unit == "m2":
        return area_text(number.value)
    return f"{number.value:,.1f}".removesuffix(".0") + (f" {number.unit}" if number.unit else "")


def size(size_px: tuple[int, int]) -> str:
    """Write a size, width first."""
    return f"{size_px[0]} x {size_px[1]}"


def crs(name: str) -> str:
    """Write a CRS; one without authority code has no short name."""
    return name if len(name) <= 20 else "CRS of the scene"


def _numbers(numbers: list[Number]) -> str:
    """Tell the amounts of one thing, and where they come from."""
    origin = "measured in the pixels" if numbers[0].evidence == "computed" else "said by the model"
    label = f" {numbers[0].label}" if numbers[0].label else ""
    return " = ".join(amount(number) for number in numbers) + f"{label}, {origin}"


def _box(box: Box, image: Image) -> str:
    x1, y1, x2, y2 = box.xyxy
    text = f"{box.label or 'region'}: x {x1:.0f} to {x2:.0f}, y {y1:.0f} to {y2:.0f} pixels"
    if box.score is not None:
        text += f", score {box.score:.2f}"
    on_map = place(box, image)
    return f"{text}\n{on_map}" if on_map else text
