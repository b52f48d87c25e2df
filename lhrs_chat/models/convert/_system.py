"""The way every published system of this layout is converted: check all of it, then write it tensor by tensor."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration, LhrsImageProcessor, LhrsProcessor
from lhrs_chat.models.assemble import make_image_processor
from lhrs_chat.models.convert import Options, Report
from lhrs_chat.models.convert import _checkpoint as published
from lhrs_chat.models.convert import _language_model as language
from lhrs_chat.models.convert import _tower as tower
from lhrs_chat.models.convert import _writing as writing
from lhrs_chat.models.convert._checkpoint import Checkpoint, Part
from lhrs_chat.models.convert._folders import tower_folder, whole_folder_of
from lhrs_chat.models.convert._tensors import Entry, refuse_part
from lhrs_chat.models.tokenizer_file import open_tokenizer
from lhrs_chat.models.whole_folder import check_out, whole_folder
from lhrs_chat.plugins import nearest
from lhrs_chat.presets import RECORD, Preset, load_preset
from lhrs_chat.registry import file_sha256

log = logging.getLogger(__name__)

BRIDGE = "bridge."
_POST = "layernorm_post.weight"  # Nova's bridge ends with this norm, that of LHRS-Bot has none


@dataclass(frozen=True)
class System:
    """What tells one system of this layout from another, beside its preset.

    Args:
        name: its preset's.
        title: how people call it.
        has_post_norm: whether its bridge ends with a norm.
        taps: number of the tower's layers -> tapped `hidden_states`.
        layers: number of the tower's layers -> how many the system keeps.
        bridge: the bridge's shapes, top_k -> what its part of the config holds beside what all systems share.
        dense: the bridge's shapes -> whether this is the form that only stage 1 has.
        added_tokens: special tokens that the system put behind the vocabulary, the padding token last.
        ends: tokens that end a turn.
    """

    name: str
    title: str
    has_post_norm: bool
    taps: Callable[[int], tuple[int, ...]]
    layers: Callable[[int], int]
    bridge: Callable[[Mapping[str, tuple[int, ...]], int], dict[str, Any]]
    dense: Callable[[Mapping[str, tuple[int, ...]]], bool]
    added_tokens: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()


def convert(system: System, options: Options) -> Report:
    """Convert a checkpoint of `system`.

    Raises:
        LhrsError: something does not fit; nothing was written.
    """
    preset = load_preset(system.name)
    check_out(options.out)
    folder = published.find(options.checkpoint)
    final = published.open_final(folder)
    _check_system(system, final)
    dense = system.dense(final.bridge.shapes())
    checkpoint = published.with_adapter(final, options.stage, expected=not dense)
    seen = tower.open_tower(tower_folder(options.vision), preset.encoder["name"])
    image = _image(preset, options.image_variant, seen)
    base = language.open_base(whole_folder_of(options.llm))
    adapter = checkpoint.adapter
    rows = base.config.vocab_size if adapter is None else language.check_adapter(base, adapter)
    language.check_table(base, checkpoint.table)
    if not checkpoint.table.shapes() and (adapter is None or not adapter.tables):
        log.warning("this checkpoint holds no copy of its base model's tokens: only the shapes of %s fit", base.folder)

    tokenizer = _tokenizer(system, base, rows)
    tokenizer.chat_template = preset.chat_template
    config = _config(system, preset, options, checkpoint, seen, base, tokenizer, rows)
    with torch.device("meta"):
        model = LhrsForConditionalGeneration(config)
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    entries = tower.wanted(checkpoint.tower, _below("encoder.", own))
    entries += _bridge_entries(checkpoint.bridge, _below(BRIDGE, own))
    entries += language.entries(base, adapter, rows, merge=not options.keep_adapter)
    processor = LhrsProcessor(
        image,
        tokenizer,
        num_image_tokens=model.bridge.num_tokens,
        image_token_id=config.image_token_id,
        system=preset.system,
        dialect=preset.dialect,
    )
    stage = str(options.stage or ("1" if adapter is None else "2 or 3"))
    log.info("%s, stage %s: %d tensors of %s", system.title, stage, len(entries), folder)
    return _write(preset, options, checkpoint, config, processor, entries, stage)


def _check_system(system: System, checkpoint: Checkpoint) -> None:
    shapes = checkpoint.bridge.shapes()
    if "query" not in shapes or len(shapes["query"]) != 3:
        raise WeightsError(
            "the bridge in FINAL.pt has no queries",
            found=", ".join(sorted(shapes)[:8]),
            next_step="check that this is a checkpoint of LHRS-Bot or LHRS-Bot-Nova",
        )
    if (_POST in shapes) != system.has_post_norm:
        other = "lhrs-bot-nova" if _POST in shapes else "lhrs-bot"
        raise WeightsError(
            f"this is no checkpoint of {system.title}",
            found=f"the bridge of {other}",
            allowed=f"the bridge of {system.name}",
            next_step=f"convert it with --from {other}",
        )


def _image(preset: Preset, variant: str | None, seen: tower.Tower) -> LhrsImageProcessor:
    """Return the tower's image processor, or the published variant in its place.

    Raises:
        ConfigError: there is no such variant, or it is for pictures of another size than the tower takes.
    """
    if variant is None:
        return seen.image
    names = sorted(preset.image_variants)
    if variant not in names:
        raise ConfigError(
            f"{preset.name} has no such image variant",
            found=variant,
            allowed=", ".join(names) or "none; it was published with one way to prepare pictures",
            next_step=nearest(variant, names) or "leave out --image-variant",
        )
    made = make_image_processor(preset.image_variants[variant])
    if made.size_px != seen.image.size_px:
        raise ConfigError(
            f"the image variant {variant} is for another tower",
            found=f"pictures of {made.size_px} px, a tower for {seen.image.size_px} px",
            next_step="leave out --image-variant",
        )
    return made


def _below(prefix: str, own: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for name, shape in own.items() if name.startswith(prefix)}


def _bridge_entries(part: Part, own: Mapping[str, tuple[int, ...]]) -> list[Entry]:
    """Our bridges keep the published names."""
    names = {ours: ours.removeprefix(BRIDGE) for ours in own}
    refuse_part("the bridge, rgb_pooler", {names[ours]: shape for ours, shape in own.items()}, part.shapes())
    return [Entry(ours, shape, part.reader(names[ours])) for ours, shape in own.items()]


def _tokenizer(system: System, base: language.BaseModel, rows: int) -> PreTrainedTokenizerFast:
    """Open the base model's tokenizer and add the tokens whose rows the adapter brought."""
    made = open_tokenizer(base.folder)
    added = rows - int(base.config.vocab_size)
    tokens = system.added_tokens[len(system.added_tokens) - added :]
    if added and (added > len(system.added_tokens) or len(made) != base.config.vocab_size):
        raise WeightsError(
            "the adapter brings rows for tokens that are not known",
            found=f"{rows} rows; {base.config.vocab_size} in the base model, {len(made)} in its tokenizer",
            allowed=f"as many as the tokenizer has, and up to {len(system.added_tokens)} more",
        )
    if len(made) > rows:
        raise WeightsError(
            "the tokenizer has more tokens than the base model",
            found=f"{len(made)} tokens, {rows} rows",
            next_step="check that tokenizer.json belongs to the base model",
        )
    for token in tokens:
        made.add_special_tokens({"pad_token" if token == tokens[-1] else "unk_token": token})
    if made.pad_token is None:
        made.pad_token = made.unk_token or made.eos_token
    return made


