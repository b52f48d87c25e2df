"""Any image-text-to-text model of transformers, from a folder, behind our protocol.

Prompts go through the model's own chat template. Where it has none, they are written
`USER: <image>` / newline / `question ASSISTANT:`, as LLaVA-1.5 reads them; earlier turns come before, and a system text
before all. Greedy requests with pictures run in batches; sampled ones run alone, so that a seed gives the same answer
whatever else is asked.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from peft import PeftModel, get_peft_model_state_dict
from PIL import Image as PilImage
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    BatchFeature,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    ProcessorMixin,
    StoppingCriteria,
    StoppingCriteriaList,
)

from lhrs_chat.errors import DataError, MissingExtraError, WeightsError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models import torchvision_guard
from lhrs_chat.models.backends import Delta, Done, Request
from lhrs_chat.models.generate import temperature_of
from lhrs_chat.models.processing import place
from lhrs_chat.models.strict import reason, refuse
from lhrs_chat.models.weights import AS_STORED, Precision, locate, weights_hash
from lhrs_chat.schema import Message, Part
from lhrs_chat.text import grounding

log = logging.getLogger(__name__)

# How models write boxes, by `model_type`; all others are taken to write [x1, y1, x2, y2] from 0 to 1, as LLaVA does.
DIALECTS = {
    "internvl": "box_tag1000",
    "qwen2_vl": "box_tokens1000",
    "qwen2_5_vl": "json_model",
    "qwen3_vl": "json1000",
    "qwen3_vl_moe": "json1000",
}
DEFAULT_DIALECT = "brackets1"
ADAPTER = "adapter_config.json"
_UNFINISHED = "\ufffd"  # what a tokenizer writes for a character whose last bytes have not come yet


@dataclass
class _Row:
    """What has come so far for one request of a batch."""

    tokens: list[int] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    text: str = ""
    said: int = 0  # how much of the text has been handed out
    ended: bool = False


class _Watch(LogitsProcessor, StoppingCriteria):
    """Sees every step of `generate`: hands each new token with its probability to a queue, and can end the run."""

    def __init__(self, stop: threading.Event):
        self.stop = stop
        self.steps: queue.SimpleQueue[tuple[list[int], list[float]] | None] = queue.SimpleQueue()
        self._chances = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor | None) -> torch.Tensor:
        """Before the choice, `scores`: (B, V) are kept; after it, `input_ids`: (B, T) end with the chosen tokens."""
        if scores is not None:
            self._chances = scores.float().softmax(-1)
            return scores
        chosen = input_ids[:, -1:].to(self._chances.device)
        self.steps.put((chosen[:, 0].tolist(), self._chances.gather(1, chosen)[:, 0].tolist()))
        return torch.full((input_ids.shape[0],), self.stop.is_set(), dtype=torch.bool, device=input_ids.device)


class TransformersBackend:
    """A model of transformers that answers requests."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        name: str,
        weights_sha256: str,
        dialect: str = DEFAULT_DIALECT,
        batch_size: int = 8,
    ):
        self.model = model.eval()
        self.processor = processor
        self.name = name
        self.weights_sha256 = weights_sha256
        self.dialect = dialect
        self.batch_size = batch_size
        self.processor.tokenizer.padding_side = "left"
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, name: str, precision: Precision = AS_STORED) -> Self:
        """Load a model and its processor, strictly, from safetensors; on the first GPU where there is one.

        A folder with an adapter of peft names the model below it; the adapter is merged into it.

        Raises:
            WeightsError: the folder holds no such model, its weights do not fit it, or this machine cannot quantise.
            MissingExtraError: its processor needs torchvision.
        """
        if (folder / ADAPTER).is_file():
            return cls._open_adapter(folder, name, precision)
        settings = precision.settings()
        processor = open_processor(folder, name)
        digest = weights_hash(folder)
        try:
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                folder,
                **settings,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
            )
        except (OSError, ValueError) as error:
            raise WeightsError("transformers cannot open this model", found=f"{name}: {reason(error)}") from error
        model, report = opened  # the form that output_loading_info asks for
        refuse(name, report["missing_keys"], report["unexpected_keys"], (row[0] for row in report["mismatched_keys"]))
        dialect = DIALECTS.get(model.config.model_type, DEFAULT_DIALECT)
        return cls(model, processor, name=name, weights_sha256=digest, dialect=dialect)

    @classmethod
    def _open_adapter(cls, folder: Path, name: str, precision: Precision) -> Self:
        below = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
        opened = cls.open(locate(below), name, precision)
        made: Any = with_adapter(opened.model, folder, learns=False)
        # Merging into fewer bits rounds, so a quantised model keeps its adapter beside it.
        opened.model = (made.merge_and_unload() if precision.quantise == "none" else made).eval()
        both = f"{opened.weights_sha256} {weights_hash(folder)}"
        opened.weights_sha256 = hashlib.sha256(both.encode()).hexdigest()
        return opened

    def generate(self, requests: Sequence[Request], stop: threading.Event | None = None) -> Iterator[Delta | Done]:
        """Answer the requests; see `Backend`. `confidence` is the mean probability of the tokens, the end included.

        Raises:
            DataError: a request's messages and images do not fit together.
        """
        stop = threading.Event() if stop is None else stop
        for batch in self._batches(requests):
            yield from self._answer(batch, requests, stop)

    def _batches(self, requests: Sequence[Request]) -> Iterator[list[int]]:
        """Put neighbours together that can run as one batch."""
        batch: list[int] = []
        for index, request in enumerate(requests):
            first = requests[batch[0]] if batch else request
            alone = self._temperature(request) > 0 or not request.images
            fits = (
                not alone
                and self._temperature(first) == 0
                and bool(first.images)
                and first.max_new_tokens == request.max_new_tokens
            )
            if batch and not (fits and len(batch) < self.batch_size):
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _temperature(self, request: Request) -> float:
        return temperature_of(request.temperature, self.model.generation_config)

    def _answer(
        self, batch: Sequence[int], requests: Sequence[Request], stop: threading.Event
    ) -> Iterator[Delta | Done]:
        pictures = [_pictures(requests[index]) for index in batch]
        placements = [self.placement(row[0]) if row else None for row in pictures]
        prompts = [self.prompt(requests[i], where) for i, where in zip(batch, placements, strict=True)]
        inputs = self._inputs(prompts, pictures)
        first = requests[batch[0]]
        rows = [_Row() for _ in batch]
        for number, piece in self._run(inputs, first, rows, stop):
            yield Delta(batch[number], piece)
        for number, index in enumerate(batch):
            row, request = rows[number], requests[index]
            yield Done(
                index,
                row.text,
                confidence=sum(row.chances) / len(row.chances) if row.chances else 0.0,
                tokens=len(row.tokens),
                prompt=prompts[number],
                options=self._options(request, prompts[number], pictures[number]),
                placement=placements[number],
                stopped=stop.is_set() and not row.ended,
            )

    def _run(
        self, inputs: BatchFeature, request: Request, rows: list[_Row], stop: threading.Event
    ) -> Iterator[tuple[int, str]]:
        """Generate in a thread and yield (row, new text); `rows` are filled."""
        if stop.is_set():
            return
        config = self._generation_config(request)
        ends = _as_list(config.eos_token_id)
        ended_early = threading.Event()
        watch = _Watch(ended_early)
        with ThreadPoolExecutor(max_workers=1) as pool:
            work = pool.submit(self._generate, inputs, config, request, watch)
            try:
                while (step := watch.steps.get()) is not None:
                    if stop.is_set():
                        ended_early.set()
                        continue
                    for number, (row, token, chance) in enumerate(zip(rows, *step, strict=True)):
                        if row.ended:
                            continue
                        row.tokens.append(token)
                        row.chances.append(chance)
                        row.ended = token in ends or len(row.tokens) == request.max_new_tokens
                        if piece := self._new_text(row):
                            yield number, piece
            finally:
                ended_early.set()
            work.result()

    def _generate(self, inputs: BatchFeature, config: GenerationConfig, request: Request, watch: _Watch) -> None:
        sampled = bool(config.do_sample)
        try:
            with self._lock, torch.inference_mode(), torch.random.fork_rng() if sampled else nullcontext():
                if sampled:
                    torch.manual_seed(request.seed)
                self.model.generate(
                    **inputs,
                    generation_config=config,
                    logits_processor=LogitsProcessorList([watch]),
                    stopping_criteria=StoppingCriteriaList([watch]),
                )
        finally:
            watch.steps.put(None)

    def _generation_config(self, request: Request) -> GenerationConfig:
        config: GenerationConfig = copy.deepcopy(self.model.generation_config)
        config.max_length = None
        config.max_new_tokens = request.max_new_tokens
        config.num_beams = 1
        temperature = self._temperature(request)
        config.do_sample = temperature > 0
        if config.do_sample:
            config.temperature = temperature
        else:
            config.temperature = config.top_p = config.top_k = None
        tokenizer = self.processor.tokenizer
        if config.eos_token_id is None:
            config.eos_token_id = tokenizer.eos_token_id
        if config.pad_token_id is None:
            ends = _as_list(config.eos_token_id)
            config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]
        return config

    def _new_text(self, row: _Row) -> str:
        """Decode a row anew and return what can be handed out: no cut character, no blank that may be the last."""
        text = self.processor.tokenizer.decode(row.tokens, skip_special_tokens=True).strip()
        row.text = text if row.ended else text.rstrip(_UNFINISHED).rstrip()
        piece = row.text[row.said :]
        row.said = max(row.said, len(row.text))
        return piece

    def prompt(self, request: Request, placement: Placement | None = None) -> str:
        """Write the messages of a request as the model's prompt, open for its answer.

        Args:
            request: its regions are written in the model's dialect.
            placement: of its first image; dialects that count in sent pixels need it for regions.
        """
        sizes = [(image.shape[1], image.shape[0]) for image in request.images]

        def words(part: Part) -> str:
            if part.type != "region":
                return part.text
            if part.region is None or not sizes:
                raise DataError("a region needs a box and an image", found=part)
            return grounding.write(part.region, self.dialect, sizes[part.image or 0], placement)

        spoken = [
            Message(
                turn.role,
                tuple(Part("text", text=words(part)) if part.type == "region" else part for part in turn.content),
            )
            for turn in request.messages
        ]
        return write_turns(self.processor, spoken, opened=True)

    def placement(self, picture: PilImage.Image) -> Placement | None:
        """Say how the processor lays out one picture, or None where that cannot be known (several tiles, padding)."""
        settings = self.processor.image_processor.to_dict()
        seen = self.processor.image_processor(images=[picture], return_tensors="pt")
        if "image_grid_thw" in seen:
            _, rows, columns = seen["image_grid_thw"][0].tolist()
            patch = settings["patch_size"]
            return Placement.whole(picture.size, (columns * patch, rows * patch))
        pixels = seen["pixel_values"]
        if not isinstance(pixels, torch.Tensor) or pixels.ndim != 4 or pixels.shape[0] != 1 or settings.get("do_pad"):
            return None
        height, width = pixels.shape[-2:]
        size = settings.get("size") or {}
        if settings.get("do_center_crop"):
            square = size.get("shortest_edge") == height == width
            return place(picture.size, height, "crop") if square else None
        if settings.get("do_resize") and (size.get("height"), size.get("width")) == (height, width):
            return Placement.whole(picture.size, (width, height))
        return None

    def _inputs(self, prompts: Sequence[str], pictures: Sequence[Sequence[PilImage.Image]]) -> BatchFeature:
        images = [list(row) for row in pictures] if any(pictures) else None
        inputs: BatchFeature = self.processor(
            text=list(prompts),
            images=images,
            padding=True,
            add_special_tokens=not begins(self.processor, prompts),
            return_tensors="pt",
        )
        moved: BatchFeature = inputs.to(self.model.device, dtype=self.model.dtype)
        return moved

    def _options(self, request: Request, prompt: str, pictures: Sequence[PilImage.Image]) -> dict[str, float]:
        """Weigh the choices of a request against each other by the probability of their tokens after the prompt."""
        if not request.choices:
            return {}
        gap = "" if not prompt or prompt[-1].isspace() else " "
        start = self._inputs([prompt], [pictures])["input_ids"][0]
        sums = []
        for choice in request.choices:
            inputs = self._inputs([f"{prompt}{gap}{choice}"], [pictures])
            ids = inputs["input_ids"][0]
            shared = min(len(start), len(ids))
            same = int((ids[:shared] == start[:shared]).long().cumprod(0).sum())
            with self._lock, torch.inference_mode():
                logits = self.model(**inputs).logits[0]
            chances = logits[same - len(ids) - 1 : -1].float().log_softmax(-1)
            sums.append(float(chances.gather(1, ids[same:, None]).sum()))
        top = max(sums)
        weights = [math.exp(value - top) for value in sums]
        return {choice: weight / sum(weights) for choice, weight in zip(request.choices, weights, strict=True)}


