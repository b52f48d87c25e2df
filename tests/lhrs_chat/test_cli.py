"""The command: its contract for scripts, its files, its errors, its prompt, and the applications it hands over to."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import rasterio

from lhrs_chat import cli, doctor, presets
from lhrs_chat.errors import LhrsError, WeightsError

Make = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def say(scripted: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Put a scripted backend in place of every model."""

    def make(speech: Any) -> Any:
        backend = scripted(speech)
        monkeypatch.setattr("lhrs_chat.chat.open_backend", lambda model, **precision: backend)
        return backend

    return make


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a model is opened."""

    def opened(model: str, **precision: str) -> None:
        raise AssertionError(f"{model} was opened")

    monkeypatch.setattr("lhrs_chat.chat.open_backend", opened)


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_json_is_one_object_with_the_keys_of_the_contract(say: Make, coast: Path, capsys: Any) -> None:
    def speech(question: str) -> str:
        print("chatter of a package")
        return "The lake is at [0, 10, 25, 50]."

    say(speech)
    assert run("ask", coast, "Where is the lake?", "--json") == 0
    out, err = capsys.readouterr()
    assert "chatter" in err
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert list(answer) == ["text", "boxes", "masks", "numbers", "confidence", "provenance"]
    assert answer["boxes"] == [{"xyxy": [0, 4, 20, 20], "frame": "pixel", "label": "lake", "score": None}]
    assert {"value", "unit", "evidence"} <= set(answer["numbers"][0])
    assert {number["evidence"] for number in answer["numbers"]} == {"computed"}
    assert answer["masks"][0]["label"] == "water"
    assert answer["confidence"] == 0.75
    keys = {"model", "weights_sha256", "image_sha256", "composite", "sensor", "crs", "size_px", "sent_size_px"}
    assert keys | {"version", "seconds"} <= set(answer["provenance"])
    assert answer["provenance"]["size_px"] == [80, 40]


def test_text_for_people_fits_80_columns(say: Make, coast: Path, capsys: Any) -> None:
    say("The lake is at [0, 10, 25, 50].")
    assert run("ask", coast, "Where is the lake?") == 0
    out = capsys.readouterr().out
    assert out.startswith("The lake is at [0, 10, 25, 50].\nMeasured water of any kind by NDWI")
    assert "lake: x 0 to 20, y 4 to 20 pixels" in out
    assert "EPSG:32650: 500000.0, 3449800.0 to 500200.0, 3449960.0" in out
    assert "number       25 % = 8.0 ha water, measured in the pixels" in out
    assert "80 x 40 pixels, sent to the model as 32 x 32" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_options_may_stand_anywhere(say: Make, coast: Path, photo: Path, capsys: Any) -> None:
    backend = say("x")
    assert run("ask", "--seed", 5, coast, photo, "--json", "What?", "--max-new-tokens", 9, "--temperature", 0.3) == 0
    (request,) = backend.requests
    assert (request.seed, request.max_new_tokens, request.temperature) == (5, 9, 0.3)
    assert len(request.images) == 2
    assert request.messages[0].text == "What?"


def test_files_are_written(say: Make, coast: Path, tmp_path: Path, capsys: Any) -> None:
    say("[0, 10, 25, 50]")
    files = [tmp_path / name for name in ("out.geojson", "out.gpkg", "out.png")]
    words = [word for pair in zip(("--geojson", "--gpkg", "--overlay"), files, strict=True) for word in pair]
    before = set(tmp_path.iterdir())
    assert run("ask", coast, "Where is the lake?", *words) == 0
    assert set(tmp_path.iterdir()) - before == set(files)
    features = json.loads(files[0].read_text())["features"]
    assert {feature["properties"]["label"] for feature in features} == {"lake", "water"}
    assert sqlite3.connect(files[1]).execute("select count(*) from gpkg_contents").fetchone()[0] >= 1
    assert PIL.Image.open(files[2]).size == (80, 40)


def test_a_file_is_replaced_only_by_a_whole_one(
    say: Make, coast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    say("[0, 10, 25, 50]")
    old = tmp_path / "out.geojson"
    old.write_text("old")

    def broken(path: Path, **_: object) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lhrs_chat.geo.vector.write_gpkg", broken)
    monkeypatch.setattr("lhrs_chat.geo.vector.write_geojson", broken)
    before = set(tmp_path.iterdir())
    assert run("ask", coast, "Where?", "--geojson", old, "--gpkg", tmp_path / "out.gpkg") == 2
    assert "No space left" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("option", "name", "what"),
    [
        ("--geojson", "none/out.geojson", "no folder"),
        ("--geojson", "out.shp", ".geojson"),
        ("--gpkg", "folder.gpkg", "is a folder"),
        ("--overlay", "out.tif", ".png"),
        ("--overlay", "coast.png", "overwrite"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_files_that_cannot_be_written_are_told_before_the_model_runs(
    coast: Path, tmp_path: Path, capsys: Any, option: str, name: str, what: str
) -> None:
    (tmp_path / "folder.gpkg").mkdir()
    image = tmp_path / "coast.png"
    PIL.Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(image)
    before = set(tmp_path.iterdir())
    assert run("ask", image, "What?", option, tmp_path / name) == 2
    assert what in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("no_model")
def test_a_folder_that_may_not_be_written_is_told(
    coast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refused)
    assert run("ask", coast, "What?", "--geojson", tmp_path / "out.geojson") == 2
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_two_options_may_not_name_one_file(coast: Path, tmp_path: Path, capsys: Any) -> None:
    both = tmp_path / "out.json"
    assert run("chat", coast, "--questions", "What?", "--geojson", both, "--overlay", both) == 2
    assert ".png" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--geojson", "--gpkg"])
@pytest.mark.usefixtures("no_model")
def test_a_map_file_needs_a_georeference(photo: Path, tmp_path: Path, capsys: Any, option: str) -> None:
    target = tmp_path / f"out.{option[2:]}"
    assert run("ask", photo, "Where is it?", option, target) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{option} need" in err
    assert "no CRS" in err
    assert not target.exists()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["ask", "none.tif", "What?"], "none.tif"),
        (["ask", "COAST", "  "], "question is empty"),
        (["ask", "COAST", "What?", "--max-new-tokens", "0"], "room for a token"),
        (["ask", "SITE", "What?", "--geojson", "out.geojson"], "no way from"),
        (["chat", "COAST", "SITE", "--questions", "What?", "--geojson", "out.geojson"], "no way from"),
        (["ask", "COAST", "NOTES", "What?"], "notes.txt"),
        (["chat", "COAST"], "no question"),
        (["chat", "COAST", "--questions", " "], "question is empty"),
        (["chat", "PHOTO", "--questions", "What?", "--geojson", "out.geojson"], "georeference"),
        (["aks", "x"], "did you mean ask"),
    ],
)
@pytest.mark.usefixtures("no_model")
def test_errors_of_the_user(
    coast: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    words: list[str],
    what: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "notes.txt"
    notes.write_text("no image")
    site = tmp_path / "site.tif"
    with rasterio.open(coast) as source, rasterio.open(site, "w", **source.profile) as target:
        target.write(source.read())
        target.crs = rasterio.crs.CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    places = {"COAST": str(coast), "PHOTO": str(photo), "NOTES": str(notes), "SITE": str(site)}
    before = set(tmp_path.iterdir())
    assert run(*(places.get(word, word) for word in words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert what in err
    assert "Traceback" not in err
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("no_model")
def test_an_image_without_a_valid_pixel_is_told_before_the_model_is_opened(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "empty.tif"
    with rasterio.open(path, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint16", nodata=0) as file:
        file.write(np.zeros((1, 8, 8), np.uint16))
    assert run("ask", path, "What?") == 2
    assert "no valid pixel" in capsys.readouterr().err


def test_an_error_of_the_weights_has_no_traceback(coast: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def damaged(model: str, **precision: str) -> None:
        raise WeightsError("the weights are damaged", found="abc", next_step="delete them")

    monkeypatch.setattr("lhrs_chat.chat.open_backend", damaged)
    assert run("ask", coast, "What?", "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\nerror: the weights are damaged\n  found: abc\n  next: delete them\n")
    assert "Traceback" not in err


def test_a_full_disk_has_no_traceback(say: Make, coast: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def full(text: str) -> None:
        raise OSError(28, "No space left on device")

    say("x")
    monkeypatch.setattr(sys.stdout, "write", full)
    assert run("ask", coast, "What?", "--json") == 2
    err = capsys.readouterr().err
    assert "No space left" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["ask"], ["ask", "x.tif"], ["ask", "x.tif", "What?", "--temperature", "hot"]])
def test_wrong_arguments_exit_with_2(words: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        run(*words)
    assert end.value.code == 2


def test_ctrl_c_exits_with_130(say: Make, coast: Path, tmp_path: Path, capsys: Any) -> None:
    def speech(question: str) -> str:
        raise KeyboardInterrupt

    say(speech)
    target = tmp_path / "out.geojson"
    assert run("ask", coast, "What?", "--geojson", target) == 130
    assert capsys.readouterr().out == ""
    assert not target.exists()


def test_chat_answers_the_given_questions(say: Make, coast: Path, tmp_path: Path, capsys: Any) -> None:
    say(lambda question: "[50, 0, 60, 100]" if "road" in question else "A coast.")
    overlay, geojson = tmp_path / "out.png", tmp_path / "out.geojson"
    words = ["--questions", "What is this?", "Where is the road?", "Where is the water?"]
    assert run("chat", coast, *words, "--overlay", overlay, "--geojson", geojson) == 0
    out = capsys.readouterr().out
    assert out.index("> What is this?") < out.index("A coast.") < out.index("> Where is the road?")
    assert out.count("bands red, green, blue of 4") == 1
    assert max(len(line) for line in out.splitlines() if "wrote" not in line and ".tif" not in line) <= 80
    labels = [feature["properties"]["label"] for feature in json.loads(geojson.read_text())["features"]]
    assert sorted(labels) == ["road", "water"]
    assert PIL.Image.open(overlay).size == (80, 40)


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make stdin a terminal at which these lines are typed; an exception is raised instead of a line."""

    def prepare(*lines: str | type[BaseException]) -> None:
        typed: Iterator[str | type[BaseException]] = iter(lines)

        def line(prompt: str = "") -> str:
            word = next(typed, EOFError)
            if isinstance(word, str):
                return word
            raise word

        monkeypatch.setattr("builtins.input", line)
        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    return prepare


