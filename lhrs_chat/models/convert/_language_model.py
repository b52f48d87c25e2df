"""The language model of a converted checkpoint: the base model's tensors, changed by the adapter, and its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

from lhrs_chat.errors import WeightsError
from lhrs_chat.models.convert._checkpoint import Adapter, Part
from lhrs_chat.models.convert._tensors import Entry, SafetensorsFiles, Tensors, refuse_part
from lhrs_chat.models.strict import SENSELESS, first_line, read_json

log = logging.getLogger(__name__)

OURS = "language_model."
TABLES = ("model.embed_tokens.weight", "lm_head.weight")
_COUNTED_ANEW = ".rotary_emb.inv_freq"  # older folders keep these; transformers computes them
_ROWS = 2048  # of a table, compared at a time
_ROUNDING = 2.0**-8  # relative, of bfloat16: copies of a table may have passed through it
_SMALLEST = 1e-7  # absolute: below it float16 loses digits


@dataclass(frozen=True)
class BaseModel:
    """A base language model on disk: its configuration, tensors, and the shapes that the configuration asks for."""

    folder: Path
    config: PreTrainedConfig
    tensors: Tensors
    shapes: Mapping[str, tuple[int, ...]]


def open_base(folder: Path) -> BaseModel:
    """Open a folder of transformers with a causal language model in safetensors.

    Raises:
        WeightsError: it is not complete, damaged, or no such model.
    """
    kind = read_json(folder / "config.json").get("model_type")
    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            own = AutoModelForCausalLM.from_config(config).state_dict()
    except SENSELESS as error:
        raise WeightsError(
            "this is no base language model",
            found=f"{folder}: {kind}; {first_line(error)}",
            allowed="a causal language model, such as llama",
        ) from error
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if index.is_file():
        names = read_json(index).get("weight_map")
        if not isinstance(names, dict):
            raise WeightsError(f"{index.name} names no weights", found=str(index))
        tensors = SafetensorsFiles.open(index, names)
    elif single.is_file():
        tensors = SafetensorsFiles.open(single)
    else:
        raise WeightsError(
            "the base language model has no weights that can be read without running code",
            found=", ".join(sorted(path.name for path in folder.glob("*.bin"))) or str(folder),
            allowed="model.safetensors, or its shards with model.safetensors.index.json",
            next_step="fetch the safetensors files of the model",
        )
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if config.tie_word_embeddings:
        wanted.pop("lm_head.weight", None)
    have = {name: shape for name, shape in tensors.shapes().items() if not name.endswith(_COUNTED_ANEW)}
    if config.tie_word_embeddings:
        have.pop("lm_head.weight", None)
    refuse_part(f"the base language model in {folder}", wanted, have)
    return BaseModel(folder, config, tensors, wanted)


def check_adapter(base: BaseModel, adapter: Adapter) -> int:
    """Hold an adapter against the base model, and return the rows of the token tables that it brings or leaves.

    Raises:
        WeightsError: the adapter was made for another base model.
    """
    shapes = adapter.tensors.shapes()
    odd = []
    for module in adapter.modules:
        first, second = (shapes[name] for name in adapter.pair(module))
        found, wanted = (second[0], first[1]), base.shapes.get(f"{module}.weight")
        if wanted != found:
            odd.append(f"{module}: {found} in the adapter, {wanted or 'nothing'} in the base model")
    if odd:
        raise _wrong_base(base, adapter, "; ".join(odd[:4]) + (f"; and {len(odd) - 4} more" if len(odd) > 4 else ""))
    rows: int = base.config.vocab_size
    brought = {shapes[name] for name in adapter.tables.values()}
    if not brought:
        return rows
    width = base.shapes[TABLES[0]][1]
    missing = [name for name in TABLES if name in base.shapes and name not in adapter.tables]
    if len(brought) > 1 or missing:
        raise WeightsError(
            "the adapter brings tables of tokens that do not belong together",
            found=", ".join(f"{name}: {shapes[stored]}" for name, stored in adapter.tables.items()),
            allowed="model.embed_tokens and lm_head, both of one shape",
        )
    (shape,) = brought
    if shape[1] != width or not rows <= shape[0] <= rows + 2:
        raise _wrong_base(base, adapter, f"tables of {shape}, {(rows, width)} in the base model")
    for name, stored in adapter.tables.items():
        own = name if name in base.shapes else TABLES[0]  # a head that is tied to the table of tokens
        if not same_rows(base.tensors.read(own), adapter.tensors.read(stored)[:rows]):
            raise _wrong_base(base, adapter, f"other values in the first {rows} rows of {name}")
    return shape[0]


def check_table(base: BaseModel, table: Part) -> None:
    """Hold the base model against the copy of its token table in FINAL.pt, where there is one.

    Raises:
        WeightsError: the checkpoint was made with another base model.
    """
    have = table.shapes()
    if not have:
        return
    refuse_part("embed_tokens in FINAL.pt", {"weight": base.shapes[TABLES[0]]}, have)
    if not same_rows(base.tensors.read(TABLES[0]), table.read("weight")):
        raise _wrong_base(base, None, f"other values of {TABLES[0]}")


def same_rows(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tables, (rows, width) each, are equal but for what half precision rounds away."""
    for left, right in zip(one.split(_ROWS), other.split(_ROWS), strict=True):
        a, b = left.float(), right.float()
        if not bool(((a - b).abs() <= a.abs().mul_(_ROUNDING).add_(_SMALLEST)).all()):
            return False
    return True


