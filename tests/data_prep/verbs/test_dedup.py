from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from data_prep import duplicates, embeddings
from data_prep.__main__ import main
from data_prep.duplicates import Alike
from data_prep.fingerprints import Fingerprint, take
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Image, Message, Sample
from tests import tiny
from tests.soft_scenes import save, scene


def row(name: str, *pictures: Path, question: str = "", score: float | None = None) -> Sample:
    messages = (Message.of("user", question, (0,)), Message.of("assistant", "Yes.")) if question else ()
    images = tuple(Image(path=str(path)) for path in pictures)
    return Sample(name, images, "vqa" if question else "facts", "s", "CC0-1.0", name, messages, score=score)


def run(folder: Path, rows: list[Sample], *words: str) -> tuple[list[str], dict[str, str]]:
    """Kept ids, and the reasons of dropped ones."""
    folder.mkdir(exist_ok=True)
    samples.write(folder / "rows.jsonl", rows)
    out = folder / "out"
    assert main(["dedup", str(folder / "rows.jsonl"), "--out", str(out), "--workers", "1", *words]) == 0
    dropped = {}
    for place in sorted(out.glob("dropped-*.parquet")):
        found = samples.read_columns(place, ["id", "filter", "reason"])
        assert set(found["filter"]) <= {"dedup", "unreadable"}
        dropped |= dict(zip(found["id"], found["reason"], strict=True))
    return [sample.id for sample in samples.read(out)], dropped


def test_turned_copies_are_one(tmp_path: Path) -> None:
    pixels = scene(0)
    pictures = {
        "a": save(tmp_path / "i" / "a.png", pixels),
        "turned": save(tmp_path / "i" / "b.jpg", np.rot90(pixels), quality=70),
        "mirrored": save(tmp_path / "i" / "c.png", np.asarray(PIL.Image.fromarray(pixels[:, ::-1]).resize((130, 130)))),
        "same": save(tmp_path / "i" / "d.png", pixels),
        "other": save(tmp_path / "i" / "e.png", scene(1)),
    }
    kept, dropped = run(tmp_path, [row(name, path) for name, path in pictures.items()])
    assert kept == ["a", "other"]
    assert dropped["same"] == "near-duplicate of a, the same pixels"
    assert dropped["turned"].startswith("near-duplicate of a, ") and dropped["turned"].endswith(" bits")
    assert "mirrored" in dropped and len(dropped) == 3


def test_the_best_scored_then_the_largest_stays(tmp_path: Path) -> None:
    small = save(tmp_path / "i" / "small.png", scene(3))
    large = save(tmp_path / "i" / "large.png", np.kron(scene(3), np.ones((2, 2, 1), np.uint8)))
    kept, dropped = run(tmp_path, [row("small", small), row("large", large)])
    assert kept == ["large"] and dropped["small"].startswith("near-duplicate of large, 0 bits")
    kept, _ = run(tmp_path / "scored", [row("small", small, score=0.9), row("large", large, score=0.2)])
    assert kept == ["small"]


def test_rows_about_one_picture_stay_and_repeated_ones_go(tmp_path: Path) -> None:
    one, copy = (save(tmp_path / "i" / name, scene(5)) for name in ("one.png", "copy.png"))
    rows = [row("q0", one, question="Ships?"), row("q1", one, question="Cars?"), row("q2", one, question="Ships?")]
    rows = [replace(each, scene_id="s") for each in rows]
    kept, dropped = run(tmp_path, [*rows, row("q3", copy, question="Trees?")])
    assert kept == ["q0", "q1"]
    assert dropped == {"q2": "says the same as q0", "q3": "near-duplicate of q0, the same pixels"}


def test_pairs_are_one_only_where_both_pictures_are(tmp_path: Path) -> None:
    before, after, later = (save(tmp_path / "i" / f"{n}.png", scene(n)) for n in (1, 2, 3))
    twin = save(tmp_path / "i" / "twin.png", np.rot90(scene(1)))
    rows = [row("ab", before, after), row("ac", before, later), row("tb", twin, after), row("ba", after, before)]
    kept, dropped = run(tmp_path, rows)
    assert kept == ["ab", "ac", "ba"] and list(dropped) == ["tb"]


