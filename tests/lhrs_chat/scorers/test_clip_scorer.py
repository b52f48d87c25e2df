from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from lhrs_chat import cli
from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models import dense_clip
from lhrs_chat.models.convert import CONVERTERS, Options
from lhrs_chat.models.scorers import Judged, open_scorer
from tests import tiny

CONTEXT = 40
SIZES = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
ROWS = [
    Judged("a port with ships", images=(tiny.picture(1),)),
    Judged("a field", images=(tiny.picture(2),)),
    Judged("a road beside a river", "What is here?", (tiny.picture(1),)),
]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    made = open_clip.CLIP(**{name: value for name, value in SIZES.items()})
    for tensor in made.parameters():  # far from the start, so that every tensor matters
        nn.init.normal_(tensor, std=0.15)
    return made.eval()


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name != "attn_mask"}


def converted(content: object, folder: Path, activation: str | None = "quick_gelu") -> Path:
    torch.save(content, folder / "model.pt")
    out = folder / "out"
    CONVERTERS.get("clip").convert(Options(checkpoint=folder / "model.pt", out=out, activation=activation))
    return out


def cosines(model: nn.Module, rows: list[Judged]) -> list[float]:
    transform = open_clip.image_transform(32, is_train=False, mean=None, std=None)
    words = open_clip.SimpleTokenizer(context_length=CONTEXT)
    from PIL import Image

    made = []
    for row in rows:
        with torch.inference_mode():
            shown = model.encode_image(transform(Image.fromarray(row.images[0]))[None], normalize=True)
            made.append(float((shown * model.encode_text(words([row.answer]), normalize=True)).sum()))
    return made


def test_a_converted_model_scores_as_the_one_it_was(model: nn.Module, tmp_path: Path) -> None:
    scorer = open_scorer(str(converted(state(model), tmp_path)))
    found = [score.value for score in scorer.score(ROWS)]
    assert found == pytest.approx(cosines(model, ROWS), abs=1e-5)
    assert len(set(found)) == len(ROWS)


def test_the_activation_must_be_told_and_matters(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="activation"):
        converted(state(model), tmp_path, activation=None)
    other = open_scorer(str(converted(state(model), tmp_path, activation="gelu")))
    assert [score.value for score in other.score(ROWS)] != pytest.approx(cosines(model, ROWS), abs=1e-4)


def test_a_stretched_far_slip_is_folded(model: nn.Module, tmp_path: Path) -> None:
    first = (torch.arange(CONTEXT) < 20).float()[:, None]
    other = torch.randn(CONTEXT, 64)
    both = {**state(model), "positional_embedding_res": other, "mask1": first, "mask2": 1 - first}
    training_state = {
        "epoch": 10,
        "name": "FarSLIP2_ViT-B-16",
        "state_dict": {f"module.{name}": tensor for name, tensor in both.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 4e-9}]},
    }
    scorer = open_scorer(str(converted(training_state, tmp_path)))
    folded = open_clip.CLIP(**SIZES)
    folded.load_state_dict(
        {**state(model), "positional_embedding": model.positional_embedding * first + other * (1 - first)}
    )
    assert [score.value for score in scorer.score(ROWS)] == pytest.approx(cosines(folded.eval(), ROWS), abs=1e-5)


@pytest.mark.parametrize("lost", ["mask1", "mask2"])
def test_half_a_stretched_tower_is_refused(model: nn.Module, tmp_path: Path, lost: str) -> None:
    masks = {"mask1": torch.ones(CONTEXT, 1), "mask2": torch.zeros(CONTEXT, 1)}
    del masks[lost]
    content = {**state(model), "positional_embedding_res": torch.zeros(CONTEXT, 64), **masks}
    with pytest.raises(WeightsError, match="two masks"):
        converted(content, tmp_path)
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_are_refused(model: nn.Module, tmp_path: Path) -> None:
    lean = {name: tensor for name, tensor in state(model).items() if name != "visual.ln_post.bias"}
    with pytest.raises(WeightsError, match="cannot open"):
        open_scorer(str(converted(lean, tmp_path)))


@pytest.mark.parametrize("content", [{"a": torch.zeros(2)}, [1, 2], {"state_dict": {"a": "b"}}])
def test_files_of_other_things_are_refused(content: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no (weights of a )?CLIP"):
        converted(content, tmp_path)


def test_files_that_run_code_are_not_opened(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="tensors alone"):
        converted({"state_dict": Path("x")}, tmp_path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Judged(" ", images=(tiny.picture(1),)), "empty"),
        (Judged("a field"), "one picture"),
        (Judged("a field", images=(tiny.picture(1), tiny.picture(2))), "one picture"),
        (Judged("word " * 60, images=(tiny.picture(1),)), "62 tokens"),
    ],
)
def test_rows_that_cannot_be_scored_say_why(model: nn.Module, tmp_path: Path, row: Judged, reason: str) -> None:
    made = open_scorer(str(converted(state(model), tmp_path))).score([ROWS[0], row])
    assert made[0].value is not None and made[1].value is None and reason in made[1].reason


def test_the_command_converts(model: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(state(model), tmp_path / "model.pt")
    words = ["convert", str(tmp_path / "model.pt"), str(tmp_path / "out"), "--from", "clip"]
    assert cli.main(words) == 2
    assert cli.main([*words, "--activation", "quick_gelu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["open_clip_model.safetensors"]


def test_dense_features_are_places_of_the_picture(model: nn.Module) -> None:
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        pooled, dense = dense_clip.features(model.visual, pixels)
        torch.testing.assert_close(pooled, model.encode_image(pixels))
        alone = dense_clip.features(model.visual, pixels[1:])[1]
    assert dense.shape == (2, 16, 24)
    torch.testing.assert_close(dense[1:], alone, atol=1e-5, rtol=1e-4)


def test_dense_features_follow_the_last_block_rule(model: nn.Module) -> None:
    """By hand: one head, three attentions of each part with itself, added up and applied to the values."""
    block, states = model.visual.transformer.resblocks[-1], torch.randn(1, 5, 64)
    with torch.inference_mode():
        parts = (block.ln_1(states) @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).chunk(3, -1)
        mix = sum(torch.softmax(part @ part.mT / np.sqrt(64), -1) for part in parts)
        expected = (mix @ parts[2]) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
        torch.testing.assert_close(dense_clip.self_alike(block, states), expected, atol=1e-4, rtol=1e-4)


def test_dense_features_of_another_tower_are_refused() -> None:
    with pytest.raises(ConfigError, match="class token"):
        dense_clip.features(nn.Linear(2, 2), torch.zeros(1, 2))
