"""Data sets of the hub as `--data`, without a network: the function that fetches them is a stand-in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from eval import runs
from eval.__main__ import main
from eval.benchmarks import BENCHMARKS, _hub
from lhrs_chat.errors import DataError

FIXTURES = Path(__file__).parents[2] / "data" / "benchmarks"
Fetch = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetch:
    """Put a folder on the hub; the list holds the calls."""
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path / "cache"))

    def put(source: Path) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def fetch(data_set: str, **options: Any) -> str:
            calls.append({"data_set": data_set, **options})
            shutil.copytree(source, options["local_dir"], dirs_exist_ok=True)
            return str(options["local_dir"])

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
        return calls

    return put


def test_a_data_set_of_the_hub_is_fetched_and_read(hub: Fetch) -> None:
    calls = hub(FIXTURES / "rsicd")
    data = runs.open_data("rsicd", Path("hf:some-one/rsicd.full@refs/pr/3"))
    assert data.sha256 == runs.open_data("rsicd", FIXTURES / "rsicd").sha256
    (call,) = calls
    assert (call["data_set"], call["revision"], call["repo_type"]) == ("some-one/rsicd.full", "refs/pr/3", "dataset")
    assert call["allow_patterns"] is None
    assert call["local_dir"] == data.folder and data.folder.name == "some-one--rsicd.full@refs--pr--3"


def test_one_folder_of_a_data_set(hub: Fetch, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "lhrs_bench", tmp_path / "all" / "LHRS-Bench")
    calls = hub(tmp_path / "all")
    folder = BENCHMARKS.get("lhrs_bench").find(Path("hf:PumpkinCat/LHRS_Data/LHRS-Bench"))
    assert BENCHMARKS.get("lhrs_bench").load(folder)
    assert [call["allow_patterns"] for call in calls] == ["LHRS-Bench/*"] and calls[0]["revision"] is None


def test_archives_are_unpacked_beside_themselves_once(hub: Fetch, tmp_path: Path) -> None:
    source = tmp_path / "vrsbench"
    shutil.copytree(FIXTURES / "vrsbench", source)
    shutil.make_archive(str(source / "Images_val"), "zip", source, "Images_val")
    shutil.rmtree(source / "Images_val")
    hub(source)
    folder = BENCHMARKS.get("vrsbench").find(Path("hf:xiang709/VRSBench"))
    picture = BENCHMARKS.get("vrsbench").load(folder)[0].images[0]
    picture.write_bytes(b"mine")
    assert BENCHMARKS.get("vrsbench").find(Path("hf:xiang709/VRSBench")) == folder
    assert picture.read_bytes() == b"mine"
    (source / "Images_val.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"Images_val\.zip"):
        BENCHMARKS.get("vrsbench").find(Path("hf:xiang709/VRSBench@new"))


def test_other_data_are_refused_as_in_any_folder(hub: Fetch) -> None:
    hub(FIXTURES / "rsicd")
    with pytest.raises(DataError, match=r"no qa\.json"):
        BENCHMARKS.get("lhrs_bench").find(Path("hf:some/thing"))


@pytest.mark.parametrize("given", ["hf:rsicd", "hf:", "hf:a/../b", "hf:a/b@", "hf:a/b/../../c"])
def test_an_id_that_is_none(given: str) -> None:
    with pytest.raises(DataError, match="OWNER/NAME"):
        _hub.local(Path(given))


def test_without_a_network_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))

    def fetch(data_set: str, **options: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no way to the hub\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert main(["list", "rsicd", "--data", "hf:some/rsicd"]) == 2
    said = capsys.readouterr().err
    assert "some/rsicd" in said and "found: no way to the hub\n" in said and "as --data" in said
