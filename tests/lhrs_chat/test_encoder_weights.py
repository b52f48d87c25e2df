"""The published EfficientNet-Lite0 weights, as lhrs-nano loads them: they know ImageNet, and they see land cover.

Needs the weights in the cache (`make test-slow` puts them there) or in the folder LHRS_CHAT_WHEELS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lhrs_chat.geo.raster import Raster
from lhrs_chat.models.assemble import part_file
from lhrs_chat.models.encoders import EncoderModule, efficientnet_lite
from lhrs_chat.models.processing import LhrsImageProcessor
from lhrs_chat.models.strict import load_strictly
from lhrs_chat.presets import load_preset

pytestmark = pytest.mark.slow

PHOTOGRAPH = Path(__file__).parents[1] / "data" / "grace_hopper_224.jpg"
SCENES = Path(__file__).parents[2] / "demo" / "scenes"
SIDE_PX = 32
PROBED = "stride16"
WOOD, TOWN, PORT, PLAIN = "netherlands_forest", "netherlands_town", "rotterdam_harbour", "spain_flood_s2"
# Windows by their upper left corner, labelled by eye (the flooded ones also by the water mask of Sen1Floods11): two
# sets in different parts of the scenes. Every class but one stands in scenes of two sensors or more, so that a probe
# which tells scenes apart does not yet tell the classes apart.
WINDOWS: dict[str, tuple[dict[str, tuple[tuple[int, int], ...]], dict[str, tuple[tuple[int, int], ...]]]] = {
    "forest": (
        {WOOD: ((0, 160), (32, 160), (64, 160), (64, 192), (64, 128), (96, 224), (32, 128)), TOWN: ((64, 88),)},
        {
            WOOD: ((128, 96), (160, 96), (192, 96), (160, 128), (224, 160), (128, 160), (192, 192), (160, 224)),
            TOWN: ((32, 84),),
        },
    ),
    "field": (
        {
            WOOD: ((64, 0), (32, 64), (64, 32), (0, 4), (96, 40)),
            PLAIN: ((64, 80), (130, 200), (64, 384), (20, 330), (150, 90)),
        },
        {
            WOOD: ((160, 4), (192, 40), (168, 72), (224, 60), (128, 32)),
            PLAIN: ((260, 70), (384, 384), (400, 340), (330, 390), (270, 270)),
        },
    ),
    "urban": (
        {
            TOWN: ((0, 0), (128, 160), (128, 192), (160, 64), (160, 32), (132, 224)),
            PLAIN: ((196, 136), (0, 160)),
            PORT: ((0, 80), (0, 160)),
        },
        {
            TOWN: ((192, 32), (192, 64), (224, 32), (224, 160), (224, 192), (192, 192)),
            PLAIN: ((384, 460), (244, 152)),
            PORT: ((80, 40), (160, 80), (80, 0)),
        },
    ),
    "water": (
        {PORT: ((44, 84), (50, 118), (46, 150), (64, 166)), PLAIN: ((384, 120), (424, 136), (408, 168))},
        {PORT: ((0, 0), (44, 50)), PLAIN: ((440, 64), (416, 16), (480, 64), (456, 176))},
    ),
}


def encoder(config: dict[str, object], *, published: bool = True) -> EncoderModule:
    made = efficientnet_lite.build(config).eval()
    if published:
        state = efficientnet_lite.load_published(part_file(load_preset("lhrs-nano").parts["encoder"]))
        load_strictly(made, efficientnet_lite.weight_map(state, config), "the encoder")
    return made


def prepared() -> LhrsImageProcessor:
    """The preparation of pictures that lhrs-nano states."""
    image = load_preset("lhrs-nano").image
    return LhrsImageProcessor(image.size_px, image.resize, image.resample, image.mean, image.std)


def chips(part: int) -> tuple[torch.Tensor, np.ndarray]:
    """Pixels (N, 3, H, W), prepared as lhrs-nano prepares them, and the class of each."""
    prepare = prepared()
    pixels, classes = [], []
    for name, parts in WINDOWS.items():
        for scene, corners in parts[part].items():
            with Raster.open(SCENES / f"{scene}.tif") as raster:
                for x, y in corners:
                    pixels.append(prepare.one(raster.rgb((x, y, x + SIDE_PX, y + SIDE_PX))))
                    classes.append(name)
    return torch.stack(pixels), np.array(classes)


def probed(model: EncoderModule) -> float:
    """Accuracy of a linear probe that learns on one set of windows and is asked about the other, both ways round."""
    features, classes = [], []
    for part in (0, 1):
        pixels, names = chips(part)
        with torch.inference_mode():
            features.append(model(pixels)[0].mean(dim=1).numpy())
        classes.append(names)
    right = []
    for learnt, asked in ((0, 1), (1, 0)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        probe.fit(features[learnt], classes[learnt])
        right.append(np.mean(probe.predict(features[asked]) == classes[asked]))
    return float(np.mean(right))


def test_the_sets_of_windows_do_not_touch() -> None:
    for scene in (WOOD, TOWN, PORT, PLAIN):
        corners = [[c for parts in WINDOWS.values() for c in parts[part].get(scene, ())] for part in (0, 1)]
        for x, y in corners[0]:
            assert all(abs(x - u) >= SIDE_PX or abs(y - v) >= SIDE_PX for u, v in corners[1])


def test_a_uniform_is_known() -> None:
    model = encoder({"head": True, "classifier": True})
    pixels = prepared().one(Image.open(PHOTOGRAPH))[None]
    with torch.inference_mode():
        chances = model.classify(pixels).softmax(-1)[0]
    assert int(chances.argmax()) == 652  # ImageNet: military uniform
    assert float(chances[652]) == pytest.approx(0.408, abs=0.01)


def test_forest_water_urban_and_field_are_told_apart() -> None:
    config: dict[str, object] = {"taps": [PROBED]}
    real = probed(encoder(config))
    guessed = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        guessed.append(probed(encoder(config, published=False)))
    assert real >= 0.85  # chance is 0.25
    assert real >= np.mean(guessed) + 0.05  # what colour and contrast alone tell, through an untrained network
