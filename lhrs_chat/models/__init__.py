"""Models: importing this registers ours with the Auto classes of transformers."""

from lhrs_chat.models import torchvision_guard

torchvision_guard.install()

from transformers import (  # noqa: E402  (after the guard, which must come before any transformers import)
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from lhrs_chat.models.processing import LhrsImageProcessor, LhrsProcessor  # noqa: E402
from lhrs_chat.models.vlm import LhrsConfig, LhrsForConditionalGeneration  # noqa: E402

AutoConfig.register("lhrs_chat", LhrsConfig, exist_ok=True)
AutoImageProcessor.register(LhrsConfig, slow_image_processor_class=LhrsImageProcessor, exist_ok=True)
AutoProcessor.register(LhrsConfig, LhrsProcessor, exist_ok=True)
AutoModelForImageTextToText.register(LhrsConfig, LhrsForConditionalGeneration, exist_ok=True)

__all__ = ["LhrsConfig", "LhrsForConditionalGeneration", "LhrsImageProcessor", "LhrsProcessor"]