def _config(
    system: System,
    preset: Preset,
    options: Options,
    checkpoint: Checkpoint,
    seen: tower.Tower,
    base: language.BaseModel,
    tokenizer: PreTrainedTokenizerFast,
    rows: int,
) -> LhrsConfig:
    taps = options.taps or system.taps(seen.depth)
    layers = options.layers or system.layers(seen.depth)
    stored = tower.layers_stored(checkpoint.tower)
    if stored != layers:
        raise WeightsError(
            "the vision tower in FINAL.pt has another number of layers",
            found=stored,
            allowed=f"{layers}, from {seen.depth} in {options.vision}",
            next_step=f"check --vision, or say --layers {stored} and --taps if this model was made so",
        )
    vision = dict(seen.vision_config)
    if seen.name == "siglip":
        vision["vision_use_head"] = f"{tower.PUBLISHED}head.probe" in checkpoint.tower.shapes()
    text = {key: value for key, value in base.config.to_dict().items() if key not in ("_name_or_path", "architectures")}
    dtype = str(options.dtype).removeprefix("torch.")
    made = LhrsConfig(
        encoder={"name": seen.name, "vision_config": vision, "taps": list(taps), "layers": layers},
        bridge=_bridge(system, preset, options, checkpoint.bridge, len(taps), seen.vision_config["hidden_size"]),
        text_config={**text, "vocab_size": rows, "dtype": dtype},
        image_size_px=seen.image.size_px,
        image_token_id=rows,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=language.eos_ids(base, tokenizer, system.ends),
        pad_token_id=tokenizer.pad_token_id,
        architectures=[LhrsForConditionalGeneration.__name__],
        dtype=dtype,
    )
    out = checkpoint.bridge.shapes().get("out_proj.weight", (0,))[0]
    if out != made.text_config.hidden_size:
        raise WeightsError(
            "the bridge does not fit the base language model",
            found=f"a bridge to width {out}, a language model of width {made.text_config.hidden_size}",
            next_step="give the base model that the system was published with as --llm",
        )
    return made


