"""The score model: a vision-language backbone and one linear head that says how well a text fits its pictures.

The head is read at the last token of the conversation, found by the attention mask: a pad token that is written out in
a caption does not move it. The head is in float32 whatever the backbone is in. Folders are the ordinary ones of
`*ForSequenceClassification` with one label: `model.*` and `score.weight`: (1, D).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models.strict import reason, refuse
from lhrs_chat.models.vlm import LhrsConfig, LhrsForConditionalGeneration
from lhrs_chat.models.weights import AS_STORED, Precision

Activation = Literal["identity", "softplus"]
Positions = Literal["sequential", "mrope"]
HEAD = "score"
SCORE_RS_SIGN = "ranked_candidate_num"  # an entry that only the configurations of ScoreRS have
SCORE_RS_NAMES = {  # its tensors -> ours: it was written before transformers joined the two towers below `model`
    r"^visual\.": "model.visual.",
    r"^model\.(?!visual\.|language_model\.)": "model.language_model.",
    r"^reward_head\.": "score.",
}


class ScoreModel(PreTrainedModel):
    """What all score models share; `score_model_class` makes the class of one kind of backbone.

    The configuration is that of the backbone, with three entries of ours (`put_settings`): `score_activation`,
    `position_mode` and `score_layout`.
    """

    base_model_prefix = "model"
    _keep_in_fp32_modules_strict = {HEAD}  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = self.backbone(config)
        self.score = nn.Linear(config.get_text_config().hidden_size, 1, bias=False, dtype=torch.float32)
        self.post_init()  # type: ignore[no-untyped-call]

    def backbone(self, config: Any) -> nn.Module:
        """Make the backbone, without the head of a language model where its kind has one without."""
        made: nn.Module = AutoModel.from_config(config)
        return made

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Run the backbone and return its last hidden states: (B, T, D)."""
        three_axes = "mrope_section" in (self.config.get_text_config().to_dict().get("rope_parameters") or {})
        if three_axes:
            inputs["position_ids"] = self._positions(input_ids, attention_mask, inputs)
        states: torch.Tensor = self.model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **inputs
        ).last_hidden_state
        return states

    def _positions(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Positions of every token on the three axes: (3, B, T). Never those of an earlier call.

        The published ScoreRS was trained while transformers kept the offsets of the first batch for all later ones, so
        that its pictures had one axis: that is `sequential`. `mrope` counts time, rows and columns (Qwen2-VL).
        """
        shown = {name: inputs[name] for name in ("image_grid_thw", "mm_token_type_ids") if name in inputs}
        if self.config.position_mode == "mrope" and "image_grid_thw" in shown:
            positions, _ = self.model.get_rope_index(input_ids, attention_mask=attention_mask, **shown)
            return torch.as_tensor(positions)
        counted = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        return counted.expand(3, *counted.shape)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **inputs: Any) -> SequenceClassifierOutput:
        """Score conversations.

        Args:
            input_ids: (B, T), padded on either side.
            attention_mask: (B, T), 1 for real tokens.
            inputs: the pictures, as the backbone's processor makes them.

        Returns:
            `logits`: (B, 1), float32.
        """
        states = self.hidden(input_ids, attention_mask, **inputs)
        return SequenceClassifierOutput(logits=self.read(states, attention_mask))

    def read(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Score `states`: (B, T, D) at the last token of `mask`: (B, T) that is 1; (B, 1), float32."""
        steps = torch.arange(mask.shape[1], device=mask.device)
        last = (mask.long() * steps).argmax(-1)
        return self.judge(states[torch.arange(len(last), device=states.device), last])

    def judge(self, read: torch.Tensor) -> torch.Tensor:
        """Score the hidden states of last tokens, (M, D): (M, 1), float32."""
        scores: torch.Tensor = self.score(read.float())
        return nn.functional.softplus(scores) if self.config.score_activation == "softplus" else scores

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Save under our names, whatever those of the folder were that it was read from."""
        super().save_pretrained(*args, **{**kwargs, "save_original_format": False})

    def _init_weights(self, module: nn.Module) -> None:
        """Leave every part as its own constructor made it."""


class LhrsForSequenceClassification(ScoreModel):
    """A score model on a model of ours; its language model keeps its head, which is not read."""

    config_class = LhrsConfig
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def backbone(self, config: Any) -> nn.Module:
        """Make the model."""
        return LhrsForConditionalGeneration(config)

    def hidden(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **inputs: Any) -> torch.Tensor:
        """Run encoder, bridge and the layers of the language model: (B, T, D)."""
        model: Any = self.model
        visual = model.visual_tokens(inputs["pixel_values"]) if "pixel_values" in inputs else inputs.get("visual")
        counted = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        states: torch.Tensor = model.language_model.model(
            inputs_embeds=model.splice(input_ids, visual),
            attention_mask=attention_mask,
            position_ids=counted,
            use_cache=False,
        ).last_hidden_state
        return states

    def score_branches(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        ends: torch.Tensor,
        pixel_values: torch.Tensor | None,
    ) -> torch.Tensor:
        """Score texts that share beginnings as `forward` scores each of them alone: (M, 1).

        Args:
            input_ids: (B, T), see `lhrs_chat.models.branches.Laid`, also of the three that follow.
            position_ids: (B, T).
            attention_mask: (B, 1, T, T).
            ends: (M, 2).
            pixel_values: (N, C, H, W), the pictures in the order of their tokens, or None.
        """
        model: Any = self.model
        visual = None if pixel_values is None else model.visual_tokens(pixel_values)
        embedded = model.splice(input_ids, visual)
        states = model.language_model.model(
            inputs_embeds=embedded,
            attention_mask=attention_mask.to(embedded.dtype),
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        return self.judge(states[ends[:, 0], ends[:, 1]])


_CLASSES: dict[type[PreTrainedConfig], type[ScoreModel]] = {LhrsConfig: LhrsForSequenceClassification}


def score_model_class(config_class: type[PreTrainedConfig]) -> type[ScoreModel]:
    """Make `XForSequenceClassification` for the backbones of a configuration class.

    Raises:
        ConfigError: transformers has no model of this kind that sees pictures.
    """
    if config_class in _CLASSES:
        return _CLASSES[config_class]
    generates: Any = AutoModelForImageTextToText._model_mapping.get(config_class, None)
    if generates is None:
        raise ConfigError(
            "a score model stands on a vision-language model",
            found=config_class.__name__,
            allowed="a model that transformers lists under image-text-to-text, or one of ours",
        )
    family = next(kind for kind in generates.__mro__ if kind.__name__.endswith("PreTrainedModel"))
    name = generates.__name__.removesuffix("ForConditionalGeneration") + "ForSequenceClassification"
    _CLASSES[config_class] = type(name, (ScoreModel, family), {"config_class": config_class})
    return _CLASSES[config_class]


def put_settings(
    config: PreTrainedConfig,
    *,
    activation: Activation = "identity",
    positions: Positions = "mrope",
    layout: str = "answer",
) -> None:
    """Write what the score model adds to the configuration of its backbone.

    Args:
        config: of the backbone, changed in place.
        activation: of the raw score; `softplus` is that of one release of ScoreRS.
        positions: see `ScoreModel._positions`.
        layout: how question and answer are put, a name of `lhrs_chat.models.scorers.layouts.LAYOUTS`.

    Raises:
        ConfigError: a name that is not known.
    """
    for name, value, allowed in (("activation", activation, Activation), ("positions", positions, Positions)):
        if value not in get_args(allowed):
            raise ConfigError(f"unknown {name} of a score model", found=value, allowed=", ".join(get_args(allowed)))
    config.update({"score_activation": activation, "position_mode": positions, "score_layout": layout, "num_labels": 1})


def new_score_model(backbone: Path, precision: Precision = AS_STORED, **settings: Any) -> ScoreModel:
    """Put a new head on the backbone of a folder; see `with_head`.

    Args:
        backbone: folder of a vision-language model.
        precision: how its numbers are held.
        settings: see `put_settings`.

    Raises:
        WeightsError: the folder holds no such model.
    """
    try:
        whole: Any = AutoModelForImageTextToText.from_pretrained(
            backbone, local_files_only=True, use_safetensors=True, **precision.settings()
        )
    except (OSError, ValueError) as error:
        raise WeightsError("transformers cannot open this backbone", found=f"{backbone}: {reason(error)}") from error
    return with_head(whole, **settings)


def with_head(whole: PreTrainedModel, **settings: Any) -> ScoreModel:
    """Put a new head, all zeros, on a vision-language model, which becomes a part of the score model.

    Args:
        whole: the model; its configuration is changed in place.
        settings: see `put_settings`.
    """
    config: Any = whole.config
    put_settings(config, **settings)
    with torch.device("meta"):
        made = score_model_class(type(config))(config)
    made.model = whole if isinstance(whole, LhrsForConditionalGeneration) else whole.model
    made.score = nn.Linear(made.score.in_features, 1, bias=False, dtype=torch.float32, device=whole.device)
    nn.init.zeros_(made.score.weight)
    return made


def is_score_model(folder: Path) -> bool:
    """Whether a folder says that it holds a score model."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError):
        return False
    named = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    return named or SCORE_RS_SIGN in config.to_dict()


def load_score_model(folder: Path, precision: Precision = AS_STORED) -> ScoreModel:
    """Load a folder, strictly: a backbone without its head is refused. Also takes ScoreRS as it was published.

    Raises:
        WeightsError: the folder holds no score model, or its weights do not fit; the error lists the tensors.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        published = SCORE_RS_SIGN in config.to_dict()
        if published:
            put_settings(config, positions="sequential", layout="answer")
            delattr(config, SCORE_RS_SIGN)
        opened: Any = score_model_class(type(config)).from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            key_mapping=SCORE_RS_NAMES if published else None,
            **precision.settings(kept=[HEAD]),
        )
    except (OSError, ValueError) as error:
        raise WeightsError("transformers cannot open this score model", found=f"{folder}: {reason(error)}") from error
    model, report = opened
    misshaped = [str(row[0]) for row in report["mismatched_keys"]]
    refuse(str(folder), report["missing_keys"], report["unexpected_keys"], misshaped)
    made: ScoreModel = model.eval()
    missing = [
        name for name in ("score_activation", "position_mode", "score_layout") if name not in made.config.to_dict()
    ]
    if missing:
        raise WeightsError(
            "the configuration of this score model does not say how it is read",
            found=f"no {', '.join(missing)} in {folder / 'config.json'}",
            next_step="add the entries score_activation, position_mode and score_layout to it",
        )
    return made
