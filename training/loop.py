"""The one loop: transformers' Trainer, fed with cached features. Saves only what is trained; resumes exactly."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lhrs_chat import samples
from lhrs_chat.config import dump_yaml
from lhrs_chat.errors import DataError
from lhrs_chat.models.assemble import build_untrained
from lhrs_chat.models.processing import LhrsProcessor
from lhrs_chat.models.strict import load_strictly, refuse
from lhrs_chat.models.vlm import LhrsForConditionalGeneration
from lhrs_chat.presets import Preset, load_preset
from lhrs_chat.schema import Sample

from .data import file_of, packs, plan
from .features import FeatureStore
from .packing import IGNORED, Pack, collate
from .recipe import Recipe
from .words import Vocabulary, WordObjective

log = logging.getLogger(__name__)

TRAINED = "trained.safetensors"


class TextObjective(nn.Module):
    """Next-token loss over the answers; only their positions pass the language model's head."""

    def __init__(self, model: LhrsForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        levels: Sequence[torch.Tensor],
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        """Return the mean loss over all answer tokens. `levels`: (B, N, D) each; ids, labels, positions: (B, T)."""
        model = self.model
        embedded = model.splice(input_ids, model.bridge(levels))
        text = model.language_model.get_base_model()
        hidden = text.model(
            inputs_embeds=embedded, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        learned = labels[:, 1:] != IGNORED
        logits = text.lm_head(hidden[:, :-1][learned])
        return functional.cross_entropy(logits.float(), labels[:, 1:][learned])


class Rows(Dataset[Any]):
    """A list, as torch wants it."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class StageTrainer(Trainer):
    """Trainer whose model returns the loss, whose order is fixed, and which saves trained tensors only."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run the objective."""
        loss: torch.Tensor = model(**inputs)
        return loss

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained_state(self.trained_module), folder / TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.trained_module, Path(resume_from_checkpoint) / TRAINED)

    @property
    def trained_module(self) -> nn.Module:
        """The module that is trained."""
        if self.model is None:
            raise DataError("a stage has an objective", found="none")
        return self.model


class StopAt(TrainerCallback):
    """Ends a run at a step, with a checkpoint; None lets it go on."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Stop where it was asked for."""
        if self.step is not None and state.global_step >= self.step:
            control.should_training_stop = control.should_save = True
        return control


def trained_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the tensors of `module` that are trained."""
    return {name: tensor.detach().contiguous() for name, tensor in module.named_parameters() if tensor.requires_grad}


def load_trained(module: nn.Module, file: Path) -> None:
    """Put back what `trained_state` gave, all of it."""
    own = trained_state(module)
    stored = load_file(file)
    misshaped = [name for name in own.keys() & stored.keys() if own[name].shape != stored[name].shape]
    refuse(str(file), own.keys() - stored.keys(), stored.keys() - own.keys(), misshaped)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])


def start_like_text(model: LhrsForConditionalGeneration) -> None:
    """Let the bridge begin with tokens of the mean and spread of the language model's own embeddings."""
    table: torch.Tensor = model.get_input_embeddings().weight.detach()  # type: ignore[operator]
    norm: Any = model.bridge.norm
    with torch.no_grad():
        norm.weight.fill_(float((table - table.mean(0)).std()))
        norm.bias.copy_(table.mean(0))


def place_words(model: LhrsForConditionalGeneration, tokenizer: Any, seed: int) -> None:
    """Let each grid token carry where it lies: the words of its row and column, and a direction of its own for each.

    Half as strong as the tokens themselves, so that what a cell shows stays readable.
    """
    table: torch.Tensor = model.get_input_embeddings().weight.detach()  # type: ignore[operator]
    rows, columns = model.encoder.grids(model.config.image_size_px)[-1]
    generator = torch.Generator().manual_seed(seed)

    def axis(count: int, words: tuple[str, str, str]) -> torch.Tensor:
        said = torch.stack([table[tokenizer(" " + word, add_special_tokens=False).input_ids].mean(0) for word in words])
        said = functional.interpolate((said - table.mean(0)).T[None], size=count, mode="linear", align_corners=True)
        own = torch.randn(count, table.shape[1], generator=generator)
        return functional.normalize(said[0].T, dim=-1) + functional.normalize(own, dim=-1)

    down, across = axis(rows, ("upper", "middle", "lower")), axis(columns, ("left", "centre", "right"))
    places = (down[:, None] + across[None]).reshape(rows * columns, -1)
    strength = 0.5 * float((table - table.mean(0)).std()) / float(places.std())
    position: Any = model.bridge.position
    with torch.no_grad():
        position.copy_(strength * places)


def freeze(model: LhrsForConditionalGeneration, recipe: Recipe) -> None:
    """Leave only those parts of the bridge to be trained that the recipe gives a learning rate."""
    model.requires_grad_(False)
    for name, tensor in model.bridge.named_parameters():
        tensor.requires_grad_(("position" if name == "position" else "bridge") in recipe.optim.lr)


def prepare(recipe: Recipe) -> tuple[LhrsForConditionalGeneration, LhrsProcessor, Preset]:
    """Build the model of a recipe, with what an earlier stage trained, and freeze what is not learned."""
    preset = load_preset(recipe.preset)
    torch.manual_seed(recipe.seed)
    model, processor = build_untrained(preset)
    start_like_text(model)
    if recipe.start is not None:
        load_strictly(model.bridge, load_file(recipe.start / "bridge.safetensors"), str(recipe.start))
    freeze(model, recipe)
    if "lora" in recipe.optim.lr:
        lora = LoraConfig(
            r=preset.lora.rank, lora_alpha=preset.lora.alpha, target_modules=list(preset.lora.targets), lora_dropout=0.0
        )
        model.language_model = get_peft_model(model.language_model, lora)
        if recipe.start is not None and (recipe.start / "adapter_model.safetensors").exists():
            model.language_model.load_adapter(str(recipe.start), "default", is_trainable=True)
    if recipe.place_words:
        place_words(model, processor.tokenizer, recipe.seed)
    if recipe.optim.precision == "bf16":
        for tensor in model.language_model.parameters():
            if not tensor.requires_grad:
                tensor.data = tensor.data.to(torch.bfloat16)
    return model, processor, preset


def optimizer(module: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make AdamW with the learning rate of each part; norms, biases and scales do not decay."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, tensor in module.named_parameters():
        if tensor.requires_grad:
            part = "lora" if "lora_" in name else "position" if name.endswith("bridge.position") else "bridge"
            groups.setdefault((part, tensor.dim() > 1), []).append(tensor)
    optim = recipe.optim
    return torch.optim.AdamW(
        [
            {"params": tensors, "lr": optim.lr[part], "weight_decay": optim.weight_decay if decays else 0.0}
            for (part, decays), tensors in groups.items()
        ],
        betas=(0.9, 0.98),
    )


def words_stage(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor
) -> tuple[nn.Module, list[Any], Callable[[Sequence[Any]], dict[str, Any]]]:
    """Set up the objective `words`: its module, its rows and how they become a batch."""
    folder = recipe.data.folder
    everything = train_facts(recipe)
    facts = [fact for fact in everything if recipe.data.mix.get(fact.source)]
    store = _features(recipe, model, processor, everything)
    words = Vocabulary(facts, str(folder), model.encoder.grids(model.config.image_size_px)[-1])
    log.info("%d pictures, %d words", len(facts), len(words.words))
    rng = np.random.default_rng(recipe.seed)
    rows = [fact for _ in range(recipe.data.passes) for fact in plan(facts, recipe.data, rng)]

    def batch(drawn: Sequence[Any]) -> dict[str, Any]:
        return {"levels": store.get([file_of(fact) for fact in drawn]), "targets": words.targets(drawn)}

    return WordObjective(model, words.words, processor.tokenizer), rows, batch


def text_stage(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor
) -> tuple[nn.Module, list[Any], Callable[[Sequence[Any]], dict[str, Any]]]:
    """Set up the objective `text`: its module, its packs and how they become a batch."""
    rows = packs(recipe.data, processor, recipe.optim.batch_images, recipe.seed)
    store = _features(recipe, model, processor, train_facts(recipe))
    pad_id = processor.tokenizer.pad_token_id

    def batch(drawn: Sequence[Pack]) -> dict[str, Any]:
        made = collate(drawn, pad_id)
        return {"levels": store.get([pack.file for pack in drawn]), **vars(made)}

    return TextObjective(model), rows, batch


def train_facts(recipe: Recipe) -> list[Sample]:
    """Return the facts of all pictures that may be learned from."""
    return [fact for fact in samples.read(recipe.data.folder / "facts.jsonl") if fact.split == "train"]


def _features(
    recipe: Recipe, model: LhrsForConditionalGeneration, processor: LhrsProcessor, facts: Sequence[Sample]
) -> FeatureStore:
    """Open the features of all pictures, whatever the mix, so that every stage shares them."""
    files = list(dict.fromkeys(file_of(fact) for fact in facts))
    cache = recipe.data.folder / "features"
    return FeatureStore(cache, model.encoder.eval(), processor.image_processor, files, model.config.image_size_px)


def arguments(recipe: Recipe) -> TrainingArguments:
    """Translate a recipe into the Trainer's arguments."""
    optim = recipe.optim
    return TrainingArguments(
        output_dir=str(recipe.out),
        per_device_train_batch_size=optim.batch_images,
        max_steps=optim.max_steps,
        num_train_epochs=1,
        warmup_steps=optim.warmup_share,
        lr_scheduler_type=optim.schedule,
        max_grad_norm=optim.clip_norm,
        logging_steps=recipe.log_steps,
        save_steps=recipe.save_steps,
        save_total_limit=2,
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=optim.precision == "bf16",
        remove_unused_columns=False,
        report_to=[],
        dataloader_num_workers=0,
        disable_tqdm=True,
    )


def run(recipe: Recipe) -> Path:
    """Run a stage to its end, from its last checkpoint where there is one, and write what it trained."""
    recipe.out.mkdir(parents=True, exist_ok=True)
    model, processor, _ = prepare(recipe)
    stage = words_stage if recipe.objective == "words" else text_stage
    objective, rows, batch = stage(recipe, model, processor)
    (recipe.out / "recipe.yaml").write_text(dump_yaml(recipe))
    trained = sum(tensor.numel() for tensor in objective.parameters() if tensor.requires_grad)
    steps = recipe.optim.max_steps if recipe.optim.max_steps > 0 else math.ceil(len(rows) / recipe.optim.batch_images)
    log.info("%.2f M parameters are trained, %d steps", trained / 1e6, steps)
    trainer = StageTrainer(
        model=objective,
        args=arguments(recipe),
        train_dataset=Rows(rows),
        data_collator=batch,
        optimizers=(optimizer(objective, recipe), None),
        callbacks=[StopAt(recipe.optim.stop_step)],
    )
    checkpoints = sorted(recipe.out.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    trainer.train(resume_from_checkpoint=str(checkpoints[-1]) if checkpoints else None)
    write_trained(model, recipe.out)
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    (recipe.out / "loss.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in history))
    return recipe.out


def write_trained(model: LhrsForConditionalGeneration, folder: Path) -> None:
    """Write the bridge, and the adapter where there is one, in the form that presets ship."""
    bridge = {name: tensor.detach().contiguous() for name, tensor in model.bridge.state_dict().items()}
    save_file(bridge, folder / "bridge.safetensors")
    if isinstance(model.language_model, PeftModel):
        model.language_model.save_pretrained(str(folder))
        (folder / "README.md").unlink()  # peft's empty model card
