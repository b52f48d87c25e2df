"""LHRS-Bot and LHRS-Bot-Nova against recordings of the original code in tiny random sizes, stage by stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration, LhrsImageProcessor, LhrsProcessor
from lhrs_chat.models.assemble import make_image_processor, make_processor
from lhrs_chat.models.backends import Done, Request
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.models.bridges import BRIDGES, BridgeShape
from lhrs_chat.models.bridges.moe_attn_pooler import MoeAttnPooler
from lhrs_chat.models.generate import Sampling, decode
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.presets import Preset, load_preset
from lhrs_chat.schema import Message
from lhrs_chat.text.templates import render

DATA = Path(__file__).parents[1] / "data"
SYSTEM = "You describe images."
IMAGE_ID = -200  # how the recordings mark an image

Tensors = dict[str, torch.Tensor]


def below(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def assert_near(found: torch.Tensor, wanted: torch.Tensor, most: float) -> None:
    torch.testing.assert_close(found, wanted, atol=most, rtol=0)


@dataclass(frozen=True)
class System:
    """One recorded system, and ours made from its sizes and weights."""

    tensors: Tensors
    meta: dict[str, Any]
    preset: Preset
    model: LhrsForConditionalGeneration
    processor: LhrsProcessor

    def expanded(self, recorded: torch.Tensor) -> torch.Tensor:
        """Recorded ids (B, T), with the mark of the image repeated for each of our visual tokens."""
        rows = []
        for row in recorded.tolist():
            rows.append(
                [
                    our
                    for token in row
                    for our in (
                        [self.processor.image_token_id] * self.processor.num_image_tokens
                        if token == IMAGE_ID
                        else [token]
                    )
                ]
            )
        return torch.tensor(rows)


def tokenizer_of(folder: str, extra: Sequence[str]) -> PreTrainedTokenizerFast:
    named = json.loads((DATA / folder / "special_tokens_map.json").read_text())
    made = PreTrainedTokenizerFast(tokenizer_file=str(DATA / folder / "tokenizer.json"), **named)
    made.add_special_tokens({"additional_special_tokens": list(extra)})
    made.pad_token = extra[-1] if extra else made.unk_token
    return made


def vision_settings(meta: dict[str, Any]) -> dict[str, Any]:
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size")
    return {key: meta["vision"][key] for key in keys}


def make_system(name: str) -> System:
    tensors = load_file(DATA / f"{name}_full_tiny.safetensors")
    meta = json.loads((DATA / f"{name}_full_tiny.json").read_text())
    preset = load_preset({"nova": "lhrs-bot-nova", "lhrs": "lhrs-bot"}[name])
    tokenizer = tokenizer_of(f"{name}_tiny_tokenizer", ["<unk>", "|<pad>|"] if name == "nova" else [])
    observed = meta["observed"]
    encoder = {"name": preset.encoder["name"], "vision_config": vision_settings(meta)}
    encoder["taps"] = observed["tap_indices"] if name == "nova" else observed["taps"]
    if name == "nova":
        encoder["layers"] = observed["n_vision_layers_kept"]
    bridge = {
        **preset.bridge,
        "queries": meta["bridge"]["stage_num"],
        "num_layers": meta["bridge"]["num_layers"],
        "num_heads": meta["bridge"]["num_attn_heads"],
    }
    llm = {key: value for key, value in meta["llm"].items() if key not in ("cls", "vocab_size", "bos", "eos")}
    text = AutoConfig.for_model(
        "llama",
        **llm,
        vocab_size=len(tensors["merged_llm.model.embed_tokens.weight"]),
        bos_token_id=meta["llm"]["bos"],
        eos_token_id=meta["llm"]["eos"],
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LhrsConfig(encoder, bridge, text.to_dict(), meta["vision"]["image_size"], len(tokenizer))
    model = LhrsForConditionalGeneration(config).eval()
    tower = below(tensors, "final.rgb_ckpt.encoder.vision_model.")
    state = {f"encoder.tower.{key}": tensor for key, tensor in tower.items()}
    state |= {f"bridge.{key}": tensor for key, tensor in below(tensors, "final.other_ckpt.rgb_pooler.").items()}
    state |= {f"language_model.{key}": tensor for key, tensor in below(tensors, "merged_llm.").items()}
    load_strictly(model, state, name)
    processor = make_processor(preset, model.bridge.num_tokens, tokenizer)
    processor.system = SYSTEM
    processor.image_processor.size_px = meta["vision"]["image_size"]
    return System(tensors, meta, preset, model, processor)


@pytest.fixture(scope="module", params=["nova", "lhrs"])
def system(request: pytest.FixtureRequest) -> System:
    return make_system(request.param)


def turns_of(pairs: Sequence[Sequence[str]]) -> list[Message]:
    """Recorded questions and answers as messages; the image stands in the first question."""
    messages = []
    for number, (question, answer) in enumerate(pairs):
        asked = question.replace("<image>", "").strip()
        messages.append(Message.of("user", asked, images=(0,) if number == 0 else ()))
        messages.append(Message.of("assistant", answer))
    return messages


def prompt_of(system: System, messages: Sequence[Message], *, opened: bool) -> str:
    processor = system.processor
    return render(
        processor.tokenizer,
        messages,
        image_token=processor.image_token,
        system=processor.system,
        add_generation_prompt=opened,
    )


def asked(system: System) -> Message:
    question = system.meta["conversations"]["sample0"][0][0]
    return turns_of([(question, "")])[0]


def greedy(system: System) -> list[int]:
    """The recorded answer; the first system's old library puts a token before it that begins a text."""
    ids: list[int] = system.tensors["generated_ids"][0].tolist()
    return ids[1:] if ids[0] == system.processor.tokenizer.bos_token_id else ids


