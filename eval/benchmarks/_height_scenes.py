"""Synthetic scenes with exact heights: flat roofs and round trees on a tilted plane, seen from above.

Truth is computed from the arrays that are written, by the rules that stand in each function; nothing is estimated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from lhrs_chat.schema import Mask
from lhrs_chat.text.run_lengths import to_coco

SIZE_PX = 96
GSD_M = 1.0
STEP_M = 0.25  # metres of one grey level in the height pictures
CLASSES = ("ground", "building", "tree")
COLOURS = np.array([[150, 140, 110], [190, 80, 70], [50, 110, 50]], dtype=np.float64)
LICENCE = "CC0-1.0"
LETTERS = "ABC"


@dataclass(frozen=True)
class Scene:
    """Arrays of one scene.

    Args:
        ndsm_m: (H, W), height above ground, a whole number of steps.
        dem_m: (H, W), the ground, a plane.
        cover: (H, W), index into `CLASSES`.
        things: class, mask (H, W) and height of each building and tree.
        slope_deg: angle of the plane.
    """

    ndsm_m: np.ndarray
    dem_m: np.ndarray
    cover: np.ndarray
    things: tuple[tuple[str, np.ndarray, float], ...]
    slope_deg: float


def make_scene(generator: np.random.Generator) -> Scene:
    """One building or tree in each cell of a 3 x 3 grid, some cells empty, all heights different."""
    side = SIZE_PX // 3
    rows, columns = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
    heights = generator.permutation(np.arange(12, 120, 6))[:9] * STEP_M
    ndsm, cover, things = np.zeros((SIZE_PX, SIZE_PX)), np.zeros((SIZE_PX, SIZE_PX), dtype=np.int64), []
    kinds = generator.permutation([1, 1, 1, 1, 2, 2, 2, 0, 0])
    for cell, (kind, height) in enumerate(zip(kinds, heights, strict=True)):
        if kind == 0:
            continue
        top, left = (cell // 3) * side, (cell % 3) * side
        y, x = (int(corner + side // 2 + generator.integers(-3, 4)) for corner in (top, left))
        half = int(generator.integers(6, 12))
        if kind == 1:
            wide = int(generator.integers(6, 12))
            mask = (abs(rows - y) <= half) & (abs(columns - x) <= wide)
        else:
            mask = (rows - y) ** 2 + (columns - x) ** 2 <= half**2
        ndsm[mask], cover[mask] = height, kind
        things.append((CLASSES[kind], mask, float(height)))
    rise = int(generator.integers(1, 5)) * STEP_M  # metres a pixel, along x
    return Scene(ndsm, columns * rise, cover, tuple(things), float(np.degrees(np.arctan(rise / GSD_M))))


def questions(scene: Scene, generator: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Questions of eight tasks about one scene, as neutral rows without picture and id."""
    kind, mask, height = scene.things[int(generator.integers(len(scene.things)))]
    y, x = (int(np.median(axis)) for axis in np.nonzero(mask))
    point = {"point": [x / SIZE_PX, y / SIZE_PX]}
    spot = f"at {100 * x / SIZE_PX:.0f} % from the left and {100 * y / SIZE_PX:.0f} % from the top"
    yield {
        **{"level": "pixel", "task": "elevation_retrieval", "query_region": point},
        "question": f"How high above ground is the surface {spot}? Answer in metres.",
        "answer": {"type": "number", "value": height, "unit": "m"},
        "tolerance": {"abs": 1.0},
    }
    yield {
        **{"level": "pixel", "task": "pixel_info", "query_region": point},
        "question": f"What is the surface {spot}?",
        "options": list(CLASSES),
        "answer": {"type": "choice", "value": kind},
    }
    chosen = generator.permutation(len(scene.things))[:3]
    places = [tuple(round(100 * float(np.median(a)) / SIZE_PX) for a in np.nonzero(scene.things[i][1])) for i in chosen]
    named = "; ".join(f"{letter} at ({px} %, {py} %)" for letter, (py, px) in zip(LETTERS, places, strict=True))
    order = sorted(LETTERS, key=lambda letter: -scene.things[chosen[LETTERS.index(letter)]][2])
    yield {
        **{"level": "object", "task": "height_ranking"},
        "question": f"Order these from the highest to the lowest: {named}. Answer with the letters.",
        "options": list(LETTERS),
        "answer": {"type": "ranking", "order": order},
    }
    tallest = max((thing for thing in scene.things if thing[0] == "building"), key=lambda thing: thing[2])
    yield _masked("object", "instance_extraction", "Mark the highest building.", tallest[1])
    limit = float(np.median([thing[2] for thing in scene.things]))
    above = scene.ndsm_m > limit
    row = _masked("scene", "threshold_segmentation", f"Mark all that is higher than {limit:g} m above ground.", above)
    row["question"] += " Say also which share of the picture it is, in per cent."
    row["answer"] |= {"type": "mask_and_number", "value": 100.0 * float(above.mean()), "unit": "%"}
    yield {**row, "tolerance": {"abs": 2.0}}
    yield _masked("scene", "class_segmentation", "Mark all buildings.", scene.cover == 1)
    yield {
        **{"suite": "plus", "level": "scene", "task": "slope_info"},
        "question": "How steep is the ground? Answer in degrees.",
        "answer": {"type": "number", "value": scene.slope_deg, "unit": "deg"},
        "tolerance": {"abs": 2.0},
    }
    level = float(generator.integers(2, 8)) / 10 * float(scene.dem_m.max())
    flooded = scene.dem_m + scene.ndsm_m < level  # the low side touches the edge, so that all of it fills
    yield {
        **{"suite": "plus", "level": "reasoning", "task": "flooding_inference"},
        "question": f"Water rises to {level:.1f} m. Which share of the picture is under water, in per cent?",
        "answer": {"type": "number", "value": 100.0 * float(flooded.mean()), "unit": "%"},
        "tolerance": {"abs": 5.0},
    }