def test_chat_at_a_prompt(say: Make, type_in: Make, coast: Path, photo: Path, tmp_path: Path, capsys: Any) -> None:
    backend = say(lambda question: f"heard {question} [0, 0, 50, 50]")
    target, drawn = tmp_path / "all.geojson", tmp_path / "all.png"
    type_in(
        *("Where is the road?", "", KeyboardInterrupt, "/image none.tif", f"/image {photo}", "Where is the car?"),
        *("/what", f"/save {target}", f"/save {drawn}", "/quit", "never asked"),
    )
    assert run("chat", coast) == 0
    out = capsys.readouterr().out
    assert [request.messages[-1].text for request in backend.requests] == ["Where is the road?", "Where is the car?"]
    assert "none.tif" in out
    assert "60 x 30 pixels" in out
    assert "no such command" in out
    assert [f["properties"]["label"] for f in json.loads(target.read_text())["features"]] == ["road"]
    assert PIL.Image.open(drawn).size == (60, 30)


def test_the_end_of_the_input_ends_the_prompt(say: Make, type_in: Make, coast: Path, capsys: Any) -> None:
    say("x")
    type_in("What?")
    assert run("chat", coast) == 0


def test_ctrl_c_stops_an_answer_and_not_the_prompt(say: Make, type_in: Make, coast: Path, capsys: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    backend = say("one two three")
    real = backend.generate

    def interrupted(requests: Any, stop: Any = None) -> Iterator[Any]:
        for number, event in enumerate(real(requests, stop)):
            yield event
            if number == 0 and len(backend.requests) == 1:
                os.kill(os.getpid(), signal.SIGINT)

    backend.generate = interrupted
    type_in("First?", "Second?")
    assert run("chat", coast) == 0
    assert backend.requests[1].messages[1].text == "one "
    assert "one two three" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is before


def listed(name: str, capsys: Any) -> dict[str, Any]:
    return {model["name"]: model for model in json.loads(capsys.readouterr().out)}[name]


def test_models_lists_the_presets(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))
    assert run("models", "--json") == 0
    nano = listed("lhrs-nano", capsys)
    assert nano["present"] is False
    assert nano["folder"] is None
    assert {part["licence"] for part in nano["weights"]} == {"Apache-2.0"}
    assert all(len(part["sha256"]) == 64 and "Python package" in part["source"] for part in nano["weights"])
    for part in presets.load_preset("lhrs-nano").parts.values():
        presets.part_path(part).parent.mkdir(parents=True, exist_ok=True)
        presets.part_path(part).touch()
    assert run("models", "--json") == 0
    assert listed("lhrs-nano", capsys)["present"] is False, "a file whose hash was never noted is not trusted"
    for part in presets.load_preset("lhrs-nano").parts.values():
        file = presets.part_path(part)
        file.with_name(f"{file.name}.sha256").write_text(hashlib.sha256(b"").hexdigest())
    assert run("models", "--json") == 0
    nano = listed("lhrs-nano", capsys)
    assert (nano["present"], nano["folder"]) == (True, None)
    folder = presets.model_path(presets.load_preset("lhrs-nano"))
    folder.mkdir(parents=True)
    (folder / presets.RECORD).touch()
    assert run("models", "--json") == 0
    assert listed("lhrs-nano", capsys)["folder"] == str(folder)
    assert run("models") == 0
    out = capsys.readouterr().out
    assert "lhrs-nano  (ready)" in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path)[:20] not in line) <= 80


