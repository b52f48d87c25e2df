"""`lhrs-chat models`: the presets, where their weights come from, and whether they are here."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lhrs_chat.commands import Command


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace) -> int:
    """List the presets without loading one."""
    from lhrs_chat.commands import _terminal

    found = listing()
    if args.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    lines = []
    for model in found:
        state = "put together when first asked" if model["present"] else "fetched when first asked"
        state = "needs conversion" if model["convert"] else state
        lines.append(f"{model['name']}  ({'ready' if model['folder'] else state})")
        lines += _terminal.paragraph(model["what"], "  ", "  ")
        if model["folder"]:
            lines.append(f"  in {model['folder']}")
        for part in model["weights"]:
            text = f"{part['what']}; from {part['source']}, {part['licence']}"
            lines += _terminal.paragraph(text, "  - ", "    ")
        if model["convert"] and not model["folder"]:
            lines += _terminal.paragraph(f"checkpoint: {model['checkpoint']}", "  - ", "    ")
            lines += _terminal.paragraph(f"convert it: {model['convert']}", "  - ", "    ")
    lines.append("")
    lines += _terminal.paragraph(
        "--model also takes a folder written by save_pretrained, or a Hugging Face id such as owner/name. A model that "
        "scores is for score --model and ask --scorer."
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def listing() -> list[dict[str, Any]]:
    """Describe every model: name, what it is, its published weights, and what of it is in the cache.

    `for` is `chat`, or `score` for a score model, whose weights ship with this package and stand on a preset.
    `folder` is the finished model in the form of transformers, None until it has been put together or converted.
    `convert` is the command for a model that is converted from its official checkpoint, which is at `checkpoint`. Such
    models come last.
    """
    from lhrs_chat import doctor, presets

    parts = doctor.weights()
    keys = ("part", "what", "source", "licence", "sha256", "present")
    found: list[dict[str, Any]] = []
    for name in presets.preset_names():
        own = [{key: getattr(part, key) for key in keys} for part in parts if part.preset == name]
        preset = presets.load_preset(name)
        folder = presets.model_path(preset)
        ready = presets.is_assembled(folder) or presets.is_converted(preset)
        published = preset.published
        found.append(
            {
                "name": name,
                "for": "chat",
                "what": preset.what,
                "present": ready or (bool(own) and all(part["present"] for part in own)),
                "folder": str(folder) if ready else None,
                "weights": own,
                "checkpoint": f"{published.where} ({published.licence})" if published else "",
                "convert": presets.convert_command(preset),
            }
        )
    found += [_scorer(name, {model["name"]: model for model in found}) for name in presets.scorer_names()]
    return sorted(found, key=lambda model: bool(model["convert"]))


def _scorer(name: str, chats: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Describe a score model as `listing` does; it can be put together where the preset below it can."""
    from lhrs_chat import presets

    scorer, folder = presets.load_scorer(name), presets.scorer_path(name)
    base, _ = presets.scorer_base(name)
    ready = presets.is_assembled(folder)
    return {
        "name": name,
        "for": "score",
        "what": scorer.what,
        "present": ready or chats[base.name]["present"],
        "folder": str(folder) if ready else None,
        "weights": [
            {
                "part": Path(file).stem.removesuffix("_model"),
                "what": f"{file}, {(presets.FOLDER / name / file).stat().st_size / 1e6:.2g} MB",
                "source": "this package",
                "licence": scorer.licence,
                "sha256": sha256,
                "present": True,
            }
            for file, sha256 in presets.scorer_weights(name).items()
        ],
        "checkpoint": "",
        "convert": "",
    }


COMMAND = Command("list the models and where their weights come from", arguments, run)