def open_processor(folder: Path, name: str) -> ProcessorMixin:
    """Load the processor.

    Raises:
        MissingExtraError: it needs torchvision, which is not installed.
        WeightsError: the folder holds none.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError, AttributeError) as error:
        named = "torchvision" in str(error).lower() or "VIDEO_PROCESSOR" in str(error)
        if torchvision_guard.install() == "absent" and (named or isinstance(error, ImportError | AttributeError)):
            raise MissingExtraError("torchvision", "clip", f"the processor of {name}") from error
        raise WeightsError("transformers cannot open the processor", found=f"{name}: {reason(error)}") from error
    if not isinstance(processor, ProcessorMixin):
        raise WeightsError(
            "this model takes no images", found=f"{name} has a {type(processor).__name__}", allowed="a processor"
        )
    return processor


def with_adapter(model: PreTrainedModel, folder: Path, *, learns: bool) -> PeftModel:
    """Put the adapter of a folder on a model, strictly.

    Args:
        model: the one below it.
        folder: with what peft saved.
        learns: whether the adapter is to be trained on.

    Raises:
        WeightsError: it does not fit the model.
    """
    try:
        made = PeftModel.from_pretrained(model, str(folder), is_trainable=learns)
        stored = load_file(folder / "adapter_model.safetensors")
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise WeightsError("this adapter does not fit its model", found=f"{folder}: {reason(error)}") from error
    own = get_peft_model_state_dict(made)
    refuse(f"the adapter in {folder}", own.keys() - stored.keys(), stored.keys() - own.keys(), [])
    return made


def _pictures(request: Request) -> list[PilImage.Image]:
    """Return a request's pictures in the order in which its messages show them.

    Raises:
        DataError: the messages show an image that is not there, or none of those that are.
    """
    parts = [part for message in request.messages for part in message.content if part.type == "image"]
    order = [number if part.image is None else part.image for number, part in enumerate(parts)]
    if any(not 0 <= index < len(request.images) for index in order) or (request.images and not order):
        raise DataError(
            "messages and images do not fit together",
            found=f"messages show {order or 'no image'}, {len(request.images)} given",
            next_step="every image of a request is shown by a message part",
        )
    return [PilImage.fromarray(request.images[index]).convert("RGB") for index in order]


def image_token_of(processor: Any) -> str:
    """Return how a picture is written in a prompt."""
    return str(getattr(processor, "image_token", "<image>"))


def begins(processor: Any, prompts: Sequence[str]) -> bool:
    """Whether prompts already have the token that begins a text, so that the tokenizer must not put another one."""
    bos = processor.tokenizer.bos_token
    return bos is not None and all(prompt.startswith(bos) for prompt in prompts)


def write_turns(processor: Any, messages: Sequence[Message], *, opened: bool) -> str:
    """Write turns of texts and images as a model's prompt.

    Args:
        processor: of the model; see the file's docstring for those without a chat template.
        messages: their parts are of type text and image.
        opened: end with what stands before an answer.
    """
    templates = processor.chat_template, processor.tokenizer.chat_template
    if not any(templates):
        return _plain_prompt(messages, image_token_of(processor), opened)
    turns: Any = [
        {
            "role": message.role,
            "content": [
                {"type": "image"} if part.type == "image" else {"type": "text", "text": part.text}
                for part in message.content
            ],
        }
        for message in messages
    ]
    written: str = processor.apply_chat_template(
        turns,
        chat_template=None if templates[0] else processor.tokenizer.get_chat_template(),
        add_generation_prompt=opened,
        tokenize=False,
    )
    return written


def _plain_prompt(messages: Sequence[Message], image_token: str, opened: bool) -> str:
    """Write messages for a model without a chat template; see the file's docstring."""
    written = []
    for message in messages:
        images = "".join(f"{image_token}\n" for part in message.content if part.type == "image")
        text = images + message.text
        written.append(text if message.role == "system" else f"{message.role.upper()}: {text}")
    return " ".join([*written, "ASSISTANT:"] if opened else written)


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
