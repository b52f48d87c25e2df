"""loss.jsonl: a line whenever something was logged, at once, without doubles when a run goes on; and loss.png of it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from PIL import ImageDraw
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .checkpoints import cannot_write

log = logging.getLogger(__name__)

JOURNAL, PICTURE = "loss.jsonl", "loss.png"
SIZE_PX, MARGIN_PX = (900, 480), 56
TICKS = 5
TRAIN_COLOUR, EVAL_COLOUR, GRID_COLOUR, TEXT_COLOUR = "#1f6feb", "#d1242f", "#d8dee4", "#24292f"


class Journal(TrainerCallback):
    """Writes what is logged to a file of the run.

    Args:
        out: folder of the run.
        short: an entry in a line for a person.
    """

    def __init__(self, out: Path, short: Callable[[dict[str, Any]], str] | None = None) -> None:
        self.file = out / JOURNAL
        self.short = short or _short

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the lines up to the checkpoint that the run goes on from; later ones will come again."""
        if state.is_world_process_zero:
            self._write("w", [entry for entry in state.log_history if _counts(entry)])

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the newest line."""
        entry = state.log_history[-1]
        if state.is_world_process_zero and _counts(entry):
            self._write("a", [entry])
            log.info("step %d of %d: %s", state.global_step, state.max_steps, self.short(entry))

    def _write(self, mode: str, entries: Sequence[dict[str, Any]]) -> None:
        try:
            with self.file.open(mode, encoding="utf-8") as stream:
                stream.write("".join(json.dumps(entry) + "\n" for entry in entries))
        except OSError as error:
            raise cannot_write(self.file, error) from error


def _short(entry: dict[str, Any]) -> str:
    """Write a line for a person: the losses, the speed, the padding."""
    if "eval_loss" in entry:
        return f"loss {entry['eval_loss']:.4f} on what is held out"
    used = f", {entry['mfu']:.0%} of the machine" if "mfu" in entry else ""
    return (
        f"loss {entry['loss']:.4f}, {entry['tokens_per_second']:.0f} tokens/s, "
        f"{entry['samples_per_second']:.1f} samples/s, {entry['padding']:.1%} padding{used}"
    )


def _counts(entry: dict[str, Any]) -> bool:
    return "loss" in entry or "eval_loss" in entry


def read_journal(out: Path) -> list[dict[str, Any]]:
    """Return what a run logged."""
    return [json.loads(line) for line in (out / JOURNAL).read_text(encoding="utf-8").splitlines()]


def draw(entries: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw the losses over the steps, those of the held-out rows in red."""
    curves = [
        (colour, [(float(entry["step"]), float(entry[name])) for entry in entries if name in entry])
        for name, colour in (("loss", TRAIN_COLOUR), ("eval_loss", EVAL_COLOUR))
    ]
    points = [point for _, curve in curves for point in curve]
    if not points:
        return
    right = max(1.0, *(step for step, _ in points))
    low, high = (edge(loss for _, loss in points) for edge in (min, max))
    low, high = math.floor(low * 10) / 10, max(math.ceil(high * 10) / 10, low + 0.1)
    width, height = SIZE_PX

    def at(step: float, loss: float) -> tuple[float, float]:
        x = MARGIN_PX + (width - 2 * MARGIN_PX) * step / right
        return x, height - MARGIN_PX - (height - 2 * MARGIN_PX) * (loss - low) / (high - low)

    picture = PilImage.new("RGB", SIZE_PX, "white")
    pen = ImageDraw.Draw(picture)
    for tick in range(TICKS + 1):
        step, loss = right * tick / TICKS, low + (high - low) * tick / TICKS
        pen.line([at(0, loss), at(right, loss)], GRID_COLOUR)
        pen.text((6, at(0, loss)[1] - 6), f"{loss:.2f}", TEXT_COLOUR)
        pen.text((at(step, low)[0] - 12, height - MARGIN_PX + 8), f"{step:.0f}", TEXT_COLOUR)
    for colour, curve in curves:
        dots = [at(step, loss) for step, loss in curve]
        if len(dots) > 1:
            pen.line(dots, colour, 2)
        for x, y in dots if len(dots) < 60 else ():
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), colour)
    pen.text((MARGIN_PX, 12), "loss over steps: learned from (blue), held out (red)", TEXT_COLOUR)
    picture.save(file)
