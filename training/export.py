"""`python -m training.export RUN`: put what a run trained into its preset, in half precision, with how it was made.

With `--model OUT` it writes the whole model instead, the adapter merged, as a folder that every verb takes as --model.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from lhrs_chat.errors import LhrsError, WeightsError
from lhrs_chat.models.scorer import ScoreModel
from lhrs_chat.models.scorers.shipped import HEAD_FILE
from lhrs_chat.models.whole_folder import check_out, whole_folder
from lhrs_chat.presets import BASE_FILE, FOLDER, RECORD, trained_hashes
from lhrs_chat.registry import file_sha256

from .adapter import has_adapter, merge_adapter
from .card import Origin, origin_of, write_card
from .foreign import is_foreign, merged
from .loop import FINISHED
from .objectives.reward import put_head
from .recipe import Recipe, load_recipe
from .start import BRIDGE, prepare
from .systems import load_system

log = logging.getLogger(__name__)

MOST_BYTES = 40_000_000
WEIGHTS = (BRIDGE, "adapter_model.safetensors")
SCORE_MODEL = FOLDER / "score-nano"


def export(run: Path) -> Path:
    """Copy the trained parts of `run` to the folder of its preset; those of a score model, to a folder of its own.

    Raises:
        WeightsError: the run is not finished, its preset ships no trained parts, or they are larger than a repository
            should carry.
    """
    scores = (run / HEAD_FILE).is_file()
    names = (HEAD_FILE, WEIGHTS[1]) if scores else WEIGHTS
    recipe = _finished(run, names)
    preset = load_system(recipe.preset)
    if not preset.trained:
        raise WeightsError(
            "this preset ships nothing that was trained here",
            found=preset.name,
            next_step="write the whole model to a folder of its own with --model OUT",
        )
    folder = SCORE_MODEL if scores else preset.trained_folder
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for name in names:
        dtype = torch.float32 if name == HEAD_FILE else torch.float16
        half = {key: tensor.to(dtype) for key, tensor in load_file(run / name).items()}
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
    manifest.get("input", {}).pop("location", None)  # a path of this machine
    (folder / "data.json").write_text(json.dumps(manifest, indent=1) + "\n")
    if scores:
        base = {"base": preset.name, "trained": trained_hashes(preset)}
        (folder / BASE_FILE).write_text(json.dumps(base, indent=1) + "\n")
    log.info("%.1f MB in %s", total / 1e6, folder)
    return folder


def export_model(run: Path, out: Path, dtype: torch.dtype = torch.float32, scores: Sequence[Path] = ()) -> Path:
    """Write the whole model of `run`, with what it and the stages before it trained, to the new folder `out`.

    Args:
        run: folder of a finished run.
        out: a folder that is not there yet.
        dtype: number format of the weights.
        scores: files scores.json of evaluations, for the card.

    Raises:
        LhrsError: the run is not finished, or `out` is there already; nothing is written.
    """
    check_out(out)
    recipe = _finished(run, ())
    if is_foreign(recipe):
        name = recipe.model or ""
        hub = () if Path(name).is_dir() else (name,)
        model, processor = merged(run)
        what = f"a score model on {name}" if isinstance(model, ScoreModel) else f"{name}, its adapter merged in"
        origin = Origin(what, f"that of {name}", hub)
    else:
        origin = origin_of(load_system(recipe.preset))
        model, processor = _own(run, recipe)
    nn.Module.to(model.model if isinstance(model, ScoreModel) else model, dtype)  # a head stays in float32
    if (run / HEAD_FILE).is_file():
        model = put_head(model, run)
    with whole_folder(out) as scratch:
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)
        made_from, files = (
            {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))} for folder in (run, scratch)
        )
        record = {"preset": recipe.preset, "trained": made_from, "files": files}
        (scratch / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        write_card(scratch, out.name, origin, _stages(run, recipe)[::-1], scores)
    log.info("the model is in %s", out)
    return out


def _own(run: Path, recipe: Recipe) -> tuple[Any, Any]:
    """Put a model of our own kind together, its adapter merged."""
    _finished(run, (BRIDGE,))
    made = dataclasses.replace(
        recipe, start=run, lora="continue" if has_adapter(run) else None, place_words=False, quantise="none"
    )
    model, processor = prepare(made)
    merge_adapter(model)
    return model, processor


def push(folder: Path, repo: str) -> str:
    """Upload a folder to a repository of the Hugging Face hub, which is made where it is not there; return its address.

    Raises:
        WeightsError: the hub refuses, or cannot be reached.
    """
    hub = HfApi()
    try:
        made = hub.create_repo(repo, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repo, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise WeightsError(
            "the model could not be uploaded",
            found=f"{repo}: {str(error).splitlines()[0]}",
            next_step=f"sign in with `hf auth login`; the model itself is in {folder}",
        ) from error
    return str(made)


def _finished(run: Path, parts: tuple[str, ...]) -> Recipe:
    """Read the recipe of a run that has written its `parts`."""
    missing = [name for name in (*parts, "recipe.yaml", "loss.jsonl", FINISHED) if not (run / name).exists()]
    if missing:
        raise WeightsError("this run is not finished", found=f"no {', '.join(missing)} in {run}")
    return load_recipe(str(run / "recipe.yaml"), [])


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
    parser.add_argument("--model", type=Path, metavar="OUT", help="write the whole model to this new folder instead")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of --model (%(default)s)"
    )
    parser.add_argument(
        "--scores", type=Path, nargs="+", default=[], metavar="FILE", help="scores.json of evaluations, for its card"
    )
    parser.add_argument("--push", metavar="REPO", help="upload what --model wrote to the Hugging Face hub, as private")
    args = parser.parse_args(argv)
    if args.model is None and (args.push or args.scores):
        parser.error("--push and --scores go with --model")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if args.model is None:
            export(args.run)
        else:
            export_model(args.run, args.model, getattr(torch, args.dtype), args.scores)
            if args.push:
                log.info("uploaded to %s", push(args.model, args.push))
    except LhrsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
