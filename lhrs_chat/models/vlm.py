"""The model in one file: encode, bridge, splice, language model, loss.

Shapes: B batch, C bands, H W pixels, N patches, K visual tokens, T text tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from lhrs_chat.errors import DataError
from lhrs_chat.models.bridges import BRIDGES, BridgeShape
from lhrs_chat.models.encoders import ENCODERS
from lhrs_chat.models.strict import refuse


class LhrsConfig(PreTrainedConfig):
    """Names the three parts of a model and how they are joined.

    Args:
        encoder: `name` of the encoder file, and what that file takes.
        bridge: `name` of the bridge file, and what that file takes.
        text_config: configuration of the language model, as transformers writes it.
        image_size_px: side of the square that the encoder sees.
        image_token_id: id that stands for a visual token; it may lie behind the vocabulary.
    """

    model_type = "lhrs_chat"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012  (the name and form transformers asks for)

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        bridge: dict[str, Any] | None = None,
        text_config: dict[str, Any] | PreTrainedConfig | None = None,
        image_size_px: int = 224,
        image_token_id: int = 0,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.bridge = bridge or {}
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        elif text_config is None:
            text_config = AutoConfig.for_model("llama")
        self.text_config = text_config
        self.image_size_px = image_size_px
        self.image_token_id = image_token_id
        kwargs.setdefault("tie_word_embeddings", text_config.tie_word_embeddings)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            kwargs.setdefault(name, getattr(text_config, name))
        super().__init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Return the language model's configuration; transformers sizes its caches by it."""
        return self.text_config


class LhrsForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A vision encoder, a bridge and a language model that reads the bridge's tokens among its own."""

    config_class = LhrsConfig
    base_model_prefix = "language_model"
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012

    def __init__(self, config: LhrsConfig) -> None:
        super().__init__(config)
        self.encoder = ENCODERS.get(config.encoder["name"]).build(_rest(config.encoder))
        shape = BridgeShape(
            self.encoder.widths, self.encoder.grids(config.image_size_px), config.text_config.hidden_size
        )
        self.bridge = BRIDGES.get(config.bridge["name"]).build(_rest(config.bridge), shape)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a folder as transformers does, but refuse any tensor that is missing, unexpected or misshaped.

        Where an adapter of PEFT lies beside the model, it is loaded after it, and both are held to that.

        Raises:
            WeightsError: the weights do not fit the model; the error lists the tensors.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        opened: Any = super().from_pretrained(*args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)
        model, info = opened  # the report is of what was loaded last: an adapter, where there is one
        misshaped = [str(item[0]) for item in info["mismatched_keys"]]
        refuse(str(args[0]) if args else "the model", info["missing_keys"], info["unexpected_keys"], misshaped)
        return (model, info) if wants_info else model

    @staticmethod
    def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:
        """Refuse the model's own weights where they do not fit: an adapter's report takes the place of theirs.

        Raises:
            WeightsError: the weights do not fit the model; the error lists the tensors.
        """
        report = PreTrainedModel._finalize_model_loading(model, load_config, loading_info)
        misshaped = [str(item[0]) for item in report.mismatched_keys]
        name = str(load_config.pretrained_model_name_or_path)
        refuse(name, report.missing_keys, report.unexpected_keys, misshaped)
        return report

    def _init_weights(self, module: nn.Module) -> None:
        """Leave every part as its own constructor made it."""

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's token embedding."""
        table: nn.Module = self.language_model.get_input_embeddings()
        return table

    def get_output_embeddings(self) -> nn.Module:
        """Return the language model's head."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def visual_tokens(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Turn `pixel_values`: (N, C, H, W), normalised, into visual tokens (N, K, D)."""
        tokens: torch.Tensor = self.bridge(self.encoder(pixel_values.to(self.dtype)))
        return tokens

    def splice(self, input_ids: torch.Tensor, visual: torch.Tensor | None) -> torch.Tensor:
        """Embed `input_ids`: (B, T), with `visual`: (N, K, D) put where the image token stands; (B, T, D).

        Raises:
            DataError: image tokens and visual tokens do not match; a row that lost its image is never trained on.
        """
        is_image = input_ids == self.config.image_token_id
        wanted = int(is_image.sum())
        given = 0 if visual is None else visual.shape[0] * visual.shape[1]
        if wanted != given:
            raise DataError(
                "image tokens in the text and visual tokens of the images do not match",
                found=f"{wanted} in the text, {given} from the images",
                next_step="make both with one LhrsProcessor call",
            )
        embedded: torch.Tensor = self.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        if visual is None:
            return embedded
        return embedded.masked_scatter(is_image.unsqueeze(-1), visual.to(embedded.dtype))

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        visual: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Run the model.

        Args:
            input_ids: (B, T), with K image ids for each image.
            pixel_values: (N, C, H, W), normalised, the images in the order of their tokens.
            attention_mask: (B, T), 1 for real tokens; or (B, 1, T, T), added to the attention scores.
            position_ids: (B, T); counted over real tokens where it is None.
            past_key_values: cache of earlier tokens.
            inputs_embeds: (B, T, D), instead of input_ids.
            labels: (B, T), -100 where nothing is learned; the loss is the mean over the rest.
            visual: (N, K, D), visual tokens made before, instead of pixel_values.
            use_cache: return the cache.
            logits_to_keep: how many last positions get logits; 0 means all. (With labels, all.)
            kwargs: passed to the language model, which refuses what it does not know.

        Raises:
            DataError: the images do not match their tokens.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise DataError("the model needs input_ids or inputs_embeds", found="neither")
            if pixel_values is not None:
                visual = self.visual_tokens(pixel_values)
            inputs_embeds = self.splice(input_ids, visual)
        if position_ids is None and attention_mask is not None and attention_mask.dim() == 2:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -inputs_embeds.shape[1] :]
        output: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        return output

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Pass the images in the first step only; later steps find them in the cache."""
        images = {name: kwargs.pop(name, None) for name in ("pixel_values", "visual")}
        again = kwargs.get("is_first_iteration") or not kwargs.get("use_cache", True)
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(*args, **kwargs)  # type: ignore[misc]
        return {**inputs, **images} if again else inputs


def _rest(part: dict[str, Any]) -> dict[str, Any]:
    """Return a part's own settings: everything but its name."""
    return {key: value for key, value in part.items() if key != "name"}