def test_pixels(system: System) -> None:
    pixels = system.processor.image_processor([system.tensors["image"].numpy()])["pixel_values"]
    assert_near(pixels, system.tensors["pixel_values"], 1e-6)


def test_prompt_and_ids(system: System) -> None:
    prompt = prompt_of(system, [asked(system)], opened=True)
    assert prompt == system.processor.tokenizer.bos_token + system.meta["prompt"]
    assert system.processor.encode(prompt) == system.expanded(system.tensors["input_ids"])[0].tolist()


@pytest.mark.parametrize("sample", ["sample0", "sample1"])
def test_ids_of_conversations(system: System, sample: str) -> None:
    prompt = prompt_of(system, turns_of(system.meta["conversations"][sample]), opened=False)
    recorded = system.tensors[f"{sample}.input_ids"][None]
    assert system.processor.encode(prompt) == system.expanded(recorded)[0].tolist()


@pytest.mark.parametrize("sample", ["sample0", "sample1"])
def test_nova_answers_are_what_is_learned(sample: str) -> None:
    system = make_system("nova")
    messages = turns_of(system.meta["conversations"][sample])
    learned: list[int] = []
    for end in range(2, len(messages) + 1, 2):
        before = system.processor.encode(prompt_of(system, messages[: end - 1], opened=True))
        after = system.processor.encode(prompt_of(system, messages[:end], opened=False))
        assert after[: len(before)] == before
        learned += after[len(before) :]
    labels = system.tensors[f"{sample}.labels"]
    assert learned == labels[labels != -100].tolist()


@torch.no_grad()
def test_taps(system: System) -> None:
    levels = system.model.encoder(system.tensors["pixel_values"])
    assert_near(torch.cat(levels, dim=1), system.tensors["vision_taps"], 1e-5)


