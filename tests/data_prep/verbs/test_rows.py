"""From published files to rows another program reads: sources, convert, build, filter, export."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data_prep import __main__ as command
from data_prep.builders import BUILDERS, Builder
from data_prep.exports import EXPORTS, Export
from data_prep.filters import FILTERS, Filter
from data_prep.sources import SOURCES, Source
from data_prep.verbs import VERBS, Verb
from lhrs_chat import samples

ROOT = Path(__file__).parents[3]
FOLDERS = ((BUILDERS, Builder), (EXPORTS, Export), (FILTERS, Filter), (SOURCES, Source), (VERBS, Verb))


def ran(*words: object) -> int:
    return command.main([str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def published(tmp_path) -> Path:
    """A set in COCO's format: 12 pictures, one of which is not there and one without its width."""
    folder = tmp_path / "published"
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(12):
        name = f"{number:02d}.png"
        if number != 3:
            noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            PIL.Image.fromarray(noise).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "width": 64, "height": 48})
        box = [4, 4, 10 + number, 8]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "iscrowd": 0})
    del images[5]["width"]
    table = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "ship"}]}
    (folder / "annotations.json").write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(("folder", "contract"), FOLDERS, ids=lambda value: getattr(value, "symbol", ""))
def test_every_file_of_a_folder_keeps_its_contract(folder, contract):
    assert folder.names()
    for name in folder.names():
        assert isinstance(folder.get(name), contract), name


def test_sources_tell_licence_and_needs(capsys):
    assert ran("sources") == 0
    told = capsys.readouterr().out
    blocks = told.split("\n  licence: ")
    assert len(blocks) == len(SOURCES.names()) + 1
    for block in blocks[1:]:
        licence, needs, *_ = block.splitlines()
        assert licence and needs.removeprefix("  needs: ")


def test_from_published_files_to_an_export(published, tmp_path):
    facts, rows, kept, out = (tmp_path / name for name in ("facts", "rows", "kept", "out"))
    assert ran("convert", "coco", published, "--out", facts) == 0
    rejected = [json.loads(line) for line in (facts / "rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == 2 and all(row["where"] and row["reason"] for row in rejected)
    manifest = samples.read_manifest(facts)
    assert manifest["rows_out"] == 10 and manifest["rejected"] == 2
    assert manifest["input"]["files"] == 12 and manifest["plan"]["source"] == "coco"

    assert ran("build", "detection,nano", facts, "--out", rows, "--workers", 1, "--seed", 3) == 0
    made = list(samples.read(rows))
    assert len(made) > 20 and len({row.id for row in made}) == len(made)
    assert all(row.messages and Path(row.images[0].path).is_file() for row in made)

    assert ran("filter", rows, "--out", kept, "--rules", "length,tiny", "--workers", 1, "least_side_px=49") == 0
    assert not list(samples.read(kept))
    assert samples.read_manifest(kept)["dropped"]["tiny"] > 20
    assert "least_side_px" in json.dumps(samples.read_manifest(kept)["plan"])

    assert ran("export", "sharegpt", rows, "--out", out) == 0
    manifest = samples.read_manifest(out)
    assert manifest["finished"] and manifest["rows_in"] == manifest["rows_out"] == len(made)
    assert sum(manifest["licences"].values()) == len(made) and manifest["files"]
    assert manifest["input"]["files"] == samples.read_manifest(rows)["files"]


def test_a_verb_run_twice_keeps_what_is_there(published, tmp_path):
    seen = []
    for _ in range(2):
        assert ran("convert", "coco", published, "--out", tmp_path / "facts") == 0
        assert ran("build", "nano", tmp_path / "facts", "--out", tmp_path / "rows", "--workers", 1) == 0
        assert ran("export", "llava", tmp_path / "rows", "--out", tmp_path / "out") == 0
        seen.append(contents(tmp_path))
    assert seen[0] == seen[1]


def test_questions_of_a_row_do_not_depend_on_the_others(published, tmp_path):
    ran("convert", "coco", published, "--out", tmp_path / "all")
    ran("convert", "coco", published, "--out", tmp_path / "few", "--count", 4)
    for name in ("all", "few"):
        ran("build", "nano", tmp_path / name, "--out", tmp_path / f"{name}-rows", "--workers", 1)
    few = {row.id: row.messages for row in samples.read(tmp_path / "few-rows")}
    rows = {row.id: row.messages for row in samples.read(tmp_path / "all-rows")}
    assert few and {key: rows[key] for key in few} == few and len(rows) > len(few)


def test_a_source_that_draws_gives_the_same_pictures_again(tmp_path):
    for name in ("a", "b"):
        assert ran("convert", "synthetic", "--out", tmp_path / name, "--count", 3, "--size-px", 32) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    (row, *_) = samples.read(tmp_path / "a")
    assert Path(row.images[0].path).is_relative_to(tmp_path / "a" / "images")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["built"], "did you mean build?"),
        (["convert", "dotta", ".", "--out", "{out}"], "did you mean dota?"),
        (["convert", "coco", "{out}", "--out", "{out}"], "get it: "),
        (["build", "nano,nano", "{rows}", "--out", "{out}"], "each once"),
        (["build", "nanoo", "{rows}", "--out", "{out}"], "did you mean nano?"),
        (["build", "nano", "{rows}/none", "--out", "{out}"], "no such file of rows"),
        (["filter", "{rows}", "--out", "{out}", "--rules", "blurr"], "did you mean blur?"),
        (["filter", "{rows}", "--out", "{out}", "least_side=3"], "did you mean least_side_px?"),
        (["filter", "{rows}", "--out", "{out}", "least_side_px=wide"], "a whole number"),
        (["filter", "{rows}", "--out", "{out}", "wide"], "name=value"),
        (["export", "lava", "{rows}", "--out", "{out}"], "did you mean llava?"),
        (["export", "llava", "{rows}", "--out", "{rows}"], "rows of another command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_errors_that_help(tmp_path, capsys, words, told):
    (tmp_path / "rows.jsonl").write_text("")
    filled = [word.format(rows=tmp_path, out=tmp_path / "out") for word in words]
    assert ran(*filled) == 2
    assert told in capsys.readouterr().err


def test_help_lists_the_verbs(capsys):
    with pytest.raises(SystemExit) as end:
        ran("--help")
    told = capsys.readouterr().out
    assert end.value.code == 0 and all(f"  {name} " in told for name in VERBS.names())


def test_help_loads_nothing_heavy():
    code = (
        "import contextlib, sys\nfrom data_prep import __main__ as command\n"
        "with contextlib.suppress(SystemExit):\n    command.main(['--help'])\n"
        "sys.exit(repr({'torch', 'transformers', 'ray', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "set()"


def test_score_is_the_verb_of_the_command_line():
    from lhrs_chat.commands.score import COMMAND

    verb = VERBS.get("score")
    assert (verb.help, verb.add_arguments, verb.run) == (COMMAND.help, COMMAND.arguments, COMMAND.run)