def _bridge(
    system: System, preset: Preset, options: Options, part: Part, levels: int, encoder_width: int
) -> dict[str, Any]:
    """Read the bridge's shape from its tensors; what they do not tell is the user's, or as published."""
    shapes, published_bridge = part.shapes(), preset.bridge
    count, width = shapes["query"][1:]
    queries = options.queries or tuple(published_bridge["queries"])
    if sum(queries) != count or len(queries) != levels:
        raise WeightsError(
            "the queries of the bridge do not divide among the levels",
            found=f"{count} queries, {levels} levels, split {', '.join(map(str, queries))}",
            next_step=f"say --queries with {levels} numbers that sum to {count}",
        )
    heads = options.heads or published_bridge["num_heads"]
    published_width = preset.encoder["vision_config"]["hidden_size"]
    if options.heads is None and width != published_width:
        log.warning(
            "the bridge is %d wide, the published one %d; it is given %d heads, as published: see --heads",
            width,
            published_width,
            heads,
        )
    numbers = {name.split(".")[1] for name in shapes if name.startswith("layers.")}
    made = {
        "name": published_bridge["name"],
        "queries": list(queries),
        "num_layers": max(1, len(numbers)),
        "num_heads": heads,
        **system.bridge(shapes, options.top_k or published_bridge.get("top_k", 1)),
    }
    return made if width == encoder_width else {**made, "width": width}


def mlp_ratio(inner: int, width: int) -> float:
    """Return inner / width, such that int(width * ratio) is inner again."""
    ratio = inner / width
    return ratio if int(width * ratio) == inner else math.nextafter(ratio, math.inf)


def _write(
    preset: Preset,
    options: Options,
    checkpoint: Checkpoint,
    config: LhrsConfig,
    processor: LhrsProcessor,
    entries: list[Entry],
    stage: str,
) -> Report:
    adapter = checkpoint.adapter
    kept = [] if adapter is None or not options.keep_adapter else language.adapter_entries(adapter)
    with whole_folder(options.out) as scratch:
        writing.check_room(scratch, [*entries, *kept], options.dtype)
        config.save_pretrained(scratch)
        processor.save_pretrained(scratch)
        _generation(preset, config).save_pretrained(scratch)
        files = writing.write_model(scratch, entries, options.dtype, options.shard_bytes)
        if adapter is not None and kept:
            name = "adapter_model.safetensors"
            files[name] = writing.write_file(scratch / name, kept, options.dtype)
            _write_json(scratch / "adapter_config.json", language.adapter_config(adapter))
        read = [checkpoint.folder / published.FINAL]
        read += [] if adapter is None else sorted(adapter.folder.glob("adapter_model.*"))
        record = {
            "converted_from": preset.name,
            "stage": stage,
            "sources": {str(path.relative_to(checkpoint.folder)): file_sha256(path) for path in read},
            "llm": options.llm,
            "vision": options.vision,
            "image_variant": options.image_variant,
            "files": files,
        }
        _write_json(scratch / RECORD, record)
    return Report(options.out, tuple(files), sum(entry.numel for entry in entries), stage)


def _generation(preset: Preset, config: LhrsConfig) -> GenerationConfig:
    """The published defaults; those of the base model are not taken over, but its end tokens are."""
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        **preset.generation,
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
