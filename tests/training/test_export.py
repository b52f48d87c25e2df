"""What a run trained goes to its preset in half precision, with the recipes and losses of every stage."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lhrs_chat import presets
from training import export
from training.recipe import FOLDER

STAGES = ("align", "instruct", "place", "settle")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    shelf = tmp_path / "presets"
    shelf.mkdir()
    shutil.copy(presets.FOLDER / "lhrs-nano.yaml", shelf)
    monkeypatch.setattr(presets, "FOLDER", shelf)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/nano/data").mkdir(parents=True)
    (tmp_path / "runs/nano/data/manifest.json").write_text('{"seed": 1}')
    for stage in STAGES:
        run = tmp_path / "runs/nano" / stage
        run.mkdir()
        shutil.copy(FOLDER / f"nano_{stage}.yaml", run / "recipe.yaml")
        (run / "loss.jsonl").write_text(json.dumps({"stage": stage}) + "\n")
        (run / "finished.json").write_text("{}")
    for name in export.WEIGHTS:
        save_file({"w": torch.full((2, 2), 0.1)}, tmp_path / "runs/nano/settle" / name)
    (tmp_path / "runs/nano/settle/adapter_config.json").write_text('{"base_model_name_or_path": "/somewhere", "r": 16}')
    return tmp_path / "runs/nano"


def test_trained_parts_and_every_stage_are_shipped(runs):
    folder = export.export(runs / "settle")
    assert load_file(folder / "bridge.safetensors")["w"].dtype == torch.float16
    assert {path.name for path in folder.iterdir()} == {
        *export.WEIGHTS,
        "adapter_config.json",
        "data.json",
        *(
            f"{stage}-{name}"
            for stage in ("align", "instruct", "place", "settle")
            for name in ("recipe.yaml", "loss.jsonl")
        ),
    }
    assert json.loads((folder / "adapter_config.json").read_text()) == {"base_model_name_or_path": None, "r": 16}
    assert '"stage": "align"' in (folder / "align-loss.jsonl").read_text()


def test_unfinished_and_overlarge_runs_are_refused(runs, capsys, monkeypatch):
    assert export.main([str(runs / "align")]) == 2
    assert "not finished" in capsys.readouterr().err
    monkeypatch.setattr(export, "MOST_BYTES", 10)
    assert export.main([str(runs / "settle")]) == 2
    assert "too large" in capsys.readouterr().err
