"""`lhrs-chat doctor`: what is there, what is missing and why it matters."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

from lhrs_chat.commands import Command


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the report; a missing optional part is no failure."""
    from lhrs_chat import doctor

    with contextlib.redirect_stdout(sys.stderr):
        report = doctor.report()
    text = json.dumps(report) if args.json else "\n".join(lines(report))
    sys.stdout.write(text + "\n")
    return 0


def lines(report: dict[str, Any]) -> list[str]:
    """Lay the report out for a terminal."""
    from lhrs_chat import doctor
    from lhrs_chat.commands import _terminal

    memory = "unknown" if report["memory_gb"] is None else f"{report['memory_gb']:g} GB"
    out = [
        *_terminal.entry("lhrs_chat", f"{report['lhrs_chat']} in {report['location']}"),
        *_terminal.entry("python", f"{report['python']} on {report['platform']}"),
        *_terminal.entry("machine", f"{report['cores']} cores, {memory} of memory"),
        *_terminal.entry("device", report["device"]),
        *_terminal.entry("torchvision", report["torchvision"]),
        *_terminal.entry("cache", f"{report['cache']} ({report['cache_free_gb']:g} GB free)"),
    ]
    if report["wheels_folder"]:
        out += _terminal.entry("wheels", f"{report['wheels_folder']} (looked into before the package index)")
    extras: dict[str, list[dict[str, Any]]] = {}
    for package in report["packages"]:
        extras.setdefault(package["extra"], []).append(package)
    out += ["", "packages"]
    for extra, listed in extras.items():
        there = [f"{package['name']} {package['version']}" for package in listed if package["version"] is not None]
        missing = [package["name"] for package in listed if package["version"] is None]
        out += _terminal.entry(extra, ", ".join(there) or "nothing installed")
        if missing:
            why = doctor.PURPOSE.get(extra, "")
            install = "" if extra == doctor.CORE else f"\npip install 'lhrs_chat[{extra}]'"
            out += _terminal.entry("", f"missing: {', '.join(missing)}\nneeded for: {why}{install}")
    out += ["", "weights"]
    for part in report["weights"]:
        state = "in the cache" if part["present"] else "not here yet, fetched when first asked for"
        out += _terminal.entry(part["preset"], f"{part['what']}: {state}\nfrom {part['source']}, {part['licence']}")
    return out


COMMAND = Command("say what is installed, what is missing and where weights come from", arguments, run)
