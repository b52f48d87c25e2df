"""One stage from its recipe to what it trained: the model, its rows, the objective, the loop, the files."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import nn

from lhrs_chat import samples
from lhrs_chat.config import dump_yaml
from lhrs_chat.errors import ConfigError
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.schema import Sample

from . import conversations
from .data import file_of, packs, plan
from .features import FeatureStore
from .optimizer import adamw, choose
from .packing import Pack, collate
from .pictures import pixels_of
from .recipe import Recipe
from .start import BRIDGE, ENCODER, prepare
from .text import TextObjective
from .trainer import Rows, StageTrainer, StopAt, arguments
from .words import Vocabulary, WordObjective

log = logging.getLogger(__name__)

COMPILED_LENGTHS = 64  # batches come in multiples of it where layers are compiled, each for one length
HELD = {"bf16": torch.bfloat16, "fp16": torch.float16}
Batch = Callable[[Sequence[Any]], dict[str, Any]]


def words_stage(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor
) -> tuple[nn.Module, list[Any], Batch]:
    """Set up the objective `words`: its module, its rows and how they become a batch."""
    folder = recipe.data.folder
    everything = train_facts(recipe)
    facts = [fact for fact in everything if recipe.data.share(fact.source)]
    store = _features(recipe, model, processor, map(file_of, everything))
    words = Vocabulary(facts, str(folder), model.encoder.grids(model.config.image_size_px)[-1])
    log.info("%d pictures, %d words", len(facts), len(words.words))
    rng = np.random.default_rng(recipe.seed)
    rows = [fact for _ in range(recipe.data.passes) for fact in plan(facts, recipe.data, rng)]

    def batch(drawn: Sequence[Any]) -> dict[str, Any]:
        return {"levels": store.get([file_of(fact) for fact in drawn]), "targets": words.targets(drawn)}

    return WordObjective(model, words.words, processor.tokenizer), rows, batch


def text_stage(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor
) -> tuple[nn.Module, list[Any], Batch]:
    """Set up the objective `text`: its module, its packs and how they become a batch."""
    objective = _next_token(recipe, model, cached=True)
    rows = packs(recipe.data, processor, recipe.optim.batch_images, recipe.seed)
    store = _features(recipe, model, processor, map(file_of, train_facts(recipe)))
    pad_id = processor.tokenizer.pad_token_id

    def batch(drawn: Sequence[Pack]) -> dict[str, Any]:
        made = collate(drawn, pad_id, COMPILED_LENGTHS if recipe.optim.compile else 1)
        return {"levels": store.get([pack.file for pack in drawn]), **vars(made)}

    return objective, rows, batch


def conversation_stage(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor
) -> tuple[nn.Module, list[Any], Batch]:
    """Set up the objectives `plain` and `chat`: the module, the rows and how they become a batch."""
    data = recipe.data
    objective = _next_token(recipe, model, cached=data.cache_features)
    label = (
        conversations.plain(processor)
        if recipe.objective == "plain"
        else conversations.chat(processor, _ends(model, processor))
    )
    longest = model.config.text_config.max_position_embeddings
    rows = conversations.rows_of(data, label, longest, recipe.optim.batch_images, recipe.seed)
    store = None
    if data.cache_features:
        store = _features(recipe, model, processor, (file for row in rows for file in row.files))

    def batch(drawn: Sequence[conversations.Row]) -> dict[str, Any]:
        made: dict[str, Any] = conversations.collate(drawn, processor)
        shown = [file for row in drawn for file in row.files]
        if shown and store is not None:
            made["levels"] = store.get(shown)
        elif shown:
            made["pixel_values"] = pixels_of(processor.image_processor, shown)
        return made

    return objective, rows, batch


def _next_token(recipe: Recipe, model: LhrsForConditionalGeneration, *, cached: bool) -> TextObjective:
    """Make the objective and check what it trains before rows are read and features computed."""
    objective = TextObjective(model)
    choose(objective, recipe.optim.lr)
    if cached and any(tensor.requires_grad for tensor in model.encoder.parameters()):
        raise ConfigError(
            "features are kept of a frozen encoder only",
            found=f"a learning rate for the encoder, objective {recipe.objective}",
            allowed="the objectives plain and chat with cache_features: false",
        )
    return objective


def _ends(model: LhrsForConditionalGeneration, processor: LhrsProcessor) -> frozenset[int]:
    """Return the ids at which the model stops to speak."""
    named = model.config.eos_token_id
    return frozenset({processor.tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None})


STAGES = {"words": words_stage, "text": text_stage, "plain": conversation_stage, "chat": conversation_stage}


def train_facts(recipe: Recipe) -> list[Sample]:
    """Return the facts of all pictures that may be learned from."""
    return [fact for fact in samples.read(recipe.data.folder / "facts.jsonl") if fact.split == "train"]


def _features(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor, files: Iterable[str]
) -> FeatureStore:
    """Open the features of pictures. `words` and `text` ask for those of all, whatever the mix, and so share them."""
    cache, once = recipe.data.folder / "features", list(dict.fromkeys(files))
    return FeatureStore(cache, model.encoder.eval(), processor.image_processor, once, model.config.image_size_px)


def run(recipe: Recipe) -> Path:
    """Run a stage to its end, from its last checkpoint where there is one, and write what it trained.

    Raises:
        LhrsError: the recipe, the rows or what it starts from do not fit; nothing was trained.
    """
    model, processor = prepare(recipe)
    history = fit(recipe, model, processor)
    write_trained(model, recipe)
    (recipe.out / "loss.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in history))
    return recipe.out


def fit(recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor) -> list[dict[str, Any]]:
    """Train the parts of `model` that the recipe names, in place, and return what was logged."""
    settings = arguments(recipe)
    model.requires_grad_(False)
    objective, rows, batch = STAGES[recipe.objective](recipe, model, processor)
    rates = choose(objective, recipe.optim.lr)
    _hold(model, recipe)
    recipe.out.mkdir(parents=True, exist_ok=True)
    (recipe.out / "recipe.yaml").write_text(dump_yaml(recipe))
    _tell(objective, rates)
    optim = recipe.optim
    steps = optim.max_steps if optim.max_steps > 0 else math.ceil(len(rows) / (optim.batch_images * optim.accumulate))
    log.info("%d rows, %d steps", len(rows), steps)
    trainer = StageTrainer(
        optim,
        model=objective,
        args=settings,
        train_dataset=Rows(rows),
        data_collator=batch,
        optimizers=(adamw(objective, rates, optim), None),
        callbacks=[StopAt(optim.stop_step)],
    )
    checkpoints = sorted(recipe.out.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _tell(objective: nn.Module, rates: Mapping[str, float]) -> None:
    """Say what is trained, part by part."""
    sizes: Counter[tuple[str, float]] = Counter()
    for name, tensor in objective.named_parameters():
        if name in rates:
            sizes[name.removeprefix("model.").split(".")[0], rates[name]] += tensor.numel()
    for (part, rate), size in sizes.items():
        log.info("trained: %s, %.2f M parameters at a learning rate of %g", part, size / 1e6, rate)


def _hold(model: LhrsForConditionalGeneration, recipe: Recipe) -> None:
    """Hold what is frozen of the language model in half precision, and keep fewer of its layers' results, as asked."""
    dtype = HELD.get(recipe.optim.precision)
    if dtype is not None:
        for tensor in model.language_model.parameters():
            if not tensor.requires_grad:
                tensor.data = tensor.data.to(dtype)
    if recipe.optim.compile:
        _compile_layers(model)
    if recipe.optim.gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its newer name is not in every version that is allowed
            model.gradient_checkpointing_enable()  # type: ignore[no-untyped-call]


def _compile_layers(model: LhrsForConditionalGeneration) -> None:
    """Compile each layer of the language model for every length of batch that comes.

    Attention is written out: on a CPU the backward pass of the fused one takes longer than it does.
    """
    text: Any = model.language_model
    text = text.get_base_model() if isinstance(text, PeftModel) else text
    text.set_attn_implementation("eager")
    for layer in text.model.layers:
        layer.compile(dynamic=False)


def write_trained(model: LhrsForConditionalGeneration, recipe: Recipe) -> None:
    """Write what this stage and those before it trained, in the form that presets ship.

    The bridge is always written, the encoder where a stage trained it, the adapter where there is one.
    """
    folder, start = recipe.out, recipe.start
    parts: dict[str, nn.Module] = {BRIDGE: model.bridge}
    learned = any(tensor.requires_grad for tensor in model.encoder.parameters())
    if learned or (start is not None and (start / ENCODER).is_file()):
        parts[ENCODER] = model.encoder
    for name, part in parts.items():
        save_file({key: tensor.detach().contiguous() for key, tensor in part.state_dict().items()}, folder / name)
    if isinstance(model.language_model, PeftModel):
        model.language_model.save_pretrained(str(folder))
        (folder / "README.md").unlink()  # peft's empty model card
