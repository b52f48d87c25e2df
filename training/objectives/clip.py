"""The objective `clip`: pictures and captions drawn together, through open_clip; with regions, as FarSLIP does.

The sum of up to three losses, each with its weight (arXiv 2511.14901): whole pictures and captions; labelled boxes and
the texts of their categories; random crops and the places of the whole picture where they lie. Over several processes
pictures, regions and texts are compared with those of all.
"""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image as PilImage
from safetensors.torch import save_file
from torch import distributed, nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional

from lhrs_chat.errors import ConfigError, DataError
from lhrs_chat.models import dense_clip
from lhrs_chat.models.convert.clip import CONFIG, KEPT_POSITIONS, WEIGHTS
from lhrs_chat.models.scorers.clip import ClipScorer, is_clip
from lhrs_chat.models.weights import locate
from lhrs_chat.schema import XYXY

from ..contrastive import IGNORED, patch_to_patch, picture_to_text, region_to_category
from ..features import FeatureStore
from ..frozen_trunk import keep_features
from ..optimizer import choose
from ..order import plan
from ..pairs import Pair, Visit, crops, cut, pairs
from ..pictures import opened
from ..recipe import ClipPart, Recipe
from ..rows import data_hashes
from ..stage import TOLD, Stage, Told
from . import Objective

log = logging.getLogger(__name__)

LARGEST_SCALE = math.log(100)


class ClipLosses(nn.Module):
    """The losses of a batch.

    Args:
        model: of open_clip.
        clip: weights, and which network sees the crops.
        kept_positions: rows of the text tower's positions that stay as they are.
        cached: pictures come as what the trunk of the vision tower saw of them.
    """

    def __init__(self, model: Any, clip: ClipPart, kept_positions: int, *, cached: bool = False) -> None:
        super().__init__()
        self.cached = cached
        self.model = model
        self.clip = clip
        self.pictures = nn.Identity()
        """Where the pixels pass, for the guard that looks whether a picture reaches the loss."""
        self.teacher = copy.deepcopy(model.visual) if clip.target in ("ema", "frozen") and clip.patches else None
        self.kept_positions = kept_positions
        kept = model.positional_embedding.detach()[:kept_positions].clone()
        self.register_buffer("positions", kept, persistent=False)

    def forward(
        self,
        pixels: torch.Tensor,
        texts: torch.Tensor,
        regions: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
        things: torch.Tensor | None = None,
        categories: torch.Tensor | None = None,
        category: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the loss of the batch once for each picture, (B,).

        Args:
            pixels: (B, C, H, W), whole pictures; (B, D), features of the trunk, where they are cached.
            texts: (B, T), their captions.
            regions: (M, C, H, W), random crops.
            places: (M, 4), where they lie, in shares of their picture.
            image: (M,), in which picture.
            things: (R, C, H, W), labelled boxes.
            categories: (R, T), texts of their categories.
            category: (R,), numbers of these.
        """
        model, clip = self.model, self.clip
        self.hold()
        scale = model.logit_scale.exp()
        shown = self.pictures(pixels)
        loss = pixels.new_zeros(())
        if regions is not None and places is not None and image is not None:
            pooled, dense = dense_clip.features(model.visual, shown)
            loss = loss + clip.patches * patch_to_patch(dense, places, image, self._crops(regions))
        else:
            pooled = model.visual.head(shown) if self.cached else model.encode_image(shown)
        if clip.captions:
            seen = functional.normalize(pooled, dim=-1)
            said = functional.normalize(model.encode_text(texts), dim=-1)
            loss = loss + clip.captions * picture_to_text(_everywhere(seen), _everywhere(said), scale)
        if things is not None and categories is not None and category is not None:
            seen = functional.normalize(model.encode_image(things), dim=-1)
            said = functional.normalize(model.encode_text(categories), dim=-1)
            most = len(pixels) * clip.regions
            seen, said = (_everywhere(_padded(part, most)) for part in (seen, said))
            named = _everywhere(_padded(category + 1, most)) - 1
            loss = loss + clip.categories * region_to_category(seen, said, named, scale)
        return loss.expand(len(pixels))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; norms over batches that are not trained keep the statistics that they came with."""
        super().train(mode)
        for part in self.model.modules():
            if isinstance(part, nn.BatchNorm2d) and not any(tensor.requires_grad for tensor in part.parameters()):
                part.eval()
        return self

    @torch.no_grad()
    def hold(self) -> None:
        """Hold the scale within its bound and the kept positions at their values, and let the teacher follow."""
        self.model.logit_scale.clamp_(0, LARGEST_SCALE)
        self.model.positional_embedding[: self.kept_positions] = self.positions
        if self.teacher is not None and self.clip.target == "ema" and self.training:
            for mean, tensor in zip(self.teacher.parameters(), self.model.visual.parameters(), strict=True):
                mean.lerp_(tensor, 1 - self.clip.momentum)

    def _crops(self, regions: torch.Tensor) -> torch.Tensor:
        """Return the dense features of crops, from whom the recipe says."""
        if self.clip.target == "shared":
            return dense_clip.features(self.model.visual, regions)[1]
        with torch.no_grad():
            dense = dense_clip.features(self.teacher or self.model.visual, regions)[1]
        if self.teacher is None or self.clip.target == "frozen":
            return dense
        # Tensors with a gradient are kept in checkpoints, and all of them must have one: here it is zero.
        zero: torch.Tensor = 0 * torch.stack([tensor.sum() for tensor in self.teacher.parameters()]).sum()
        return dense + zero


def _padded(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """Fill up to so many rows with zeros, so that all processes have the same; a category of 0 becomes `IGNORED`."""
    return functional.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, rows - len(tensor)])


