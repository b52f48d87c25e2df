"""What is installed, what is missing and why it matters, what the machine has, and where weights come from."""

from __future__ import annotations

import configparser
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lhrs_chat import __version__, presets
from lhrs_chat.registry import FOLDER_VARIABLE, cache_folder, intact

CORE = "core"
PURPOSE: dict[str, str] = {  # extra -> what cannot be done without it
    CORE: "needed by every verb; reinstall lhrs_chat",
    "clip": "image-text quality scores and CLIP models of open_clip",
    "train": "logging and data of training runs (lhrs-chat train)",
    "eval": "benchmarks (lhrs-chat eval)",
    "prep": "large data preparation (lhrs-chat prep)",
    "osm": "OpenStreetMap extracts (lhrs-chat prep convert osm)",
    "ray": "data preparation on many machines (lhrs-chat prep --engine ray)",
    "grpo": "learning by rewards (lhrs-chat train grpo)",
    "demo": "the browser demo (lhrs-chat demo)",
    "captions": "METEOR and SPICE, which run on Java",
    "quantise": "language models in 4 or 8 bits (--quantise); never needed to run",
    "deepspeed": "training on several GPUs with ZeRO; never needed to run",
    "flash": "faster attention on CUDA GPUs; never needed to run",
    "browser": "the browser test of the demo (make test-browser)",
    "dev": "tests and checks of a contributor",
}
_REQUIREMENT = re.compile(
    r"^\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?P<wants>[^;]*)(?:;(?P<marker>.*))?$"
)
_EXTRA = re.compile(r"extra\s*==\s*['\"]([A-Za-z0-9_-]+)['\"]")


@dataclass(frozen=True)
class Package:
    """One package that lhrs_chat can use; `version` is None where it is not installed."""

    name: str
    extra: str
    wants: str
    version: str | None


@dataclass(frozen=True)
class Weights:
    """One published part of a preset, and whether it lies in the cache as it was unpacked."""

    preset: str
    part: str
    what: str
    source: str
    licence: str
    sha256: str
    present: bool


def weights() -> list[Weights]:
    """List the published parts of all presets."""
    found = []
    for name in presets.preset_names():
        for role, part in presets.load_preset(name).parts.items():
            source = f"Python package {part.package} {part.version}"
            present = intact(presets.part_path(part))
            found.append(Weights(name, role, part.what, source, part.licence, part.sha256, present))
    return found


def packages() -> list[Package]:
    """List the packages that lhrs_chat names, from its own metadata, or from setup.cfg in a checkout."""
    found: dict[tuple[str, str], Package] = {}
    for line in _requirements():
        match = _REQUIREMENT.match(line)
        if match is None:
            continue
        extra = _EXTRA.search(match["marker"] or "")
        package = Package(
            match["name"], extra[1] if extra else CORE, match["wants"].strip(" ()"), _version(match["name"])
        )
        found.setdefault((package.name.lower(), package.extra), package)
    return sorted(found.values(), key=lambda package: (package.extra != CORE, package.extra, package.name.lower()))


def machine() -> dict[str, Any]:
    """Tell Python, cores, memory, and the device that torch would use."""
    torch_state = _torch()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        **torch_state,
    }


def report() -> dict[str, Any]:
    """Collect everything; the object that `lhrs-chat doctor --json` prints."""
    listed = packages()
    cache = cache_folder()
    state = machine()
    return {
        "lhrs_chat": __version__,
        "location": str(Path(__file__).resolve().parent),
        **state,
        "packages": [asdict(package) for package in listed],
        "missing": [
            {"name": p.name, "extra": p.extra, "why": PURPOSE.get(p.extra, "")} for p in listed if p.version is None
        ],
        "cache": str(cache),
        "cache_free_gb": _free_gb(cache),
        "wheels_folder": os.environ.get(FOLDER_VARIABLE, ""),
        "weights": [asdict(part) for part in weights()],
    }


def _requirements() -> list[str]:
    """Requirement lines of lhrs_chat, each with its extra as a marker."""
    config = Path(__file__).resolve().parent.parent / "setup.cfg"
    if not config.is_file():
        try:
            return list(metadata.requires("lhrs_chat") or [])
        except metadata.PackageNotFoundError:
            return []
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(config, encoding="utf-8")
    lines = _lines(parser.get("options", "install_requires", fallback=""))
    if parser.has_section("options.extras_require"):
        for extra, text in parser.items("options.extras_require"):
            lines += [f"{line}; extra == '{extra}'" for line in _lines(text)]
    return lines


def _lines(text: str) -> list[str]:
    return [line.split("#")[0].split(";")[0].strip() for line in text.splitlines() if line.split("#")[0].strip()]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    """The device of torch, and whether a torchvision beside it works."""
    if _version("torch") is None:
        return {"device": "none: torch is not installed", "torchvision": "not looked at: torch is not installed"}
    try:
        import torch

        from lhrs_chat.models import torchvision_guard

        state = torchvision_guard.install()
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {"device": f"none: torch cannot be loaded ({reason})", "torchvision": "not looked at"}
    said = {
        "absent": "not installed; nothing here needs it but the extra clip",
        "native": "works",
        "declared": "its compiled part does not fit this torch; its transforms work, torchvision.ops does not",
    }[state]
    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name(0)})"
    else:
        device = f"cpu ({torch.get_num_threads()} threads)"
    return {"device": device, "torchvision": said}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _memory_gb() -> float | None:
    """Physical memory, where the platform tells it."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _free_gb(folder: Path) -> float:
    """Free disk space where a folder is or would be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return round(shutil.disk_usage(there).free / 1e9, 1)