@pytest.mark.parametrize("fold", [True, False], ids=["folded", "unfolded"])
@torch.no_grad()
def test_bridge(system: System, fold: bool) -> None:
    taps = system.tensors["vision_taps"].chunk(len(system.model.encoder.widths), dim=1)
    bridge = system.model.bridge
    if isinstance(bridge, MoeAttnPooler):
        shape = BridgeShape((taps[0].shape[-1],) * len(taps), bridge.grids, system.model.config.text_config.hidden_size)
        settings = {key: value for key, value in system.model.config.bridge.items() if key != "name"}
        again = BRIDGES.get("moe_attn_pooler").build({**settings, "fold": fold}, shape).eval()
        load_strictly(again, bridge.state_dict(), "bridge")
        bridge = again
    assert_near(bridge(taps), system.tensors["bridge_output"], 1e-5)


@torch.no_grad()
def test_embeddings(system: System) -> None:
    spliced = system.model.splice(system.expanded(system.tensors["input_ids"]), system.tensors["bridge_output"])
    assert torch.equal(spliced, system.tensors["inputs_embeds"])


@torch.no_grad()
def test_logits_from_embeddings(system: System) -> None:
    logits = system.model(inputs_embeds=system.tensors["inputs_embeds"]).logits
    assert_near(logits, system.tensors["logits"], 5e-5)


@torch.no_grad()
def test_logits_from_picture_and_text(system: System) -> None:
    prompt = prompt_of(system, [asked(system)], opened=True)
    inputs = system.processor(images=[system.tensors["image"].numpy()], text=[prompt])
    assert_near(system.model(**inputs).logits, system.tensors["logits"], 5e-5)


def test_greedy_ids(system: System) -> None:
    wanted = greedy(system)
    steps = decode(system.model.language_model, system.tensors["inputs_embeds"], Sampling(len(wanted)), [0])
    assert [int(step.tokens[0]) for step in steps] == wanted
    prompt = prompt_of(system, [asked(system)], opened=True)
    inputs = system.processor(images=[system.tensors["image"].numpy()], text=[prompt])
    made = system.model.generate(**inputs, max_new_tokens=len(wanted), do_sample=False)
    assert made[0, inputs["input_ids"].shape[1] :].tolist() == wanted


def test_backend_says_the_recorded_answer(system: System) -> None:
    wanted = greedy(system)
    pixels = system.tensors["image"].numpy()
    backend = NativeBackend("tiny", system.model, system.processor)
    request = Request((asked(system),), (pixels,), ("hash",), max_new_tokens=len(wanted))
    (done,) = (event for event in backend.generate([request]) if isinstance(event, Done))
    assert done.tokens == len(wanted)
    assert done.text == system.processor.tokenizer.decode(wanted, skip_special_tokens=True).strip()


def test_nova_padded_batch_says_what_each_row_says_alone() -> None:
    """The original gives other tokens here, since its mask hides image tokens; what it says alone is the measure."""
    system = make_system("nova")
    recorded, mask = system.tensors["leftpad.input_ids"], system.tensors["leftpad.attention_mask"].bool()
    rows = [system.expanded(ids[seen][None])[0].tolist() for ids, seen in zip(recorded, mask, strict=True)]
    assert len(rows[0]) != len(rows[1])
    ids, padding = system.processor.pad(rows)
    wanted = system.tensors["leftpad.generated_alone"][0].tolist()
    made = system.model.generate(
        input_ids=ids,
        attention_mask=padding,
        pixel_values=system.tensors["pixel_values"].expand(2, -1, -1, -1),
        max_new_tokens=len(wanted),
        do_sample=False,
    )[:, ids.shape[1] :]
    assert wanted in made.tolist()
    for number, row in enumerate(rows):
        alone = system.model.generate(
            input_ids=torch.tensor([row]),
            pixel_values=system.tensors["pixel_values"],
            max_new_tokens=len(wanted),
            do_sample=False,
        )
        assert alone[0, len(row) :].tolist() == made[number].tolist()