def _everywhere(tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes, with the gradient of each."""
    if not distributed.is_initialized():
        return tensor
    return torch.cat(all_gather(tensor)) if tensor.requires_grad else torch.cat(_gathered(tensor))


def _gathered(tensor: torch.Tensor) -> list[torch.Tensor]:
    made = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(made, tensor.contiguous())
    return made


def begin(recipe: Recipe) -> Stage:
    """Read the rows and set up the stage.

    Raises:
        LhrsError: there is no such model, or rows do not fit.
    """
    clip, part = recipe.clip, recipe.data
    torch.manual_seed(recipe.seed)
    folder = _folder(recipe)
    scorer = ClipScorer.open(folder, str(folder))
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    losses = ClipLosses(scorer.model, clip, config.get(KEPT_POSITIONS, 0), cached=part.cache_features)
    rates = choose(losses, recipe.optim.lr, {name: name.removeprefix("model.") for name in _own(losses)})
    if losses.teacher is not None:
        losses.teacher.requires_grad_(clip.target == "ema")
    read = {split: list(pairs(part, clip, split)) for split in ("train", "val")}
    if not read["train"]:
        raise DataError("there is nothing to learn from", found=f"no row of the split train in {part.folder}")
    _tell_of_long(scorer.tokenizer, read["train"])
    rng = np.random.default_rng(recipe.seed)
    drawn = [pair for _ in range(part.passes) for pair in plan(read["train"], part, rng)]
    held_out = read["val"][: part.eval_rows] if recipe.eval_steps else []
    sources = tuple(sorted({pair.source for pair in (*drawn, *held_out)}))
    labels = sorted({label for pair in (*drawn, *held_out) for label, _ in pair.boxes})
    if clip.categories and not labels:
        raise DataError(
            "there is no labelled box to learn categories from",
            found=f"no box of {clip.box_area_px[0]:g} to {clip.box_area_px[1]:g} pixels in {part.folder}",
            next_step="set clip.box_area_px, or clip.categories=0",
        )
    store = None
    if part.cache_features:
        store = keep_features(part.folder, scorer.model, clip, rates, (pair.file for pair in (*drawn, *held_out)))
    return Stage(
        losses,
        [Visit(pair, number) for number, pair in enumerate(drawn)],
        [Visit(pair, number) for number, pair in enumerate(held_out)],
        Batches(scorer, clip, recipe.seed, sources, labels, store).make,
        sources,
        partial(_write, losses, config),
        rates,
        visual=losses.pictures,
        data=data_hashes(part.folder),
    )


def _folder(recipe: Recipe) -> Path:
    if recipe.start is not None and is_clip(recipe.start):
        return recipe.start
    if recipe.model is None:
        raise ConfigError("a CLIP is named by model", found="none", allowed="a folder or a hub id of open_clip")
    place = Path(recipe.model).expanduser()
    folder = place if is_clip(place) else locate(recipe.model)
    if not is_clip(folder):
        raise ConfigError("this is no CLIP of open_clip", found=recipe.model, allowed=f"a folder with {CONFIG}")
    return folder


def _own(losses: ClipLosses) -> list[str]:
    return [name for name, _ in losses.named_parameters() if name.startswith("model.")]


def _tell_of_long(tokenizer: Any, read: Sequence[Pair]) -> None:
    texts = [caption for pair in read for caption in pair.captions]
    longest = tokenizer.context_length - 2  # without the signs of beginning and end
    long = sum(len(tokenizer.encode(text)) > longest for text in texts)
    if long:
        log.warning("%d of %d captions have more than %d tokens; what is behind is not read", long, len(texts), longest)


class Batches:
    """Makes batches of visits; what is drawn for a visit depends on nothing but the seed and its number.

    Args:
        scorer: the model, with its tokenizer.
        clip: which regions there are.
        seed: of the recipe.
        sources: their names.
        labels: categories of boxes, in the order of their numbers.
        store: what the trunk of the vision tower saw of the pictures, where it is kept.
    """

    def __init__(
        self,
        scorer: ClipScorer,
        clip: ClipPart,
        seed: int,
        sources: Sequence[str],
        labels: Sequence[str],
        store: FeatureStore | None,
    ) -> None:
        self.tokenizer, self.clip, self.seed, self.store = scorer.tokenizer, clip, seed, store
        self.sources = {source: number for number, source in enumerate(sources)}
        self.labels = {label: number for number, label in enumerate(labels)}
        size = scorer.model.visual.image_size
        self.size_px = (size, size) if isinstance(size, int) else (size[1], size[0])
        look: Mapping[str, Any] = scorer.model.visual.preprocess_cfg
        self.mean, self.std = (torch.tensor(look[name])[:, None, None] for name in ("mean", "std"))

    def make(self, visits: Sequence[Visit]) -> dict[str, Any]:
        """Make a batch."""
        clip = self.clip
        captions: list[str] = []
        places: list[XYXY] = []
        image: list[int] = []
        named: list[str] = []
        pixels: list[torch.Tensor] = []
        regions: list[torch.Tensor] = []
        things: list[torch.Tensor] = []
        for number, visit in enumerate(visits):
            rng = np.random.default_rng([self.seed, visit.number])
            pair = visit.pair
            captions.append(pair.captions[rng.integers(len(pair.captions))])
            if self.store is not None:
                pixels.append(self.store.get([pair.file])[0][0, 0])
                continue
            picture = opened(pair.file)
            pixels.append(self._pixels(picture))
            for box in crops(clip, rng) if clip.patches else ():
                regions.append(self._pixels(cut(picture, box)))
                places.append(box)
                image.append(number)
            if clip.categories:
                for chosen in rng.permutation(len(pair.boxes))[: clip.regions]:
                    label, box = pair.boxes[chosen]
                    things.append(self._pixels(cut(picture, box)))
                    named.append(label)
        made: dict[str, Any] = {"pixels": torch.stack(pixels), "texts": self.tokenizer(captions)}
        if regions:
            made |= {"regions": torch.stack(regions), "places": torch.tensor(places), "image": torch.tensor(image)}
        if clip.categories:
            made |= self._named(things, named, made)
        sources = torch.tensor([self.sources[visit.pair.source] for visit in visits], dtype=torch.long)
        slots = made["texts"].numel()
        return {**made, TOLD: Told(tuple(visit.pair.id for visit in visits), sources, slots, slots, len(visits))}

    def _named(self, things: list[torch.Tensor], named: list[str], made: Mapping[str, Any]) -> dict[str, Any]:
        """Return labelled regions; a batch without any takes one that is ignored, as other processes may have some."""
        if not things:
            return {
                "things": made["pixels"][:1],
                "categories": made["texts"][:1],
                "category": torch.tensor([IGNORED], dtype=torch.long),
            }
        return {
            "things": torch.stack(things),
            "categories": self.tokenizer([self.clip.category_text.format(label) for label in named]),
            "category": torch.tensor([self.labels[label] for label in named], dtype=torch.long),
        }

    def _pixels(self, picture: PilImage.Image) -> torch.Tensor:
        """Squash a picture to the model's size."""
        small = picture.resize(self.size_px, PilImage.Resampling.BICUBIC)
        array = torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 255
        return (array - self.mean) / self.std


def _write(losses: ClipLosses, config: Mapping[str, Any], out: Path) -> None:
    """Write a folder that open_clip opens without our code. Its pictures are squashed, as they were here."""
    losses.hold()
    state = losses.model.state_dict()
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, out / WEIGHTS)
    look = {**config.get("preprocess_cfg", {}), "resize_mode": "squash", "interpolation": "bicubic"}
    (out / CONFIG).write_text(json.dumps({**config, "preprocess_cfg": look}, indent=1) + "\n", encoding="utf-8")


OBJECTIVE = Objective(begin)
