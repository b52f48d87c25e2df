"""LHRS-Bot and LHRS-Bot-Nova in tiny random sizes in the native backend: images, batches, turns, number formats."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, PreTrainedTokenizerFast

from lhrs_chat.models import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.models.assemble import make_processor
from lhrs_chat.models.backends import Delta, Done, Request
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.models.weights import DTYPES, Precision
from lhrs_chat.presets import load_preset
from lhrs_chat.schema import Message
from tests import tiny

DATA = Path(__file__).parents[1] / "data"
SYSTEMS = {"lhrs-bot": "lhrs_tiny_tokenizer", "lhrs-bot-nova": "nova_tiny_tokenizer"}
WORDS = 8
QUESTIONS = (
    ("describe the image", (0,)),
    ("is the harbor near the bridge, and which of the two images shows more water", (0, 1)),
    ("compare", (1, 0, 1)),
    ("name a river", ()),
)


def make(system: str) -> NativeBackend:
    """A preset with its parts made small and random."""
    torch.manual_seed(3)
    preset = load_preset(system)
    folder = DATA / SYSTEMS[system]
    named = json.loads((folder / "special_tokens_map.json").read_text())
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **named)
    tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    sizes = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 6, "num_attention_heads": 4}
    sizes |= {"image_size": 56, "patch_size": 14}
    encoder = {**preset.encoder, "vision_config": {**preset.encoder["vision_config"], **sizes}, "taps": [1, 3, 5]}
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LhrsConfig(
        encoder={**encoder, "layers": 5} if "layers" in encoder else encoder,
        bridge={**preset.bridge, "queries": [5, 4, 3], "num_layers": 2, "num_heads": 4},
        text_config=text.to_dict(),
        image_size_px=56,
        image_token_id=len(tokenizer),
    )
    model = LhrsForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.bridge.out_proj.weight.mul_(8)  # so that a picture weighs as much as a word
    model.generation_config = GenerationConfig(**preset.generation)
    small = dataclasses.replace(preset, image=dataclasses.replace(preset.image, size_px=56))
    return NativeBackend(system, model, make_processor(small, model.bridge.num_tokens, tokenizer))


@pytest.fixture(params=SYSTEMS)
def backend(request: pytest.FixtureRequest) -> NativeBackend:
    return make(request.param)


def requests() -> list[Request]:
    pictures = (tiny.picture(1, (90, 60)), tiny.picture(2, (56, 80)))
    return [
        Request((Message.of("user", text, shown),), pictures, ("one", "two"), max_new_tokens=WORDS)
        for text, shown in QUESTIONS
    ]


def done_of(backend: NativeBackend, *asked: Request) -> list[Done]:
    found = [event for event in backend.generate(asked) if isinstance(event, Done)]
    return sorted(found, key=lambda done: done.request)


def alone(backend: NativeBackend, request: Request) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens by the most plain way, the whole sequence anew for each, and the logits of the prompt's end."""
    prompt = backend._prompt(request)
    pixels = [backend.processor.image_processor.one(request.images[number]) for number in prompt.pictures]
    ids = torch.tensor([prompt.ids])
    made: list[int] = []
    first = None
    with torch.inference_mode():
        while len(made) < WORDS and (not made or made[-1] not in backend.eos_ids):
            whole = torch.cat([ids, torch.tensor([made], dtype=torch.long)], dim=1)
            logits = backend.model(whole, pixel_values=torch.stack(pixels) if pixels else None).logits[0, -1]
            first = logits if first is None else first
            made.append(int(logits.argmax()))
    assert first is not None
    return made, first


def test_every_turn_holds_its_images_in_order(backend: NativeBackend) -> None:
    for request, (_, shown) in zip(requests(), QUESTIONS, strict=True):
        prompt = backend._prompt(request)
        assert prompt.pictures == shown
        assert prompt.ids.count(backend.processor.image_token_id) == len(shown) * 12
    there, back = (
        dataclasses.replace(requests()[0], messages=(Message.of("user", "compare", shown),))
        for shown in ((0, 1), (1, 0))
    )
    assert (alone(backend, there)[1] - alone(backend, back)[1]).abs().max() > 1e-2


