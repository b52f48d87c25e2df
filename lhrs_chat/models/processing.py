"""From pictures and text to the model's inputs. Every resize, crop and pad is recorded as a `Placement`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image as PilImage
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import load_image
from transformers.processing_utils import ProcessorMixin

from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.geo.frames import Placement
from lhrs_chat.models.strict import reason
from lhrs_chat.schema import Message, Part
from lhrs_chat.text import templates

Picture = PilImage.Image | np.ndarray | torch.Tensor
Turn = Mapping[str, Any]  # one message in the chat format of transformers
RESIZES = ("pad", "stretch", "crop")
RESAMPLES = {"bilinear": PilImage.Resampling.BILINEAR, "bicubic": PilImage.Resampling.BICUBIC}


def as_rgb(picture: Picture) -> PilImage.Image:
    """Take a PIL image, an array (H, W, 3) uint8, or a tensor (3, H, W) uint8, as an RGB picture.

    Raises:
        DataError: the shape or the type is another one.
    """
    if isinstance(picture, PilImage.Image):
        if picture.mode.startswith(("I", "F")):  # of more than 8 bits: converting would cut the values off
            raise _no_rgb(f"a picture of mode {picture.mode}")
        return picture.convert("RGB")
    array = picture.permute(1, 2, 0).cpu().numpy() if isinstance(picture, torch.Tensor) else picture
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise _no_rgb(f"{array.dtype} of shape {array.shape}")
    return PilImage.fromarray(array)


def _no_rgb(found: str) -> DataError:
    return DataError(
        "a picture for the model is RGB",
        found=found,
        allowed="uint8 of shape (H, W, 3), or 8 bits in a PIL image",
        next_step="read other rasters with lhrs_chat.geo.Raster and take .rgb()",
    )


def open_picture(source: Picture | str) -> Picture:
    """Take a picture as it is, and open a path, an address or base64 as transformers does.

    Raises:
        DataError: it cannot be opened.
    """
    if isinstance(source, Picture):
        return source
    try:
        opened: PilImage.Image = load_image(source)
    except (OSError, ValueError) as error:
        raise DataError(
            "an image of the conversation cannot be opened",
            found=reason(error),
            next_step="give a PIL image, or read other rasters with lhrs_chat.geo.Raster and take .rgb()",
        ) from error
    return opened


def resize_picture(picture: PilImage.Image, size_px: tuple[int, int], resample: PilImage.Resampling) -> PilImage.Image:
    """Resize to `size_px` (width, height) with the same pixels whatever Pillow is installed.

    The two passes do not commute, since values are rounded and cut to 0-255 between them. Pillow before 13 always does
    the rows first; since 13 it does the columns first where the height shrinks by more than twice as many pixels as the
    width. That order is kept here. The picture has one channel or three, none of them transparency.
    """
    width, height = size_px
    if picture.height > height and picture.height - height > 2 * (picture.width - width):
        picture = picture.resize((picture.width, height), resample)
    return picture.resize(size_px, resample)


def middle(size_px: tuple[int, int], sent_px: int, short_px: int | None) -> tuple[tuple[int, int], int, int]:
    """Say how the middle square of a picture is cut out: size after the resize, left and top of the square.

    The long side is rounded down, in both. Where one number says how large the short side and the square are, the
    borders are rounded down too, as CLIP's processor does; `short_px` makes them what torchvision's `Resize(short_px)`
    and `CenterCrop(sent_px)` make, half a pixel rounded to even.
    """
    width, height = size_px
    side = sent_px if short_px is None else short_px
    long_px = int(side * max(size_px) / min(size_px))
    resized = (side, long_px) if width <= height else (long_px, side)
    spare = resized[0] - sent_px, resized[1] - sent_px
    left, top = (n // 2 if short_px is None else round(n / 2) for n in spare)
    return resized, left, top


def place(size_px: tuple[int, int], sent_px: int, resize: str, short_px: int | None = None) -> Placement:
    """Say how a picture of `size_px` (width, height) will lie in the square of `sent_px` that the model sees."""
    width, height = size_px
    square = (sent_px, sent_px)
    if resize == "stretch":
        return Placement(size_px, (0, 0, width, height), square, (0, 0), square)
    if resize == "pad":
        scale = sent_px / max(width, height)
        resized = (max(1, round(width * scale)), max(1, round(height * scale)))
        pad = ((sent_px - resized[0]) // 2, (sent_px - resized[1]) // 2)
        return Placement(size_px, (0, 0, width, height), resized, pad, square)
    resized, left, top = middle(size_px, sent_px, short_px)
    x_scale, y_scale = width / resized[0], height / resized[1]
    crop = (left * x_scale, top * y_scale, (left + sent_px) * x_scale, (top + sent_px) * y_scale)
    return Placement(size_px, crop, square, (0, 0), square)


class LhrsImageProcessor(BaseImageProcessor):
    """Resize to a square, scale to 0-1, normalise by channel.

    Args:
        size_px: side of the square.
        resize: `pad` keeps the shape and fills with the mean colour, `stretch` does not keep it, `crop` keeps the
            middle (CLIP).
        resample: `bilinear` or `bicubic`.
        image_mean: per channel, of values 0-1.
        image_std: per channel, of values 0-1.
        short_px: for `crop`, the short side before the middle is cut out; left out, `size_px`, as in CLIP.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012  (the name and form transformers asks for)

    def __init__(
        self,
        size_px: int = 224,
        resize: str = "pad",
        resample: str = "bicubic",
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        short_px: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if resize not in RESIZES:
            raise ConfigError("unknown way to resize", found=resize, allowed=", ".join(RESIZES))
        if resample not in RESAMPLES:
            raise ConfigError("unknown resampling", found=resample, allowed=", ".join(RESAMPLES))
        if short_px is not None and (resize != "crop" or short_px < size_px):
            raise ConfigError("short_px goes with crop", found=f"{short_px}, {resize}", allowed=f"{size_px} or more")
        self.size_px = size_px
        self.short_px = short_px
        self.resize_mode = resize
        self.resample_name = resample
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)

    def to_dict(self) -> dict[str, Any]:
        """Return what `preprocessor_config.json` holds: the arguments of the constructor."""
        return {
            "image_processor_type": type(self).__name__,
            "size_px": self.size_px,
            "resize": self.resize_mode,
            "resample": self.resample_name,
            "image_mean": self.image_mean,
            "image_std": self.image_std,
            "short_px": self.short_px,
        }

    def placement(self, size_px: tuple[int, int]) -> Placement:
        """Say how a picture of `size_px` (width, height) is cut, resized and padded."""
        return place(size_px, self.size_px, self.resize_mode, self.short_px)

    def one(self, picture: Picture) -> torch.Tensor:
        """Turn one picture into pixels (3, H, W), normalised."""
        rgb = as_rgb(picture)
        sent = self.size_px
        resample = RESAMPLES[self.resample_name]
        where = self.placement(rgb.size)
        if self.resize_mode == "crop":
            target, left, top = middle(rgb.size, sent, self.short_px)
            seen = resize_picture(rgb, target, resample).crop((left, top, left + sent, top + sent))
        else:
            seen = resize_picture(rgb, where.resized_px, resample)
        pixels = np.asarray(seen, dtype=np.float32) / 255.0
        mean, std = np.asarray(self.image_mean, np.float32), np.asarray(self.image_std, np.float32)
        canvas = np.zeros((sent, sent, 3), dtype=np.float32)  # 0 is the mean colour once normalised
        x, y = where.pad
        canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]] = (pixels - mean) / std
        return torch.from_numpy(canvas.transpose(2, 0, 1).copy())

    def preprocess(
        self, images: Picture | Sequence[Picture], return_tensors: str = "pt", **kwargs: Any
    ) -> BatchFeature:
        """Turn pictures into `pixel_values`: (B, 3, H, W)."""
        if kwargs:
            raise ConfigError("unknown image option", found=", ".join(kwargs), allowed="images, return_tensors")
        pictures = [images] if isinstance(images, Picture) else list(images)
        if not pictures:
            raise DataError("no image was given", next_step="leave images out instead of passing an empty list")
        pixels = torch.stack([self.one(picture) for picture in pictures])
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)