def test_bad_rows_and_pictures_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = save(tmp_path / "i" / "good.png", scene(1))
    flat = [save(tmp_path / "i" / f"flat{n}.png", np.full((40, 40, 3), 80 + n, np.uint8)) for n in (0, 1)]
    cut = tmp_path / "i" / "cut.png"
    cut.write_bytes(good.read_bytes()[:200])
    names = {
        "good": good,
        "cut": cut,
        "cut again": cut,
        "flat": flat[0],
        "grey": flat[1],
        "gone": tmp_path / "gone.png",
    }
    samples.write(tmp_path / "rows.jsonl", [row(name, path) for name, path in names.items()])
    with (tmp_path / "rows.jsonl").open("a") as stream:
        stream.write('{"id": "half"}\n{"id": "cut o\n')
    assert main(["dedup", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert [sample.id for sample in samples.read(tmp_path / "out")] == list(names)
    manifest = samples.read_manifest(tmp_path / "out")
    assert manifest["dropped"] == {"dedup": 0, "unreadable": 2}
    assert manifest["unreadable_pictures"] == 2 and manifest["plan"]["bits"] == 6


def test_fingerprints_are_kept_whole() -> None:
    found = Fingerprint("ab", (3, 2), np.arange(8, dtype=np.uint64), np.eye(16, dtype=np.uint8), np.ones(3, np.float16))
    again = Fingerprint.from_dict(found.to_dict())
    assert (again.sha256, again.size_px) == ("ab", (3, 2))
    for name in ("hashes", "thumb", "vector"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_near_hashes_of_other_pictures_are_no_duplicates(tmp_path: Path) -> None:
    one, other = (take(str(save(tmp_path / "i" / f"{n}.png", scene(n))), None) for n in (1, 2))
    forged = replace(other, hashes=one.hashes)
    assert list(duplicates.near_pairs([one, forged], 0)) == []
    assert list(duplicates.near_pairs([one, replace(forged, thumb=one.thumb)], 0)) == [(0, 1)]


def test_embeddings_that_point_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(embeddings, "BLOCK", 7)
    found = {(int(i), int(j)) for rows in embeddings.alike(vectors, 0.6) for i, j in zip(*rows[:2], strict=True)}
    cosines = vectors @ vectors.T
    assert found == {(i, j) for i in range(40) for j in range(i + 1, 40) if cosines[i, j] >= 0.6} and found


def test_embeddings_join_what_hashes_do_not() -> None:
    rng = np.random.default_rng(1)
    prints = []
    for number, vector in enumerate(([1, 0], [1, 0.01], [0, 1])):
        unit = np.array(vector, np.float16) / np.float16(np.linalg.norm(vector))
        hashes = rng.integers(0, 2**64, 8, dtype=np.uint64)
        prints.append(Fingerprint(str(number), (9, 9), hashes, np.zeros((16, 16), np.uint8), unit))
    assert duplicates.cluster(prints, Alike(6)).roots() == [0, 1, 2]
    rule = Alike(6, 0.99)
    assert duplicates.cluster(prints, rule).roots() == [0, 0, 2]
    assert "cosine 1.000" in duplicates.difference(prints[0], prints[1], rule)
    assert duplicates.difference(prints[0], prints[2], rule).endswith("by way of others")


def test_the_encoder_of_a_model(tmp_path: Path) -> None:
    model, processor = tiny.model_and_processor()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    flat = [save(tmp_path / "i" / f"{n}.png", np.full((40, 40, 3), n, np.uint8)) for n in (90, 91)]
    rows = [row("a", flat[0]), row("b", flat[1]), row("c", save(tmp_path / "i" / "c.png", scene(0)))]
    assert run(tmp_path / "hashes", rows)[0] == ["a", "b", "c"]  # what is flat has no perceptual hash
    kept, dropped = run(tmp_path, rows, "--embeddings", str(tmp_path / "model"), "--cosine", "0.9999")
    assert kept == ["a", "c"] and dropped["b"].startswith("near-duplicate of a, cosine 1.000")
    plan = samples.read_manifest(tmp_path / "out" / "fingerprints")["plan"]
    assert len(plan["weights_sha256"]) == 64


@pytest.mark.parametrize("bad", [(17, None), (-1, None), (6, 1.5)])
def test_rules_that_cannot_be(bad: tuple[int, float | None]) -> None:
    with pytest.raises(DataError):
        Alike(*bad)


def test_another_rule_does_not_go_on_with_the_folder(tmp_path: Path) -> None:
    picture = save(tmp_path / "i" / "a.png", scene(0))
    run(tmp_path, [row("a", picture)])
    first = (tmp_path / "out" / "rows-00000.parquet").read_bytes()
    run(tmp_path, [row("a", picture)])
    assert (tmp_path / "out" / "rows-00000.parquet").read_bytes() == first
    out = str(tmp_path / "out")
    assert main(["dedup", str(tmp_path / "rows.jsonl"), "--out", out, "--workers", "1", "--bits", "3"]) == 2
