from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lhrs_chat.errors import ConfigError, WeightsError
from lhrs_chat.models import LhrsForConditionalGeneration
from lhrs_chat.models.scorer import ScoreModel, is_score_model, load_score_model, new_score_model, put_settings
from lhrs_chat.models.weights import Precision
from tests import tiny
from tests.lhrs_chat.scorers import qwen

ANSWERS = ("a port", "two ships lie at a quay beside tanks", "", "sea <|endoftext|> and sand")


def headed(backbone: Path, **settings: str) -> ScoreModel:
    model = new_score_model(backbone, **settings)
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(1))
    return model.eval()


def scores(model: ScoreModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs).logits[:, 0]


def test_head_starts_at_zero(backbone: Path) -> None:
    assert scores(new_score_model(backbone).eval(), qwen.row("a port")).tolist() == [0.0]


@pytest.mark.parametrize("positions", ["sequential", "mrope"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_scores_as_each_row_alone(backbone: Path, positions: str, side: str) -> None:
    model = headed(backbone, positions=positions)
    rows = [qwen.row(answer, image=number) for number, answer in enumerate(ANSWERS)]
    alone = torch.cat([scores(model, row) for row in rows])
    assert alone.std() > 0.01
    torch.testing.assert_close(scores(model, qwen.batch(rows, side)), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["sequential", "mrope"])
def test_the_second_call_scores_as_the_first(backbone: Path, positions: str) -> None:
    model = headed(backbone, positions=positions)
    first = scores(model, qwen.row("a port"))
    scores(model, qwen.batch([qwen.row(answer) for answer in ANSWERS], "right"))
    assert torch.equal(scores(model, qwen.row("a port")), first)


def test_positions_matter_for_a_picture_and_not_for_text(backbone: Path) -> None:
    one, other = headed(backbone, positions="sequential"), headed(backbone, positions="mrope")
    assert not torch.allclose(scores(one, qwen.row("a port")), scores(other, qwen.row("a port")), atol=1e-4)
    text = qwen.row("a port", image=None)
    torch.testing.assert_close(scores(one, text), scores(other, text))


def test_mrope_positions_are_those_of_transformers(backbone: Path) -> None:
    model, inputs = headed(backbone, positions="mrope"), qwen.row("a port")
    with torch.inference_mode():
        expected = model.score(model.model(**inputs).last_hidden_state[0, -1]).item()
    assert scores(model, inputs).item() == pytest.approx(expected, abs=1e-6)


def test_a_pad_token_in_the_text_does_not_move_what_is_read(backbone: Path) -> None:
    model, inputs = headed(backbone), qwen.row("sea <|endoftext|> and sand")
    with torch.inference_mode():
        expected = model.score(model.model(**inputs).last_hidden_state[0, -1]).item()
    assert scores(model, inputs).item() == pytest.approx(expected, abs=1e-6)


def test_softplus_keeps_the_order(backbone: Path) -> None:
    rows = qwen.batch([qwen.row(answer) for answer in ANSWERS], "right")
    raw, soft = scores(headed(backbone), rows), scores(headed(backbone, activation="softplus"), rows)
    torch.testing.assert_close(soft, torch.nn.functional.softplus(raw))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_comes_back_as_it_was(backbone: Path, tmp_path: Path, dtype: str) -> None:
    model = headed(backbone, positions="sequential", layout="user")
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["architectures"] == ["Qwen2VLForSequenceClassification"] and saved["score_layout"] == "user"
    assert load_file(tmp_path / "model.safetensors")["score.weight"].shape == (1, 32)
    again = load_score_model(tmp_path, Precision(dtype))
    assert is_score_model(tmp_path) and again.score.weight.dtype == torch.float32
    rows = qwen.batch([qwen.row(answer) for answer in ANSWERS], "right")
    near = 0.0 if dtype == "float32" else 0.6
    seen = {**rows, "pixel_values": rows["pixel_values"].to(again.dtype)}
    torch.testing.assert_close(scores(again, seen), scores(model, rows), atol=near, rtol=0)


@pytest.mark.parametrize("fault", ["head", "layer", "more", "shape"])
def test_weights_that_do_not_fit_are_refused(backbone: Path, tmp_path: Path, fault: str) -> None:
    headed(backbone).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    if fault == "head":
        del state["score.weight"]
    elif fault == "layer":
        del state["model.language_model.norm.weight"]
    elif fault == "more":
        state["score.bias"] = torch.zeros(1)
    else:
        state["score.weight"] = torch.zeros(2, 32)
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="do not fit"):
        load_score_model(tmp_path)


def test_a_backbone_is_no_score_model(backbone: Path) -> None:
    assert not is_score_model(backbone)
    with pytest.raises(WeightsError, match="do not fit"):
        load_score_model(backbone)


def test_a_folder_that_does_not_say_how_it_is_read_is_refused(backbone: Path, tmp_path: Path) -> None:
    headed(backbone).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["position_mode"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="how it is read"):
        load_score_model(tmp_path)


def score_rs(model: ScoreModel, folder: Path) -> Path:
    """Write a score model as ScoreRS was published: other names, bfloat16, two entries more in its configuration."""
    model.save_pretrained(folder)
    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        name = name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
        state[name.replace("score.", "reward_head.")] = tensor.bfloat16()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    for name in ("score_activation", "position_mode", "score_layout"):
        del config[name]
    config |= {"architectures": ["Qwen2Reward"], "ranked_candidate_num": 2, "pad_token_id": 0, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_score_rs_is_read_as_it_was_published(backbone: Path, tmp_path: Path) -> None:
    model = headed(backbone, positions="sequential")
    folder = score_rs(model, tmp_path / "published")
    opened = load_score_model(folder, Precision("float32"))
    assert is_score_model(folder) and opened.config.position_mode == "sequential"
    rows = qwen.batch([qwen.row(answer) for answer in ANSWERS], "right")
    rounded = {name: tensor.bfloat16().float() for name, tensor in model.state_dict().items()}
    model.load_state_dict(rounded)
    torch.testing.assert_close(scores(opened, rows), scores(model, rows))
    opened.save_pretrained(tmp_path / "ours")
    assert torch.equal(scores(load_score_model(tmp_path / "ours"), rows), scores(opened, rows))


@pytest.mark.parametrize("lost", ["reward_head.weight", "visual.blocks.0.norm1.weight", "model.norm.weight"])
def test_score_rs_without_a_tensor_is_refused(backbone: Path, tmp_path: Path, lost: str) -> None:
    folder = score_rs(headed(backbone), tmp_path)
    state = load_file(folder / "model.safetensors")
    del state[lost]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="do not fit"):
        load_score_model(folder)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="positions"):
        put_settings(qwen.config(), positions="both")


def test_a_model_of_ours_scores_too(tmp_path: Path) -> None:
    model, processor = tiny.model_and_processor()
    whole, out = tmp_path / "whole", tmp_path / "scores"
    model.save_pretrained(whole)
    made = headed(whole)
    made.save_pretrained(out)
    shutil.rmtree(whole)
    again = load_score_model(out)
    inputs = processor(text=["<image>port", "a longer row <image> of words"], images=[tiny.picture(1), tiny.picture(2)])
    assert isinstance(again.model, LhrsForConditionalGeneration)
    together = scores(again, inputs)
    for number, text in enumerate(["<image>port", "a longer row <image> of words"]):
        alone = processor(text=[text], images=[tiny.picture(number + 1)])
        torch.testing.assert_close(scores(again, alone)[0], together[number], atol=1e-5, rtol=0)
    assert together[0] != together[1]