class LhrsProcessor(ProcessorMixin):
    """Image processor and tokenizer in one: expands each image token to the bridge's number of visual tokens.

    Args:
        image_processor: an `LhrsImageProcessor`.
        tokenizer: the language model's tokenizer.
        num_image_tokens: K, visual tokens of one image.
        image_token_id: the id that stands for a visual token; it may lie behind the vocabulary.
        image_token: how an image is written in a prompt.
        system: the system text that this model was tuned with, or None.
        dialect: how this model writes boxes, a name of `lhrs_chat.text.grounding.DIALECTS`.
        chat_template: Jinja template; the tokenizer's own where it is None.
    """

    def __init__(
        self,
        image_processor: LhrsImageProcessor | None = None,
        tokenizer: Any = None,
        num_image_tokens: int = 1,
        image_token_id: int = -1,
        image_token: str = "<image>",
        system: str | None = None,
        dialect: str = "brackets100",
        chat_template: str | None = None,
    ) -> None:
        self.num_image_tokens = num_image_tokens
        self.image_token_id = image_token_id
        self.image_token = image_token
        self.system = system
        self.dialect = dialect
        super().__init__(image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]

    def encode(self, prompt: str) -> list[int]:
        """Tokenise a rendered prompt, each `image_token` in it expanded to K image ids."""
        pieces = prompt.split(self.image_token)
        ids: list[int] = self.tokenizer(pieces[0], add_special_tokens=False).input_ids
        for piece in pieces[1:]:
            ids = ids + [self.image_token_id] * self.num_image_tokens
            ids = ids + self.tokenizer(piece, add_special_tokens=False).input_ids
        return ids

    def pad(self, rows: Sequence[Sequence[int]], side: str = "left") -> tuple[torch.Tensor, torch.Tensor]:
        """Pad rows of ids to (B, T) and return them with their attention mask (B, T)."""
        length = max(len(row) for row in rows)
        ids = torch.full((len(rows), length), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for i, row in enumerate(rows):
            where = slice(length - len(row), length) if side == "left" else slice(0, len(row))
            ids[i, where] = torch.tensor(row, dtype=torch.long)
            mask[i, where] = 1
        return ids, mask

    def __call__(
        self,
        images: Picture | Sequence[Picture | Sequence[Picture]] | None = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        padding: bool | str = True,
    ) -> BatchFeature:
        """Make `input_ids` (B, T), `attention_mask` (B, T) and, with images, `pixel_values` (N, 3, H, W).

        Rows are padded on the left. `padding` is there because transformers passes it; rows are always padded.
        Images are given in the order of their tokens, in one list or in one for each row.

        Raises:
            DataError: the number of image tokens in the text is not the number of images.
        """
        prompts = [text] if isinstance(text, str) else list(text or [])
        if not prompts:
            raise DataError("no text was given", next_step="pass text=... with one <image> for each image")
        given = [] if images is None else [images] if isinstance(images, Picture) else images
        pictures = [one for item in given for one in ([item] if isinstance(item, Picture) else item)]
        written = sum(prompt.count(self.image_token) for prompt in prompts)
        if written != len(pictures):
            raise DataError(
                f"the text holds {written} {self.image_token}, but {len(pictures)} images were given",
                next_step=f"write one {self.image_token} for each image",
            )
        ids, mask = self.pad([self.encode(prompt) for prompt in prompts])
        data: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if pictures:
            data["pixel_values"] = self.image_processor(pictures)["pixel_values"]
        return BatchFeature(data, tensor_type=return_tensors)

    def apply_chat_template(  # type: ignore[override]  # wider in what it takes, narrower in what it is told
        self,
        conversation: Sequence[Turn] | Sequence[Sequence[Turn]],
        chat_template: str | None = None,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str = "pt",
        processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write conversations in the form of transformers as prompts, or turn them into the model's inputs.

        A content is a text, or a list of `{"type": "text", "text": ...}` and `{"type": "image", "image": ...}`, an
        image being a picture or its `url`, `path` or `base64`. The prompt is that of a chat with this model: the system
        text that it was tuned with comes first, unless the conversation brings its own.

        Args:
            conversation: one, or a list of them.
            chat_template: Jinja template; the tokenizer's own where it is None.
            tokenize: return `input_ids` (B, T), or with `return_dict` what `__call__` makes, instead of text.
            return_dict: see `tokenize`.
            return_tensors: as in `__call__`.
            processor_kwargs: more arguments of `__call__`.
            kwargs: passed to the tokenizer's own method: `add_generation_prompt`, `continue_final_message`, variables
                of the template.

        Raises:
            DataError: there is no turn, a part of a content is of an unknown kind, or an image cannot be opened.
        """
        several = bool(conversation) and isinstance(conversation[0], Sequence)
        prompts: list[str] = []
        pictures: list[Picture] = []
        for turns in cast("Sequence[Sequence[Turn]]", conversation if several else [conversation]):
            if not turns:
                raise DataError("a prompt needs at least one message", found="none")
            written = []
            for turn in turns:
                text, shown = self._content(turn)
                written.append({"role": turn["role"], "content": text})
                pictures += shown
            if self.system is not None and written[0]["role"] != "system":
                written.insert(0, {"role": "system", "content": self.system})
            prompts.append(
                self.tokenizer.apply_chat_template(written, chat_template=chat_template, tokenize=False, **kwargs)
            )
        if not tokenize:
            return prompts if several else prompts[0]
        settings = processor_kwargs or {}
        inputs = self(images=pictures or None, text=prompts, return_tensors=return_tensors, **settings)
        return inputs if return_dict else inputs["input_ids"]

    def _content(self, turn: Turn) -> tuple[str, list[Picture]]:
        """Write the content of one turn as text, with the token of each image, and open its images."""
        if isinstance(turn["content"], str):
            return turn["content"], []
        parts: list[Part] = []
        pictures: list[Picture] = []
        for part in turn["content"]:
            if part["type"] == "image":
                parts.append(Part("image", image=len(pictures)))
                pictures += [open_picture(part[key]) for key in ("image", "url", "path", "base64") if key in part]
            elif part["type"] == "text":
                parts.append(Part("text", part["text"]))
            else:
                raise DataError("unknown kind of content", found=part["type"], allowed="text, image")
        return templates.content(Message(turn["role"], tuple(parts)), self.image_token, self.dialect), pictures

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that `__call__` makes."""
        return ["input_ids", "attention_mask", "pixel_values"]
