"""LHRS-Bot and LHRS-Bot-Nova in tiny: presets of small sizes, random published parts on disk, and rows to learn."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM, SiglipConfig, SiglipModel

from lhrs_chat import presets
from lhrs_chat.schema import Image, Message, Sample
from tests import tiny
from training.recipe import Recipe, load_recipe

DATA = Path(__file__).parents[1] / "data"
SIZE_PX = 32
LLM = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "image_size": SIZE_PX, "patch_size": 8}


@dataclass(frozen=True)
class TinySystem:
    """A published system in tiny: its preset's name, and overrides that make its recipes small and quick."""

    preset: str
    parts: Path

    @property
    def recipe(self) -> str:
        return self.preset.replace("-", "_")

    def small(self, stage: int, data: Path, out: Path, *more: str) -> list[str]:
        """Overrides for a stage: 20 steps on one batch, at rates that a tiny model learns with."""
        settings = [
            f"data.folder={data / ('captions' if stage == 1 else 'talks')}",
            f"out={out / f'stage{stage}'}",
            f"parts.language_model={self.parts / 'llm'}",
            f"parts.encoder={self.parts / 'tower'}",
            "data.workers=0",
            "optim.batch_images=4",
            "optim.accumulate=1",
            "optim.max_steps=20",
            "optim.warmup_steps=2",
            "optim.min_lr=1e-3",
            "optim.precision=fp32",
            "log_steps=1",
        ]
        settings += [f"optim.lr.{part}=1e-2" for part in TRAINED[self.preset][stage - 1]]
        settings += [f"start={out / f'stage{stage - 1}'}"] if stage > 1 else []
        settings += ["lora.rank=4", "lora.alpha=8"] if stage == 2 else []
        return [*settings, *more]


TRAINED = {
    "lhrs-bot": (("bridge",), ("bridge", "lora"), ("lora",)),
    "lhrs-bot-nova": (("bridge", "^encoder"), ("bridge", "lora"), ("bridge", "lora")),
}
SYSTEMS = tuple(TRAINED)


def tiny_preset(name: str) -> dict:
    """The shipped preset with the sizes of a toy."""
    made = yaml.safe_load((presets.FOLDER / f"{name}.yaml").read_text())
    nova = name == "lhrs-bot-nova"
    made["encoder"]["vision_config"] |= {**TOWER, "num_hidden_layers": 5 if nova else 4}
    made["encoder"]["taps"] = [1, 2, 4] if nova else [1, 2, 3]
    if nova:
        made["encoder"]["layers"] = 4
    made["bridge"] |= {"queries": [3, 2, 1], "num_layers": 1, "num_heads": 2}
    made["image"]["size_px"] = SIZE_PX
    made["image_variants"] = {}
    return made


def published_parts(name: str, folder: Path) -> Path:
    """Random language model, and tower with its text model beside it, of a system, as their owners publish them."""
    torch.manual_seed(3)
    nova = name == "lhrs-bot-nova"
    words = DATA / ("nova_tiny_tokenizer" if nova else "lhrs_tiny_tokenizer")
    ids = {"vocab_size": 320, "bos_token_id": 315, "eos_token_id": 319} if nova else {"vocab_size": 360}
    LlamaForCausalLM(LlamaConfig(**LLM, **ids)).save_pretrained(folder / "llm")
    shutil.copytree(words, folder / "llm", dirs_exist_ok=True)
    words = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {
        "text_config": {**words, "vocab_size": 40},
        "vision_config": {**TOWER, "num_hidden_layers": 5 if nova else 4},
    }
    both = SiglipModel(SiglipConfig(**sizes)) if nova else CLIPModel(CLIPConfig(**sizes, projection_dim=8))
    both.save_pretrained(folder / "tower")
    return folder


TALKS = (
    (("describe the image", "a river and a bridge"),),
    (("is the harbor near the bridge", "near the bridge"), ("describe the image", "a river"), ("the", "harbor")),
    (("the image", "the harbor and a bridge and a river"),),
)


def row(name: str, talk: tuple[tuple[str, str], ...], file: Path | None) -> Sample:
    """One row: questions and answers, the picture in the first question."""
    turns = []
    for number, (question, answer) in enumerate(talk):
        turns.append(Message.of("user", question, images=(0,) if number == 0 and file is not None else ()))
        turns.append(Message.of("assistant", answer))
    images = () if file is None else (Image(path=f"../{file.name}"),)
    return Sample(name, images, "talk", "made", "Apache-2.0", name, tuple(turns))


def tiny_folder(folder: Path) -> Path:
    """The tiny model of all tests as a folder that a recipe takes as `model`."""
    model, processor = tiny.model_and_processor()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


WORDS = ("river", "bridge", "harbor", "field", "road", "pond", "tree", "ship")


def talks(count: int, files: list[Path], split: str = "train", seed: int = 0) -> list[Sample]:
    """Conversations of very different lengths, of two sources, each with a picture of its own, two, or none."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        words = " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), int(rng.integers(1, 40))))
        shown = [files[(number + i) % len(files)] for i in range(int(rng.integers(0, 3)))]
        turns = (
            Message.of("user", f"what is {number}", images=tuple(range(len(shown)))),
            Message.of("assistant", words),
            *((Message.of("user", "again"), Message.of("assistant", words[:9])) if number % 3 == 0 else ()),
        )
        name = f"{split}/{number}"
        images = tuple(Image(path=str(file)) for file in shown)
        source = "long" if len(words) > 90 else "short"
        rows.append(Sample(name, images, "talk", source, "Apache-2.0", name, turns, split=split))
    return rows


def tiny_recipe(folder: Path, data: Path, out: Path, *more: str) -> Recipe:
    """A stage `chat` on the tiny model: bridge and a new adapter, without dropout."""
    settings = (
        *(f"model={folder}", f"data.folder={data}", f"out={out}", "optim.batch_images=4", "log_steps=1"),
        *("optim.max_steps=4", 'optim.lr={"bridge": 1e-2, "lora": 1e-2}', "optim.schedule=constant"),
    )
    base = out.parent / f"{out.name}.yaml"
    out.parent.mkdir(parents=True, exist_ok=True)
    base.write_text("preset: lhrs-nano\nobjective: chat\nlora: {rank: 2, alpha: 4}\n" + START)
    return load_recipe(str(base), [*settings, *more])


START = "data: {folder: nowhere}\noptim: {lr: {bridge: 1e-2}, batch_images: 1}\n"