@torch.no_grad()
def test_embeddings_and_loss_of_a_training_batch(system: System) -> None:
    tensors, model = system.tensors, system.model
    pixels = tensors.get("batch.pixel_values", tensors["pixel_values"].expand(2, -1, -1, -1))
    visual = model.visual_tokens(pixels)
    ids, labels = system.expanded(tensors["batch.input_ids"]), tensors["batch.spliced_labels"]
    padding = tensors["batch.spliced_attention_mask"]
    spliced = model.splice(ids, visual)
    assert_near(spliced, tensors["batch.spliced_embeds"], 2e-5)
    found = model(input_ids=ids, pixel_values=pixels, attention_mask=padding, labels=labels)
    assert float(found.loss) == pytest.approx(float(tensors["batch.loss"]), abs=1e-5)


# --- prompts and pictures of the published sizes ----------------------------------------------------------------------


def with_template(preset: Preset, bos: str, eos: str) -> PreTrainedTokenizerFast:
    """Any tokenizer, with a preset's template and the tokens of its language model."""
    file = DATA / "nova_tiny_tokenizer" / "tokenizer.json"
    made = PreTrainedTokenizerFast(tokenizer_file=str(file), bos_token=bos, eos_token=eos)
    made.chat_template = preset.chat_template
    return made


# Recorded from the original templates: the system text, the prompt for "Q", and that with answer "A" and question "Q2".
PROMPTS = {
    "lhrs-bot": (
        ("<s>", "</s>"),
        "790f4cfc05523b0eecbc061d3b2a427d84204164119832ccffb22deaae07cb29",
        "e594e1046f09675dd469f53f9e3708f329369a6884cd59d82273bcbc904c3013",
        "47fe968bc03853d5dabea4ebe97fe9ed9dc6e61622f248d5eea5ead0d8b54fdb",
    ),
    "lhrs-bot-nova": (
        ("<|begin_of_text|>", "<|eot_id|>"),
        "dd1e35dcafb15079f8e92edc05cf86eedefec0679c57c1b2a9e208385d478975",
        "498e99d399c6da0ee4a07469b6bdf0fa1a85d5ef92fbb070ce48e1bb25ae1901",
        "6b6d3595b3d924b3f94c114503591edaae3ae80c2e83dee8100d380d8859b9c2",
    ),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_the_published_ones(name: str) -> None:
    (bos, eos), system_hash, first_hash, second_hash = PROMPTS[name]
    preset = load_preset(name)
    tokenizer = with_template(preset, bos, eos)
    first = [Message.of("user", "Q", images=(0,))]
    second = [*first, Message.of("assistant", "A"), Message.of("user", "Q2")]

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    assert digest(preset.system) == system_hash
    for messages, wanted in ((first, first_hash), (second, second_hash)):
        prompt = render(tokenizer, messages, image_token="<image>", system=preset.system, add_generation_prompt=True)
        assert prompt.startswith(bos)  # the original leaves this one to the tokenizer
        assert digest(prompt.removeprefix(bos)) == wanted


@pytest.mark.parametrize("name", PROMPTS)
def test_templates_without_a_system_text(name: str) -> None:
    (bos, eos), *_ = PROMPTS[name]
    tokenizer = with_template(load_preset(name), bos, eos)
    prompt = render(tokenizer, [Message.of("user", "Q")], image_token="<image>", add_generation_prompt=True)
    wanted = {
        "lhrs-bot": "<s>[INST] Q [/INST]",
        "lhrs-bot-nova": f"{bos}{bos}<|start_header_id|>user<|end_header_id|>\n\nQ{eos}"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    }
    assert prompt == wanted[name]


SIZES = [(224, 224), (300, 200), (200, 301), (97, 380), (1000, 999), (800, 800)]


@pytest.mark.parametrize("size_px", SIZES, ids=str)
def test_pixels_are_those_of_the_published_processors(size_px: tuple[int, int], rng: np.random.Generator) -> None:
    picture = PilImage.fromarray(rng.integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8))
    siglip = SiglipImageProcessorPil(size={"height": 384, "width": 384}, resample=3)
    for name, published in (("lhrs-bot", CLIPImageProcessorPil()), ("lhrs-bot-nova", siglip)):
        ours = make_image_processor(load_preset(name).image)
        wanted = published(picture, return_tensors="pt")["pixel_values"]
        assert_near(ours(picture)["pixel_values"], wanted, 1e-6)