def test_batch_of_mixed_lengths_says_what_each_row_says_alone(
    backend: NativeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests()
    forward = backend.model.language_model.forward
    logits: list[torch.Tensor] = []
    monkeypatch.setattr(
        backend.model.language_model, "forward", lambda **kw: logits.append((out := forward(**kw)).logits) or out
    )
    together = done_of(backend, *asked)
    batched, order = logits[0], sorted(range(len(asked)), key=lambda number: len(backend._prompt(asked[number]).ids))
    assert batched.shape[0] == len(asked)
    assert len({len(backend._prompt(request).ids) for request in asked}) == len(asked)
    for number, request in enumerate(asked):
        tokens, first = alone(backend, request)
        torch.testing.assert_close(batched[order.index(number), -1], first, atol=1e-4, rtol=0)
        assert together[number].tokens == len(tokens)
        assert together[number].text == backend._text(tokens).strip()
        assert done_of(backend, request)[0].text == together[number].text


def test_turns_with_new_images_and_the_kept_cache_equal_recomputing(backend: NativeBackend) -> None:
    pictures = (tiny.picture(1, (90, 60)), tiny.picture(2, (56, 80)))
    turns = (("describe the image", (0,)), ("and this one", (1,)), ("which shows water", ()))
    history: tuple[Message, ...] = ()
    for text, shown in turns:
        history = (*history, Message.of("user", text, shown))
        request = Request(history, pictures, ("one", "two"), max_new_tokens=WORDS)
        known = len(backend.prefix.keys)
        kept = done_of(backend, request)[0]
        tokens, _ = alone(backend, request)
        assert kept.text == backend._text(tokens).strip()
        assert kept.tokens == len(tokens)
        assert len(backend.prefix.keys) > known
        logits = logits_after_cache(backend, request)
        torch.testing.assert_close(logits, alone(backend, request)[1], atol=1e-4, rtol=0)
        history = (*history, Message.of("assistant", kept.text))


def logits_after_cache(backend: NativeBackend, request: Request) -> torch.Tensor:
    """The logits of the prompt's end, computed behind what the cache has kept of it."""
    prompt = backend._prompt(request)
    known = backend.prefix.reuse(backend._keys(request, prompt))
    assert known > 12
    with torch.inference_mode():
        output = backend.model.language_model(
            inputs_embeds=backend._embed(request, prompt)[:, known:], past_key_values=backend.prefix.values
        )
    backend.prefix.clear()
    logits: torch.Tensor = output.logits[0, -1]
    return logits


def test_a_temperature_that_is_left_open_is_the_published_one(backend: NativeBackend) -> None:
    open_, greedy = (dataclasses.replace(requests()[0], temperature=value) for value in (None, 0.0))
    published = load_preset(backend.name).generation
    sampling = backend._prompt(open_).sampling
    assert (sampling.temperature, sampling.top_p) == (published["temperature"], published.get("top_p", 1.0))
    assert backend._prompt(greedy).sampling.temperature == 0
    assert done_of(backend, greedy)[0].text == done_of(backend, requests()[0])[0].text
    drawn = {done_of(backend, dataclasses.replace(open_, seed=seed))[0].text for seed in range(6)}
    assert len(drawn) > 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_number_format_opens_and_answers(backend: NativeBackend, tmp_path: Path, dtype: str) -> None:
    """Largest differences of the logits to float32, as a share of their range: bfloat16 6 %, float16 1 %."""
    backend.model.save_pretrained(tmp_path)
    backend.processor.save_pretrained(tmp_path)
    opened = NativeBackend.open(tmp_path, backend.name, Precision(dtype))
    stored = "float32" if dtype == "auto" else dtype
    assert {parameter.dtype for parameter in opened.model.parameters()} == {getattr(torch, stored)}
    request = requests()[1]
    wanted, found = alone(backend, request)[1], alone(opened, request)[1].float()
    most = {"float32": 1e-6, "bfloat16": 0.06, "float16": 0.01}[stored] * float(wanted.max() - wanted.min())
    difference = float((found - wanted).abs().max())
    assert difference <= most
    assert (difference > 0) is (stored != "float32")
    events = list(opened.generate([request]))
    assert isinstance(events[-1], Done)
    assert "".join(event.text for event in events if isinstance(event, Delta)).strip() == events[-1].text
    assert 1 <= events[-1].tokens <= WORDS
