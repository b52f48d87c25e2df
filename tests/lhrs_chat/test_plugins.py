from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lhrs_chat.errors import ConfigError
from lhrs_chat.plugins import Folder, nearest

PACKAGE = "plugin_folder_of_a_test"
FILES = {
    "__init__": "",
    "rsvqa": "PLUGIN = 'visual question answering'\n",
    "captions": "PLUGIN = 'captions'\n",
    "empty": "OTHER = 'x'\n",
    "wrong": "PLUGIN = 3\n",
    "needy": "import a_package_that_nobody_has\nPLUGIN = 'x'\n",
    "_shared": "raise RuntimeError('private files are no plug-ins')\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder[str]]:
    (tmp_path / PACKAGE).mkdir()
    for name, text in FILES.items():
        (tmp_path / PACKAGE / f"{name}.py").write_text(text)
    (tmp_path / PACKAGE / "notes.txt").write_text("no plug-in")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield Folder(PACKAGE, "PLUGIN", str)
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_listing_imports_none_of_the_files(folder: Folder[str]) -> None:
    assert folder.names() == ["captions", "empty", "needy", "rsvqa", "wrong"]
    assert not any(name.startswith(f"{PACKAGE}.") for name in sys.modules)


def test_the_file_name_is_the_public_name_and_only_it_is_imported(folder: Folder[str]) -> None:
    assert folder.get("rsvqa") == "visual question answering"
    assert [name for name in sys.modules if name.startswith(f"{PACKAGE}.")] == [f"{PACKAGE}.rsvqa"]


def test_adding_a_thing_is_adding_a_file(folder: Folder[str], tmp_path: Path) -> None:
    (tmp_path / PACKAGE / "added.py").write_text("PLUGIN = 'new'\n")
    importlib.invalidate_caches()
    assert "added" in folder.names()
    assert folder.get("added") == "new"


def test_a_wrong_name_gets_the_nearest_one(folder: Folder[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        folder.get("rsvq")
    assert "did you mean rsvqa?" in str(caught.value)
    assert "captions, empty, needy, rsvqa, wrong" in str(caught.value)


@pytest.mark.parametrize("name", ["_shared", "__init__", "", "os.path", "../rsvqa", "notes"])
def test_what_is_no_plugin_is_not_imported(folder: Folder[str], name: str) -> None:
    with pytest.raises(ConfigError):
        folder.get(name)


@pytest.mark.parametrize(("name", "found"), [("empty", "NoneType"), ("wrong", "int")])
def test_a_file_that_breaks_the_contract_is_named(folder: Folder[str], name: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        folder.get(name)
    assert f"{PACKAGE}.{name} must define PLUGIN" in str(caught.value)
    assert f"found: {found}" in str(caught.value)
    assert "allowed: str" in str(caught.value)


def test_a_missing_package_breaks_only_its_own_file(folder: Folder[str]) -> None:
    with pytest.raises(ModuleNotFoundError, match="a_package_that_nobody_has"):
        folder.get("needy")
    assert folder.get("captions") == "captions"


def test_a_folder_that_is_not_there(folder: Folder[str]) -> None:
    with pytest.raises(ConfigError, match="no such plug-in folder"):
        Folder("no_such_package_anywhere", "PLUGIN", str).names()
    with pytest.raises(ConfigError, match="no such plug-in folder"):
        Folder(f"{PACKAGE}.rsvqa", "PLUGIN", str).names()


def test_nearest() -> None:
    assert nearest("stepz", ["steps", "lr"]) == "did you mean steps?"
    assert nearest("xyz", ["steps", "lr"]) == ""
    assert nearest("xyz", []) == ""
