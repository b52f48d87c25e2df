"""The native backend: streaming = generate, batch = single, kept cache = recomputing, stop, sampling, options."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter

import pytest
import torch
from transformers import GenerationConfig, TopPLogitsWarper

from lhrs_chat.errors import DataError
from lhrs_chat.models.backends import Delta, Done, Request
from lhrs_chat.models.backends.native import NativeBackend
from lhrs_chat.models.generate import PrefixCache, Sampling, _choose
from lhrs_chat.schema import Message
from tests import tiny


@pytest.fixture
def backend():
    return NativeBackend("tiny", *tiny.model_and_processor())


def ask(text="What is here?", seed=1, history=(), **settings):
    first = Message.of("user", text, (0,)) if not history else Message.of("user", text)
    return Request((*history, first), (tiny.picture(seed),), (f"picture{seed}",), max_new_tokens=12, **settings)


def run(backend, *requests, stop=None):
    done = [item for item in backend.generate(requests, stop) if isinstance(item, Done)]
    return sorted(done, key=lambda item: item.request)


def test_streamed_text_is_the_text_of_generate(backend):
    request = ask()
    said = list(backend.generate([request]))
    inputs = backend.processor(text=said[-1].prompt, images=list(request.images))
    tokens = backend.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = backend.processor.tokenizer.decode(tokens, skip_special_tokens=True)
    assert "".join(item.text for item in said if isinstance(item, Delta)) == expected
    assert said[-1].text == expected.strip()
    assert 0 < said[-1].confidence <= 1


def test_batch_equals_single(backend):
    requests = [ask("Is there water?", 1), ask("Name the largest thing that can be seen here.", 2), ask("?", 3)]
    together = run(backend, *requests)
    for number, request in enumerate(requests):
        alone = run(backend, request)[0]
        assert together[number].request == number
        assert together[number].text == alone.text
        assert together[number].confidence == pytest.approx(alone.confidence, abs=1e-5)


def conversation(backend, turns):
    history = ()
    answers = []
    for number in range(turns):
        request = ask(f"Question {number}?", history=history)
        answers.append(run(backend, request)[0])
        history = (*request.messages, Message.of("assistant", answers[-1].text))
    return answers


def test_kept_cache_gives_what_recomputing_gives(backend):
    kept = conversation(backend, 4)
    assert backend.prefix.keys

    class Forgetful(PrefixCache):
        def reuse(self, keys):
            self.clear()
            return 0

    backend.prefix = Forgetful()
    fresh = conversation(backend, 4)
    assert [answer.text for answer in kept] == [answer.text for answer in fresh]
    for one, other in zip(kept, fresh, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_follow_up_computes_only_its_own_tokens(backend, monkeypatch):
    request = ask("First question, with quite a few words in it?")
    answer = run(backend, request)[0]
    computed = []
    forward = backend.model.language_model.forward
    monkeypatch.setattr(
        backend.model.language_model,
        "forward",
        lambda *args, **kwargs: computed.append(kwargs.get("inputs_embeds")) or forward(*args, **kwargs),
    )
    history = (*request.messages, Message.of("assistant", answer.text))
    run(backend, ask("And?", history=history))
    whole = len(backend.processor.encode(answer.prompt))
    assert computed[0].shape[1] < whole / 2


def test_another_picture_is_not_taken_from_the_cache(backend):
    one = run(backend, ask(seed=1))[0]
    other = run(backend, ask(seed=2))[0]
    backend.reset()
    assert run(backend, ask(seed=2))[0].text == other.text
    assert run(backend, ask(seed=1))[0].text == one.text
    assert other.confidence != one.confidence


def test_stop_ends_the_answer_and_the_next_one_is_whole(backend):
    expected = run(backend, ask())[0].text
    backend.reset()
    stop = threading.Event()
    said = []
    for item in backend.generate([ask()], stop):
        said.append(item)
        stop.set()
    assert said[-1].stopped
    assert said[-1].tokens < 12
    assert run(backend, ask())[0].text == expected


def test_sampling_repeats_with_its_seed(backend):
    one = run(backend, ask(temperature=2.0, seed=1))[0].text
    request = ask(temperature=2.0)
    texts = {
        run(backend, Request(request.messages, request.images, request.image_hashes, 12, 2.0, s))[0].text
        for s in range(5)
    }
    assert len(texts) > 1
    assert run(backend, ask(temperature=2.0, seed=1))[0].text == one


@pytest.mark.parametrize("alike", [True, False])
def test_answers_drawn_together_are_those_drawn_alone(backend, monkeypatch, alike):
    backend.eos_ids = [2, *range(100, 140)]  # rows end at different steps
    words = ["What is here?"] * 6 if alike else [f"Is it {'very ' * number}large?" for number in range(6)]
    requests = [dataclasses.replace(ask(text, temperature=1.5), seed=40 + number) for number, text in enumerate(words)]
    alone = [run(backend, request)[0] for request in requests]
    shapes = []
    forward = backend.model.language_model.forward
    monkeypatch.setattr(
        backend.model.language_model,
        "forward",
        lambda **inputs: shapes.append(inputs.get("inputs_embeds", inputs.get("input_ids")).shape) or forward(**inputs),
    )
    together = run(backend, *requests)
    assert [done.text for done in together] == [done.text for done in alone]
    assert [done.tokens for done in together] == [done.tokens for done in alone]
    assert [done.confidence for done in together] == pytest.approx([done.confidence for done in alone], abs=1e-5)
    assert len({done.text for done in together}) > 3 and len({done.tokens for done in together}) > 2
    assert shapes[0][0] == (1 if alike else 6), "a prompt that all share is run once"
    running = [sum(done.tokens > step for done in alone) for step in range(1, max(done.tokens for done in alone))]
    assert [shape[0] for shape in shapes[1:]] == running, "a row that has ended is not run on"


def test_options_are_probabilities_of_the_choices(backend):
    request = ask(choices=("Yes.", "No."))
    options = run(backend, request)[0].options
    assert set(options) == {"Yes.", "No."}
    assert sum(options.values()) == pytest.approx(1)
    blind = Request((Message.of("user", "x"),), max_new_tokens=2, choices=("Yes.", "No."))
    assert run(backend, blind)[0].options["Yes."] != pytest.approx(options["Yes."], abs=1e-9)


def test_image_that_is_not_there_is_refused(backend):
    with pytest.raises(DataError, match="not there"):
        run(backend, Request((Message.of("user", "x", (1,)),), (tiny.picture(),), ("a",)))


@torch.inference_mode()
def test_several_images_in_one_conversation(backend):
    pictures = (tiny.picture(1), tiny.picture(2))
    request = Request((Message.of("user", "Compare.", (0, 1)),), pictures, ("a", "b"), max_new_tokens=6)
    swapped = Request((Message.of("user", "Compare.", (1, 0)),), pictures, ("a", "b"), max_new_tokens=6)
    first = run(backend, request)[0]
    inputs = backend.processor(text=first.prompt, images=list(pictures))
    tokens = backend.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert first.text == backend.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    assert run(backend, swapped)[0].confidence != first.confidence


def limited(backend, limit):
    """The backend with a language model that reads `limit` tokens, and fails where a later place is asked for."""
    backend.context = limit
    forward = backend.model.language_model.forward
    seen = []

    def watched(**inputs):
        seen.append(inputs["past_key_values"].get_seq_length() + inputs.get("inputs_embeds", torch.ones(1, 1)).shape[1])
        assert seen[-1] <= limit
        return forward(**inputs)

    backend.model.language_model.forward = watched
    return seen


def test_context_is_that_of_the_language_model(backend):
    assert backend.context == backend.model.config.text_config.max_position_embeddings == 4096


@pytest.mark.parametrize("count", [1, 3])
def test_conversation_that_outgrows_the_model_is_refused_before_it_runs(backend, count):
    length = len(backend._prompt(ask()).ids)
    seen = limited(backend, length)
    with pytest.raises(DataError, match="longer than the language model can read") as caught:
        run(backend, *[ask()] * count)
    assert str(length) in str(caught.value.found)
    assert str(length) in str(caught.value.allowed)
    assert "new conversation" in caught.value.next_step
    assert not seen
    backend.context = length + 5
    with pytest.raises(DataError, match="7 more for the answer"):
        run(backend, ask(choices=("No.", "Maybe.")))
    assert not seen


def test_answer_ends_where_the_context_ends(backend):
    requests = [ask("Is there water?", 1), ask("Name the largest thing that can be seen here.", 2), ask("?", 3)]
    whole = [run(backend, request)[0] for request in requests]
    assert [done.tokens for done in whole] == [12, 12, 12]
    backend.reset()
    lengths = [len(backend._prompt(request).ids) for request in requests]
    seen = limited(backend, max(lengths) + 4)
    short = run(backend, requests[1])[0]
    assert (short.tokens, short.stopped) == (4, False)
    assert whole[1].text.startswith(short.text)
    assert seen
    together = run(backend, *requests)
    assert [done.tokens for done in together] == [12, 4, 12]
    assert [done.text for done in together] == [whole[0].text, short.text, whole[2].text]


def test_published_temperature_holds_where_none_is_given(backend):
    greedy = run(backend, ask())[0].text
    assert run(backend, ask(temperature=None))[0].text == greedy
    backend.model.generation_config = GenerationConfig(do_sample=True, temperature=2.0, top_p=0.99)
    assert run(backend, ask())[0].text == greedy
    drawn = run(backend, ask(temperature=None, seed=1))[0].text
    assert drawn == run(backend, ask(temperature=2.0, seed=1))[0].text
    assert drawn != run(backend, ask(temperature=1e-3, seed=1))[0].text
    backend.model.generation_config.top_p = 1e-6
    assert run(backend, ask(temperature=None))[0].text == greedy
    together = run(backend, ask(temperature=None), ask(temperature=0.0))
    assert [done.text for done in together] == [greedy, greedy]


def test_tokens_are_drawn_from_those_that_transformers_keeps():
    logits = torch.tensor([[2.0, 1.5, 1.4, 0.2, -1.0]])
    kept = TopPLogitsWarper(0.8)(None, logits / 0.7).softmax(-1)[0]
    assert 1 < int((kept > 0).sum()) < 5
    generator = torch.Generator().manual_seed(0)
    sampling = Sampling(1, temperature=0.7, top_p=0.8)
    drawn = Counter(int(_choose(logits, sampling, [generator])) for _ in range(3000))
    assert set(drawn) == set(kept.nonzero()[:, 0].tolist())
    for token, count in drawn.items():
        assert count / 3000 == pytest.approx(float(kept[token]), abs=0.04)
    every = {int(_choose(logits, dataclasses.replace(sampling, top_p=1.0), [generator])) for _ in range(3000)}
    assert every == set(range(5))
