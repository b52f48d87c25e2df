"""The card of an exported model: what it is, how it was made, on what, and how it was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhrs_chat.errors import DataError
from lhrs_chat.presets import Preset

from .checkpoints import PROVENANCE
from .journal import read_journal
from .recipe import Recipe, load_recipe

CARD = "README.md"


@dataclass(frozen=True)
class Origin:
    """What a model was made from: in words, under which licences, and its base models on the Hugging Face hub."""

    what: str
    licences: str
    base_models: tuple[str, ...] = ()


def origin_of(preset: Preset) -> Origin:
    """Say what a model of a preset was made from."""
    if preset.published is None:
        return Origin(preset.what, "; ".join(part.licence for part in preset.parts.values()))
    return Origin(preset.what, preset.published.licence, (preset.published.llm, preset.published.vision))


def write_card(out: Path, name: str, origin: Origin, stages: Sequence[Path], scores: Sequence[Path]) -> None:
    """Write the card into the folder of a model.

    Args:
        out: the folder.
        name: of the model.
        origin: what was trained.
        stages: folders of the runs, the first one first.
        scores: files scores.json of evaluations of this model.

    Raises:
        DataError: a file of scores is none.
    """
    measured = [line for file in scores for line in _scores(file)]
    task, example = "image-text-to-text", f'lhrs-chat ask --model {name} IMAGE "What is here?"'
    if _recipe(stages[-1]).objective == "reward":
        task, example = "text-classification", f"lhrs-chat score DATA --model {name} -o scores.parquet"
    base = [f"base_model: [{', '.join(origin.base_models)}]"] if origin.base_models else []
    lines = [
        *("---", "library_name: transformers", f"pipeline_tag: {task}"),
        *("tags: [remote-sensing, earth-observation, lhrs_chat]", *base, "---", ""),
        *(f"# {name}", "", f"{origin.what}; trained with lhrs_chat. Licences of its parts: {origin.licences}.", ""),
        *("```", example, "```", ""),
        *("## How it was made", "", "| stage | objective | learned | rows from | steps | loss | held out |"),
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
        *(_stage(stage) for stage in stages),
        *("", "The recipe of the last stage:", "", "```yaml"),
        *(stages[-1] / "recipe.yaml").read_text(encoding="utf-8").rstrip().splitlines(),
        *("```", ""),
        *_provenance(stages[-1]),
        *("", "## How it was measured", "", *(measured or ["It was not measured."])),
    ]
    (out / CARD).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _recipe(folder: Path) -> Recipe:
    recipe: Recipe = load_recipe(str(folder / "recipe.yaml"), [])
    return recipe


def _stage(folder: Path) -> str:
    recipe = _recipe(folder)
    logged = read_journal(folder)
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    held_out = [entry["eval_loss"] for entry in logged if "eval_loss" in entry]
    rates = ", ".join(f"`{part}` {rate:g}" for part, rate in recipe.optim.lr.items())
    last, best = f"{losses[-1]:.3f}" if losses else "", f"{min(held_out):.3f}" if held_out else ""
    step, mix = logged[-1]["step"] if logged else 0, ", ".join(recipe.data.mix)
    return f"| {folder.name} | {recipe.objective} | {rates} | {mix} | {step} | {last} | {best} |"


def _provenance(folder: Path) -> list[str]:
    told = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return [f"Versions: {versions}.", "", *(f"- `{name}` SHA-256 `{value}`" for name, value in told["data"].items())]


def _scores(file: Path) -> list[str]:
    """Return a table of the main scores of an evaluation."""
    try:
        told: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        run, rows = told["run"], [row for row in told["rows"] if row["main"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "no scores of an evaluation",
            found=f"{file}: {error}",
            allowed="the scores.json that lhrs-chat eval writes",
        ) from error
    lines = [f"### {run['benchmark']}", "", "| protocol | set | task | metric | score | questions |"]
    lines.append("| --- | --- | --- | --- | ---: | ---: |")
    for row in rows:
        real = row["conditions"]["real"]
        spread = f" ± {real['stderr']:.3f}" if real["stderr"] is not None else ""
        place = " | ".join(row[name] for name in ("protocol", "subset", "task", "metric"))
        lines.append(f"| {place} | {real['mean']:.3f}{spread} | {real['questions']} |")
    return [*lines, "", f"Weights SHA-256 `{run['weights_sha256']}`; ± is one standard error, clustered by picture."]
