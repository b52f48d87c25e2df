"""Several stages run by one command; those that are finished are skipped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import yaml

from lhrs_chat.config import load_yaml
from lhrs_chat.errors import ConfigError

from .recipe import Recipe, load_recipe, recipe_file


@dataclass(frozen=True)
class Curriculum:
    """A YAML with the names of recipes, in the order in which they run."""

    stages: tuple[str, ...]
    out: Path | None = None
    """Folder for the folders of all stages; None leaves each where its recipe says."""


def load(name: str, overrides: list[str]) -> list[Recipe]:
    """Read a recipe, or the recipes of a curriculum, by name or by the path of a YAML.

    An override of a curriculum goes to every stage; `STAGE.a.b=c` goes to one, and `out=FOLDER` moves them all.

    Raises:
        ConfigError: there is none, or it holds something that a recipe or curriculum does not have.
    """
    file = recipe_file(name)
    if not _has_stages(file):
        return [load_recipe(name, overrides)]
    ours = [text for text in overrides if text.partition("=")[0] == "out"]
    curriculum = load_yaml(file, Curriculum, ours)
    if not curriculum.stages:
        raise ConfigError("a curriculum has stages", found=f"{file.name}: none")
    made: list[Recipe] = []
    moved: dict[Path, Path] = {}
    for stage in curriculum.stages:
        recipe = load_recipe(_beside(file, stage), _of(stage, curriculum.stages, overrides))
        if curriculum.out is not None:
            moved[recipe.out] = curriculum.out / recipe.out.name
            start = moved.get(recipe.start, recipe.start) if recipe.start is not None else None
            recipe = dataclasses.replace(recipe, out=moved[recipe.out], start=start)
        if recipe.out in {other.out for other in made}:
            raise ConfigError("two stages write to one folder", found=recipe.out, next_step="give each its own out")
        made.append(recipe)
    return made


def _has_stages(file: Path) -> bool:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False  # the reader of recipes says what is wrong
    return isinstance(data, dict) and "stages" in data


def _beside(file: Path, stage: str) -> str:
    """Return a stage as `load_recipe` takes it: a name, or a YAML relative to the curriculum."""
    return str(file.parent / stage) if stage.endswith((".yaml", ".yml")) else stage


def _of(stage: str, stages: tuple[str, ...], overrides: list[str]) -> list[str]:
    """Return the overrides that are for a stage."""
    chosen = []
    for text in overrides:
        first = text.partition("=")[0].split(".")[0]
        if first == Path(stage).stem:
            chosen.append(text.partition(".")[2])
        elif first != "out" and first not in {Path(other).stem for other in stages}:
            chosen.append(text)
    return chosen
