"""`lhrs-chat convert`: an official checkpoint becomes a folder that every verb takes as --model."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from lhrs_chat.commands import Command
from lhrs_chat.errors import LhrsError
from lhrs_chat.plugins import nearest

_DTYPES = ("float32", "bfloat16", "float16")
_GB = 1_000_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="folder with FINAL.pt and TextLoRA; a CLIP's .pt"
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; new or empty")
    parser.add_argument("--from", dest="system", required=True, metavar="SYSTEM", help="lhrs-bot, lhrs-bot-nova, clip")
    parser.add_argument("--llm", metavar="DIR_OR_ID", help="base language model, with its tokenizer")
    parser.add_argument("--vision", metavar="DIR_OR_ID", help="configuration of the vision tower")
    parser.add_argument("--activation", metavar="A", help="of a CLIP: gelu or quick_gelu")
    parser.add_argument("--dtype", choices=_DTYPES, default="float32", help="how to store tensors (%(default)s)")
    parser.add_argument(
        "--adapter", choices=("merge", "keep"), default="merge", help="merge TextLoRA, or keep it apart (%(default)s)"
    )
    parser.add_argument(
        "--image-variant", metavar="NAME", help="prepare pictures in another published way, such as classification"
    )
    parser.add_argument("--shard-gb", type=_size, default=5.0, metavar="GB", help="largest file (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    hidden = parser.add_argument_group("what the weights do not tell; as published where left out")
    hidden.add_argument("--stage", type=int, choices=(1, 2, 3), help="training stage; 1 has no TextLoRA")
    hidden.add_argument("--heads", type=_count, metavar="N", help="attention heads of the bridge")
    hidden.add_argument("--queries", type=_numbers, metavar="N,N,N", help="queries of each level")
    hidden.add_argument("--taps", type=_numbers, metavar="N,N,N", help="tapped layers; 0 is the embedding, n layer n")
    hidden.add_argument("--layers", type=_count, metavar="N", help="layers of the tower that are kept")
    hidden.add_argument("--top-k", type=_count, metavar="N", help="experts that each query passes")


def run(args: argparse.Namespace) -> int:
    """Convert; the folder is complete, or there is none."""
    with contextlib.redirect_stdout(sys.stderr):
        import torch

        from lhrs_chat.models.convert import CONVERTERS, Options

        systems = {name.replace("_", "-"): name for name in CONVERTERS.names()}
        if args.system not in systems:
            raise LhrsError(
                "no such system to convert from",
                found=args.system,
                allowed=", ".join(systems),
                next_step=nearest(args.system, list(systems)),
            )
        options = Options(
            checkpoint=args.checkpoint.expanduser(),
            llm=args.llm,
            vision=args.vision,
            activation=args.activation,
            out=args.out.expanduser(),
            dtype=getattr(torch, args.dtype),
            keep_adapter=args.adapter == "keep",
            image_variant=args.image_variant,
            stage=args.stage,
            heads=args.heads,
            queries=args.queries,
            taps=args.taps,
            layers=args.layers,
            top_k=args.top_k,
            shard_bytes=int(args.shard_gb * _GB),
        )
        report = CONVERTERS.get(systems[args.system]).convert(options)
    found = {"out": str(report.out), "stage": report.stage, "parameters": report.parameters, "files": report.files}
    plain = (
        f"{report.out}: {args.system}, stage {report.stage}, {report.parameters:,} parameters as {args.dtype} in "
        f"{len(report.files)} file{'' if len(report.files) == 1 else 's'}"
    )
    sys.stdout.write((json.dumps(found) if args.json else plain) + "\n")
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _size(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no size")
    return number


def _numbers(text: str) -> tuple[int, ...]:
    """Read numbers with commas between them."""
    return tuple(int(number) for number in text.split(","))


COMMAND = Command("turn an official checkpoint into a model folder", arguments, run)