def test_models_lists_the_score_models(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))
    assert run("models", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in found if model["for"] == "score"] == presets.scorer_names() == ["score-nano"]
    assert {model["for"] for model in found if model["name"] in presets.preset_names()} == {"chat"}
    assert len({frozenset(model) for model in found}) == 1, "all are told in the same words"
    (scorer,) = (model for model in found if model["for"] == "score")
    assert (scorer["present"], scorer["folder"], scorer["convert"]) == (False, None, "")
    shipped = presets.FOLDER / "score-nano"
    assert {part["sha256"] for part in scorer["weights"]} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in shipped.glob("*.safetensors")
    }
    licence = presets.load_scorer("score-nano").licence
    told = {(part["source"], part["licence"], part["present"]) for part in scorer["weights"]}
    assert told == {("this package", licence, True)}
    base, _ = presets.scorer_base("score-nano")
    for model in (presets.model_path(base), presets.scorer_path("score-nano")):
        model.mkdir(parents=True)
        (model / presets.RECORD).touch()
        assert run("models", "--json") == 0
        scorer = listed("score-nano", capsys)
        ready = model == presets.scorer_path("score-nano")
        assert (scorer["present"], scorer["folder"]) == (True, str(model) if ready else None)
    assert run("models") == 0
    out = capsys.readouterr().out
    megabytes = (shipped / "adapter_model.safetensors").stat().st_size / 1e6
    assert "score-nano  (ready)" in out
    assert f"  - adapter_model.safetensors, {megabytes:.2g} MB; from this package, {licence}"[:60] in out


