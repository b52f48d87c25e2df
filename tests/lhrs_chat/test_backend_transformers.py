from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from lhrs_chat.errors import DataError, MissingExtraError, WeightsError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models import torchvision_guard
from lhrs_chat.models.backends import Delta, Done, Request, open_backend
from lhrs_chat.models.backends.transformers import TransformersBackend
from lhrs_chat.schema import Box, Message, Part

TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}]{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte: characters beyond ASCII take several tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<pad>", "</s>", "<image>"]
    vocab = {token: index for index, token in enumerate([*specials, *letters])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("tiny-llava"))


def write_llava(path: Path) -> Path:
    """A LLaVA with random weights: 28 px, patches of 7 px, 16 visual tokens."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>")
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(path)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def backend(folder: Path) -> TransformersBackend:
    return TransformersBackend.open(folder, "tiny")


def picture(seed: int, width: int = 40, height: int = 28) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def request(look: int, question: str, **extra: object) -> Request:
    messages = (Message.of("user", question, images=(0,)),)
    return dataclasses.replace(Request(messages, (picture(look),), max_new_tokens=12), **extra)


def finished(backend: TransformersBackend, *requests: Request) -> list[Done]:
    done = [event for event in backend.generate(requests) if isinstance(event, Done)]
    return sorted(done, key=lambda event: event.request)


def test_answer_is_what_generate_itself_says(folder: Path, backend: TransformersBackend) -> None:
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    prompt = "[user]<image>what is here?;[assistant]"
    inputs = processor(text=[prompt], images=[picture(0)], return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=12, do_sample=False, return_dict_in_generate=True, output_logits=True)
    new = out.sequences[0, inputs["input_ids"].shape[1] :]
    chances = torch.stack(out.logits)[:, 0].softmax(-1).gather(1, new[:, None])
    (done,) = finished(backend, request(0, "what is here?"))
    assert done.prompt == prompt
    assert done.text == processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert done.tokens == len(new)
    assert done.confidence == pytest.approx(float(chances.mean()), abs=1e-5)
    assert not done.stopped


def test_batch_gives_what_each_request_gives_alone(backend: TransformersBackend) -> None:
    asked = [request(1, "roads?"), request(2, "how many ships lie at the quay?"), request(3, "is it wet?")]
    together = finished(backend, *asked)
    for index, one in enumerate(asked):
        (alone,) = finished(backend, one)
        assert (together[index].text, together[index].tokens) == (alone.text, alone.tokens)
        assert together[index].confidence == pytest.approx(alone.confidence, abs=1e-4)
    assert len({done.text for done in together}) == 3


def test_batches_mix_with_text_and_sampled_requests(backend: TransformersBackend) -> None:
    text_only = Request((Message.of("user", "hello"),), max_new_tokens=4)
    sampled = request(1, "roads?", temperature=1.0, seed=3)
    asked = [request(1, "roads?"), text_only, sampled, request(2, "ships?"), request(3, "wet?"), request(1, "roads?")]
    assert list(backend._batches(asked)) == [[0], [1], [2], [3, 4, 5]]
    done = finished(backend, *asked)
    assert [event.request for event in done] == [0, 1, 2, 3, 4, 5]
    assert done[0].text == done[5].text
    assert done[1].placement is None and done[1].tokens <= 4


def test_pieces_make_the_text(backend: TransformersBackend) -> None:
    asked = [request(seed, "say much", max_new_tokens=40) for seed in range(3)]
    said = {index: "" for index in range(3)}
    for event in backend.generate(asked):
        if isinstance(event, Delta):
            assert event.text
            said[event.request] += event.text
        else:
            assert said[event.request] == event.text


def test_sampling_follows_the_seed_and_leaves_the_random_state(backend: TransformersBackend) -> None:
    before = torch.random.get_rng_state()
    texts = [finished(backend, request(1, "roads?", temperature=1.5, seed=seed))[0].text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_stop_ends_the_answer(backend: TransformersBackend) -> None:
    stop = threading.Event()
    events = []
    for event in backend.generate([request(1, "roads?", max_new_tokens=400), request(2, "ships?")], stop):
        events.append(event)
        stop.set()
    done = [event for event in events if isinstance(event, Done)]
    assert [event.stopped for event in done] == [True, True]
    assert done[0].tokens < 400
    assert done[0].text == "".join(e.text for e in events if isinstance(e, Delta) and e.request == 0)
    assert done[1].tokens == 0 and done[1].confidence == 0.0


def test_leaving_early_ends_the_thread(backend: TransformersBackend) -> None:
    events = backend.generate([request(1, "roads?", max_new_tokens=100000)])
    next(events)
    events.close()
    assert finished(backend, request(1, "roads?"))[0].tokens > 0


def test_options_are_the_probabilities_of_the_choices(backend: TransformersBackend) -> None:
    asked = request(1, "A or B?", choices=("A", "B", "both"))
    (done,) = finished(backend, asked)
    prompt = done.prompt
    sums = []
    for choice in asked.choices:
        inputs = backend.processor(text=[f"{prompt} {choice}"], images=[picture(1)], return_tensors="pt")
        with torch.no_grad():
            logits = backend.model(**inputs).logits[0].log_softmax(-1)
        ids = inputs["input_ids"][0]
        count = len(choice) + 1  # one token per letter, and the blank
        sums.append(sum(float(logits[len(ids) - count + i - 1, ids[len(ids) - count + i]]) for i in range(count)))
    wanted = torch.tensor(sums).softmax(0).tolist()
    assert list(done.options) == list(asked.choices)
    assert list(done.options.values()) == pytest.approx(wanted, abs=1e-5)
    assert sum(done.options.values()) == pytest.approx(1.0)


def test_placement_of_a_cropped_and_of_a_stretched_picture(backend: TransformersBackend) -> None:
    (done,) = finished(backend, request(0, "?"))
    assert done.placement is not None
    assert (done.placement.original_px, done.placement.sent_px) == ((40, 28), (28, 28))
    assert done.placement.to_model(Box((6, 0, 34, 28), "pixel")).xyxy == pytest.approx((0, 0, 28, 28))
    stretched = TransformersBackend(
        backend.model, AutoProcessor.from_pretrained(backend.model.name_or_path), name="s", weights_sha256=""
    )
    stretched.processor.image_processor = SiglipImageProcessor(size={"height": 28, "width": 28})
    (done,) = finished(stretched, request(0, "?"))
    assert done.placement == Placement.whole((40, 28), (28, 28))
    stretched.processor.image_processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}
    )
    (done,) = finished(stretched, request(0, "?"))
    assert done.placement is None


def test_prompt_of_a_model_without_a_template(backend: TransformersBackend) -> None:
    plain = TransformersBackend(
        backend.model, AutoProcessor.from_pretrained(backend.model.name_or_path), name="p", weights_sha256=""
    )
    plain.processor.chat_template = plain.processor.tokenizer.chat_template = None
    messages = (
        Message.of("system", "Be short."),
        Message.of("user", "What is it?", images=(0,)),
        Message.of("assistant", "A quay."),
        Message.of("user", "How long?"),
    )
    (done,) = finished(plain, Request(messages, (picture(0),), max_new_tokens=3))
    assert done.prompt == "Be short. USER: <image>\nWhat is it? ASSISTANT: A quay. USER: How long? ASSISTANT:"


def test_template_may_lie_with_the_tokenizer(backend: TransformersBackend) -> None:
    other = TransformersBackend(
        backend.model, AutoProcessor.from_pretrained(backend.model.name_or_path), name="t", weights_sha256=""
    )
    other.processor.chat_template = None
    other.processor.tokenizer.chat_template = TEMPLATE.replace(";{%", "|{%")
    assert other.prompt(request(0, "wet?")) == "[user]<image>wet?|[assistant]"


def test_regions_are_written_in_the_models_dialect(backend: TransformersBackend) -> None:
    box = Box((10, 7, 20, 14), "pixel")
    message = Message(
        "user", (Part("image", image=0), Part("text", "What is in "), Part("region", region=box, image=0))
    )
    prompt = backend.prompt(Request((message,), (picture(0),)))
    assert prompt == "[user]<image>What is in [0.250,0.250,0.500,0.500];[assistant]"


@pytest.mark.parametrize(
    ("messages", "count"),
    [
        ((Message.of("user", "hi"),), 1),
        ((Message.of("user", "hi", images=(0,)),), 0),
        ((Message.of("user", "hi", images=(0, 1)),), 1),
    ],
)
def test_lost_images_are_an_error(backend: TransformersBackend, messages: tuple[Message, ...], count: int) -> None:
    with pytest.raises(DataError, match="do not fit together"):
        finished(backend, Request(messages, tuple(picture(0) for _ in range(count))))


def test_open_backend_opens_any_folder(folder: Path) -> None:
    opened = open_backend(str(folder))
    assert isinstance(opened, TransformersBackend)
    assert opened.name == str(folder) and len(opened.weights_sha256) == 64


def copied(folder: Path, target: Path) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@pytest.mark.parametrize("fault", ["missing", "unexpected", "wrong shape"])
def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path, fault: str) -> None:
    weights = copied(folder, tmp_path) / "model.safetensors"
    state = load_file(weights)
    name = next(name for name in state if "layers.1.mlp.up_proj" in name)
    if fault == "unexpected":
        state[name.replace("up_proj", "up_prof")] = torch.zeros(2)
    elif fault == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(3, 3)
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"{fault}: .*up_pro"):
        TransformersBackend.open(tmp_path, "broken")


def test_folders_of_other_kinds_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="processor"):
        TransformersBackend.open(tmp_path, "empty")
    copied(folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config["text_config"]))
    with pytest.raises(WeightsError, match="words-only"):
        TransformersBackend.open(tmp_path, "words-only")


def test_missing_torchvision_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AttributeError("'odict_values' object has no attribute '_extra_content'")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", fail)
    monkeypatch.setattr(torchvision_guard, "install", lambda: "absent")
    with pytest.raises(MissingExtraError, match=r"lhrs_chat\[clip\]"):
        TransformersBackend.open(folder, "tiny")
    monkeypatch.setattr(torchvision_guard, "install", lambda: "native")
    with pytest.raises(WeightsError, match="_extra_content"):
        TransformersBackend.open(folder, "tiny")


def test_published_temperature_holds_where_none_is_given(backend: TransformersBackend) -> None:
    config = backend.model.generation_config
    before = config.do_sample, config.temperature
    greedy = finished(backend, request(1, "What?"))[0].text
    assert finished(backend, request(1, "What?", temperature=None))[0].text == greedy
    try:
        config.do_sample, config.temperature = True, 3.0
        drawn = finished(backend, request(1, "What?", temperature=None, seed=2))[0].text
        assert drawn == finished(backend, request(1, "What?", temperature=3.0, seed=2))[0].text
        assert drawn != greedy
        assert finished(backend, request(1, "What?"))[0].text == greedy
    finally:
        config.do_sample, config.temperature = before


def test_number_format_is_the_one_that_is_asked_for(folder: Path) -> None:
    opened = open_backend(str(folder), dtype="bfloat16")
    assert isinstance(opened, TransformersBackend)
    assert {parameter.dtype for parameter in opened.model.parameters()} == {torch.bfloat16}
    assert finished(opened, request(1, "What?"))[0].tokens > 0