def _wrong_base(base: BaseModel, adapter: Adapter | None, found: str) -> WeightsError:
    named = None if adapter is None else adapter.config.get("base_model_name_or_path")
    return WeightsError(
        "this checkpoint was made with another base language model",
        found=f"{found} ({base.folder})",
        allowed=f"the adapter names {named}" if named else None,
        next_step="give the base model that the system was published with as --llm",
    )


def entries(base: BaseModel, adapter: Adapter | None, rows: int, *, merge: bool) -> list[Entry]:
    """List the language model's tensors: the base model's, with the adapter's tables of `rows`, and its LoRA merged."""
    made = []
    for name, shape in base.shapes.items():
        module = name.removesuffix(".weight")
        if adapter is not None and name in adapter.tables:
            stored = adapter.tables[name]
            made.append(Entry(OURS + name, (rows, shape[1]), _reader(adapter.tensors, stored)))
        elif adapter is not None and merge and module in adapter.modules:
            made.append(Entry(OURS + name, shape, _merged(base.tensors, adapter, module)))
        else:
            made.append(Entry(OURS + name, shape, _reader(base.tensors, name)))
    return made


def _reader(tensors: Tensors, name: str) -> Callable[[], torch.Tensor]:
    return lambda: tensors.read(name)


def _merged(tensors: Tensors, adapter: Adapter, module: str) -> Callable[[], torch.Tensor]:
    """W + scale B A, in float32, rounded once when it is written."""
    return lambda: adapter.delta(module).add_(tensors.read(f"{module}.weight"))


def adapter_entries(adapter: Adapter) -> list[Entry]:
    """List the tensors of the adapter as one of our whole model."""
    shapes = adapter.tensors.shapes()
    made = []
    for module in adapter.modules:
        for name in adapter.pair(module):
            ours = name.replace("base_model.model.", f"base_model.model.{OURS}", 1)
            made.append(Entry(ours, shapes[name], _reader(adapter.tensors, name)))
    return made


def adapter_config(adapter: Adapter) -> dict[str, Any]:
    """Return the adapter's configuration for our whole model."""
    targets = [f"{OURS}{module}" for module in adapter.modules]
    return {**adapter.config, "target_modules": targets, "inference_mode": True}


def eos_ids(base: BaseModel, tokenizer: PreTrainedTokenizerFast, ends: Sequence[str]) -> list[int]:
    """Return the tokens that end an answer: those of the generation defaults, the configuration and the tokenizer.

    `ends` are the tokens that end a turn of the system; early versions of a base model did not name them.
    """
    file = base.folder / "generation_config.json"
    given = read_json(file).get("eos_token_id") if file.is_file() else None
    found: list[int] = []
    for ids in (given, base.config.eos_token_id, tokenizer.eos_token_id):
        found += [each for each in (ids if isinstance(ids, list) else [ids]) if isinstance(each, int)]
    vocabulary = tokenizer.get_vocab()
    found += [vocabulary[token] for token in ends if token in vocabulary]
    return list(dict.fromkeys(found))