def _masked(level: str, task: str, question: str, mask: np.ndarray) -> dict[str, Any]:
    answer = {"type": "mask", "mask_rle": to_coco(Mask.from_array(mask))}
    return {"level": level, "task": task, "question": question, "answer": answer}


def write(folder: Path, scenes: int, seed: int) -> Path:
    """Write a suite: `neutral.jsonl` and its pictures; return the folder. The same seed gives the same bytes.

    Args:
        folder: made where missing.
        scenes: how many.
        seed: of all that is random.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(scenes):
        generator = np.random.default_rng([seed, number])
        scene = make_scene(generator)
        light = COLOURS[scene.cover] + generator.normal(0, 8, (SIZE_PX, SIZE_PX, 1))
        name = f"images/scene_{number:03d}"
        _save(folder / f"{name}.png", np.clip(light, 0, 255))
        _save(folder / f"{name}_ndsm.png", scene.ndsm_m / STEP_M)
        _save(folder / f"{name}_dem.png", scene.dem_m / float(scene.dem_m.max()) * 255)
        scales = {"nDSM": ("ndsm", STEP_M), "DEM": ("dem", float(scene.dem_m.max()) / 255)}
        heights = [
            {"path": f"{name}_{file}.png", "kind": kind, "unit": "m", "scale": scale, "gsd_m": GSD_M}
            for kind, (file, scale) in scales.items()
        ]
        for place, row in enumerate(questions(scene, generator)):
            picked = [height for height in heights if height["kind"] == "nDSM" or row.get("suite") == "plus"]
            whole = {"suite": "bench", **row, "id": f"{number:03d}-{place}", "image": f"{name}.png", "height": picked}
            lines.append(json.dumps({**whole, "scene_id": f"synthetic/{number:03d}", "licence": LICENCE}) + "\n")
    (folder / "neutral.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _save(path: Path, pixels: np.ndarray) -> None:
    PIL.Image.fromarray(pixels.round().astype(np.uint8)).save(path)