@pytest.mark.parametrize(
    ("size_px", "columns_first"),
    [((50, 60), True), ((400, 416), False), ((400, 417), True), ((80, 48), False)],
    ids=str,
)
def test_order_of_the_two_passes_is_that_of_the_recordings(
    size_px: tuple[int, int], columns_first: bool, rng: np.random.Generator
) -> None:
    """Pictures that lose much height are resized along their columns first, as since Pillow 13."""
    side = 44 if size_px[0] < 100 else 384
    picture = PilImage.fromarray(rng.integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8))
    between = (size_px[0], side) if columns_first else (side, size_px[1])
    wanted = np.asarray(picture.resize(between, PilImage.Resampling.BICUBIC).resize((side, side)))
    ours = LhrsImageProcessor(side, "stretch", image_mean=(0, 0, 0), image_std=(1, 1, 1))(picture)["pixel_values"][0]
    assert np.array_equal(ours.mul(255).round().byte().permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("size_px", SIZES, ids=str)
def test_pixels_for_classification(size_px: tuple[int, int], rng: np.random.Generator) -> None:
    """Short side to 256, the middle 224 of it, statistics of ImageNet; borders as torchvision rounds them."""
    picture = PilImage.fromarray(rng.integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8))
    ours = make_image_processor(load_preset("lhrs-bot").image_variants["classification"])
    width, height = size_px
    resized = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
    left, top = (round((side - 224) / 2.0) for side in resized)
    cut = picture.resize(resized, PilImage.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    scaled = torch.from_numpy(np.array(cut)).permute(2, 0, 1).float().div(255)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = (scaled - mean[:, None, None]) / std[:, None, None]
    assert_near(ours(picture)["pixel_values"][0], wanted, 1e-6)
    placed = ours.placement(size_px)
    assert placed.sent_px == (224, 224)
    assert placed.crop[0] == pytest.approx(left * width / resized[0])
    assert placed.crop[3] == pytest.approx((top + 224) * height / resized[1])


def test_image_variant_survives_saving(tmp_path: Path) -> None:
    ours = make_image_processor(load_preset("lhrs-bot").image_variants["classification"])
    ours.save_pretrained(tmp_path)
    assert LhrsImageProcessor.from_pretrained(tmp_path).to_dict() == ours.to_dict()


@pytest.mark.parametrize(
    ("name", "tensors", "parameters", "tokens"),
    [("lhrs-bot", 87, 79_935_488, 144), ("lhrs-bot-nova", 183, 291_960_160, 272)],
)
def test_presets_have_the_published_sizes(name: str, tensors: int, parameters: int, tokens: int) -> None:
    preset = load_preset(name)
    llm = {"hidden_size": 4096, "num_hidden_layers": 1, "intermediate_size": 64, "vocab_size": 64}
    text = AutoConfig.for_model("llama", **llm).to_dict()
    config = LhrsConfig(preset.encoder, preset.bridge, text, preset.image.size_px, 64)
    with torch.device("meta"):
        model = LhrsForConditionalGeneration(config)
    state = model.bridge.state_dict()
    assert len(state) == tensors
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    assert model.bridge.num_tokens == tokens
    tower = model.encoder.state_dict()
    towers = {"lhrs-bot": (391, 303_179_776), "lhrs-bot-nova": (432, 412_986_096)}
    assert (len(tower), sum(tensor.numel() for tensor in tower.values())) == towers[name]
