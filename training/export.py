"""`python -m training.export RUN`: put what a run trained into its preset, in half precision, with how it was made."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lhrs_chat.errors import LhrsError, WeightsError
from lhrs_chat.presets import load_preset

from .recipe import Recipe, load_recipe

log = logging.getLogger(__name__)

MOST_BYTES = 40_000_000
WEIGHTS = ("bridge.safetensors", "adapter_model.safetensors")


def export(run: Path) -> Path:
    """Copy the trained parts of `run` to the folder of its preset.

    Raises:
        WeightsError: the run is not finished, or its parts are larger than a repository should carry.
    """
    missing = [name for name in (*WEIGHTS, "recipe.yaml", "loss.jsonl") if not (run / name).exists()]
    if missing:
        raise WeightsError("this run is not finished", found=f"no {', '.join(missing)} in {run}")
    recipe: Recipe = load_recipe(str(run / "recipe.yaml"), [])
    folder = load_preset(recipe.preset).trained_folder
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for name in WEIGHTS:
        half = {key: tensor.to(torch.float16) for key, tensor in load_file(run / name).items()}
        save_file(half, folder / name, metadata={"format": "pt"})
        total += (folder / name).stat().st_size
    if total > MOST_BYTES:
        raise WeightsError("the trained parts are too large to ship", found=total, allowed=f"{MOST_BYTES} bytes")
    adapter = json.loads((run / "adapter_config.json").read_text())
    adapter["base_model_name_or_path"] = None  # peft writes a path of this machine; the preset names the model
    (folder / "adapter_config.json").write_text(json.dumps(adapter, indent=1) + "\n")
    for stage in _stages(run, recipe):
        for name in ("recipe.yaml", "loss.jsonl"):
            shutil.copy(stage / name, folder / f"{stage.name}-{name}")
    manifest = json.loads((recipe.data.folder / "manifest.json").read_text())
    (folder / "data.json").write_text(json.dumps(manifest, indent=1) + "\n")
    log.info("%.1f MB in %s", total / 1e6, folder)
    return folder


def _stages(run: Path, recipe: Recipe) -> list[Path]:
    """List the folders of a run and of the stages that it began from, last first."""
    found = [run]
    while recipe.start is not None:
        found.append(recipe.start)
        recipe = load_recipe(str(recipe.start / "recipe.yaml"), [])
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description="Ship what a run trained.")
    parser.add_argument("run", type=Path, help="folder of a finished run")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        export(args.run)
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