def test_doctor_tells_what_is_there_and_what_is_missing(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path / "cache"))
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "gradio" else real(name))
    assert run("doctor", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["device"].startswith(("cpu", "cuda"))
    assert report["cores"] >= 1
    assert report["cache"] == str(tmp_path / "cache")
    versions = {package["name"]: package["version"] for package in report["packages"]}
    assert versions["torch"]
    assert versions["gradio"] is None
    missing = {package["name"]: package for package in report["missing"]}
    assert missing["gradio"]["extra"] == "demo"
    assert "browser demo" in missing["gradio"]["why"]
    assert [part["present"] for part in report["weights"]] == [False, False]
    assert run("doctor") == 0
    out = capsys.readouterr().out
    assert "pip install 'lhrs_chat[demo]'" in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path)[:20] not in line) <= 80


def test_every_extra_has_a_purpose() -> None:
    assert {package.extra for package in doctor.packages()} <= set(doctor.PURPOSE)


def test_help_names_every_verb() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "lhrs_chat", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for verb in ("ask", "chat", "models", "doctor", *cli.APPLICATIONS):
        assert f"\n  {verb} " in result.stdout


def test_no_verb_shows_the_help(capsys: Any) -> None:
    assert run() == 0
    assert "verbs:" in capsys.readouterr().out


def test_an_application_is_found_beside_or_inside_the_package(tmp_path: Path) -> None:
    package = tmp_path / "lhrs_chat"
    package.mkdir()
    with pytest.raises(LhrsError, match="not installed"):
        cli.resolve_application("train", package)
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__main__.py").touch()
    with pytest.raises(LhrsError, match="not installed"):  # some other package's folder in site-packages
        cli.resolve_application("train", package)
    (tmp_path / "setup.cfg").touch()
    assert cli.resolve_application("train", package) == ("training", tmp_path)
    (package / "training").mkdir()
    (package / "training" / "__main__.py").touch()
    assert cli.resolve_application("train", package) == ("lhrs_chat.training", None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("print(sys.argv[1:])", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('no')", 1),
        ("from lhrs_chat.errors import LhrsError; raise LhrsError('no such benchmark')", 2),
    ],
)
def test_an_application_gets_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, body: str, code: int
) -> None:
    name = f"measuring{code}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__main__.py").write_text(f"import sys\n{body}\n")
    monkeypatch.setattr(cli, "resolve_application", lambda verb, package: (name, tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert run("eval", "run", "x", "--model", "lhrs-nano") == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert out == ("['run', 'x', '--model', 'lhrs-nano']\n" if code == 0 else "")
