"""`lhrs-chat models`: the presets, where their weights come from, and whether they are here."""

from __future__ import annotations

import argparse
import json
import sys
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
        state = "ready" if model["present"] else "fetched when first asked for"
        lines.append(f"{model['name']}  ({state})")
        lines += _terminal.paragraph(model["what"], "  ", "  ")
        for part in model["weights"]:
            text = f"{part['what']}; from {part['source']}, {part['licence']}"
            lines += _terminal.paragraph(text, "  - ", "    ")
    lines.append("")
    lines += _terminal.paragraph(
        "--model also takes a folder written by save_pretrained, or a Hugging Face id such as owner/name."
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def listing() -> list[dict[str, Any]]:
    """Describe every preset: name, what it is, its published weights, whether they are in the cache."""
    from lhrs_chat import doctor, presets

    parts = doctor.weights()
    keys = ("part", "what", "source", "licence", "sha256", "present")
    found = []
    for name in presets.preset_names():
        own = [{key: getattr(part, key) for key in keys} for part in parts if part.preset == name]
        what = presets.load_preset(name).what
        found.append({"name": name, "what": what, "present": all(part["present"] for part in own), "weights": own})
    return found


COMMAND = Command("list the models and where their weights come from", arguments, run)
