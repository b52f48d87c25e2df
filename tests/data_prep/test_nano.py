"""Facts, questions and probe of lhrs-nano: stored, disjoint, repeatable, readable by the probe's benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_prep import __main__ as command
from data_prep.verbs import nano, probe
from eval.benchmarks import nano_probe
from lhrs_chat import samples


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nano")
    nano.build(folder, folder / "no shared sets", synthetic=12, with_registry=False)
    return folder


def test_rows_point_at_stored_pictures_and_scenes_stay_in_their_split(data):
    facts = list(samples.read(data / "facts.jsonl"))
    rows = list(samples.read(data / "rows.jsonl"))
    assert len(facts) == 12
    assert len(rows) > 60
    splits = {fact.scene_id: fact.split for fact in facts}
    for row in rows:
        assert row.split == splits[row.scene_id]
        assert Path(row.images[0].path).read_bytes()[:4] == b"\x89PNG"
    maps = [fact for fact in facts if fact.meta.get("cover_map")]
    assert len(maps) == 12
    assert all((data / fact.meta["cover_map"]).exists() for fact in maps)


def test_the_same_seed_makes_the_same_files(data, tmp_path):
    nano.build(tmp_path, tmp_path / "no shared sets", synthetic=12, with_registry=False)
    manifest = json.loads((data / "manifest.json").read_text())
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert sum(manifest["questions"].values()) == len((data / "rows.jsonl").read_text().splitlines())


def test_probe_holds_only_held_out_scenes_and_its_benchmark_reads_it(data, tmp_path):
    count = probe.build(data, tmp_path)
    learned = {row.scene_id for row in samples.read(data / "rows.jsonl") if row.split == "train"}
    questions = nano_probe.load(tmp_path)
    assert len(questions) == count > 0
    assert not learned & {question.scene_id for question in questions}


def test_probe_asks_at_most_so_many_questions_of_a_set_and_task(data, tmp_path):
    assert command.main(["probe", "--data", str(data), "--out", str(tmp_path), "--cell", "1"]) == 0
    questions = nano_probe.load(tmp_path)
    cells = [(question.subset, question.task) for question in questions]
    assert len(set(cells)) == len(cells) > 1


def test_missing_data_is_one_clear_error(tmp_path, capsys):
    assert command.main(["probe", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no rows in this folder" in capsys.readouterr().err
