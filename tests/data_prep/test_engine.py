"""The engine: the same bytes by whatever way, whoever is killed; what is broken is told and the rest goes on."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.engine import EachRow, Outcome, inputs, run, store
from data_prep.output import Dropped
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Georef, Image
from tests.data_prep import steps

ROOT = Path(__file__).parents[2]
COUNT, SHARD = 1130, 100
SCRIPT = """
import sys
from data_prep.engine import run
from tests.data_prep import steps
from lhrs_chat.errors import LhrsError
if __name__ == "__main__":
    try:
        run(sys.argv[1], sys.argv[2], steps.STEPS, plan={"verb": "test"}, shard_rows=%d, workers=int(sys.argv[3]))
    except LhrsError as error:
        sys.exit(str(error))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def dropped(folder: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted(folder.glob("dropped-*.parquet")):
        columns = samples.read_columns(path, ("id", "filter", "reason", "row"))
        found += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return found


@pytest.fixture(scope="module")
def facts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    samples.write(folder / "rows.jsonl", steps.rows(COUNT, folder))
    return folder


@pytest.fixture(scope="module")
def undisturbed(facts, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(facts, out, steps.STEPS, plan={"verb": "test"}, shard_rows=SHARD, workers=1)
    return contents(out)


def started(facts: Path, out: Path, tmp_path: Path, workers: int = 2, **options) -> subprocess.Popen[str]:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT % SHARD)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(script), str(facts), str(out), str(workers)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


def shards(out: Path) -> int:
    return len(list(out.glob("rows-*.parquet")))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in found.split()]


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_rows_go_through_all_steps_in_order(facts, undisturbed, tmp_path):
    for name, data in undisturbed.items():
        (tmp_path / name).write_bytes(data)
    kept = [f"made-{n:05d}/{part}" for n in range(COUNT) if n % 7 for part in ("a", "b")]
    assert [row.id for row in samples.read(tmp_path)] == kept
    out = dropped(tmp_path)
    assert [row["id"] for row in out] == [f"made-{n:05d}" for n in range(0, COUNT, 7)]
    assert {(row["filter"], row["reason"]) for row in out} == {("seventh", "its number")}
    assert json.loads(out[1]["row"])["meta"] == {"n": 7}
    manifest = samples.read_manifest(tmp_path)
    assert manifest["rows_in"] == COUNT and manifest["rows_out"] == len(kept)
    assert manifest["dropped"] == {"seventh": len(out)}
    assert manifest["licences"] == {"CC0-1.0": len(kept)} and manifest["tasks"] == {"facts": len(kept)}
    assert set(manifest["files"]) == {name for name in undisturbed if name.endswith(".parquet")}
    assert f"| seventh | {len(out)} | {COUNT - len(out)} |" in (tmp_path / "funnel.md").read_text()


def test_processes_write_the_same_bytes(facts, undisturbed, tmp_path):
    run(facts, tmp_path / "out", steps.STEPS, plan={"verb": "test"}, shard_rows=SHARD, workers=2)
    assert contents(tmp_path / "out") == undisturbed


def test_killed_at_any_time_and_started_again_it_writes_the_same_bytes(facts, undisturbed, tmp_path):
    out = tmp_path / "out"
    whole = len([name for name in undisturbed if name.startswith("rows-")])
    cut_short = 0
    for enough in (0, 3, 7):
        process = started(facts, out, tmp_path)
        while shards(out) < enough or not (out / "manifest.json").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        time.sleep(random.random() * 0.1)
        workers = children(process.pid)
        process.kill()
        process.wait()
        until = time.monotonic() + 60
        while any(map(is_running, workers)):
            assert time.monotonic() < until, "the workers outlive their parent"
            time.sleep(0.02)
        if shards(out) < whole:
            cut_short += 1
            with pytest.raises(DataError, match="not finished"):
                list(samples.read(out))
    assert cut_short  # on a busy machine the last of them may come too late
    before = {path: path.stat().st_mtime_ns for path in out.glob("rows-*.parquet")}
    assert started(facts, out, tmp_path).wait() == 0
    assert contents(out) == undisturbed
    assert before == {path: path.stat().st_mtime_ns for path in before}, "finished shards are made again"


def test_a_full_disk_loses_nothing(facts, undisturbed, tmp_path):
    """A limit on the size of files stands for the full disk: writing fails in the middle of a file alike."""
    out = tmp_path / "out"
    sizes = {name: len(data) for name, data in sorted(undisturbed.items()) if name.startswith("rows-")}
    room = sorted(sizes.values())[-2]
    kept = [name for name, size in sizes.items() if size <= room][: list(sizes.values()).index(max(sizes.values()))]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    process = started(facts, out, tmp_path, workers=1, preexec_fn=limit)
    _, told = process.communicate()
    assert process.returncode == 1
    assert "there is no room left" in told and "run the same command again" in told
    assert kept and not list(out.rglob("*.part"))
    assert {name: (out / name).read_bytes() for name in kept} == {name: undisturbed[name] for name in kept}
    assert shards(out) == len(kept)
    run(facts, out, steps.STEPS, plan={"verb": "test"}, shard_rows=SHARD, workers=1)
    assert contents(out) == undisturbed


def test_a_killed_worker_is_told(facts, tmp_path):
    with pytest.raises(DataError, match="a worker was killed"):
        run(facts, tmp_path / "out", [steps.deadly], plan={}, workers=2)


def test_another_command_does_not_go_on_with_the_folder(facts, tmp_path):
    run(facts, tmp_path / "out", [], plan={"seed": 1}, workers=1)
    with pytest.raises(DataError, match=r"plan\.seed was 1, is 2"):
        run(facts, tmp_path / "out", [], plan={"seed": 2}, workers=1)
    with pytest.raises(DataError, match="rows without a manifest"):
        run(facts, facts, [], plan={}, workers=1)


def test_a_shard_cut_in_half_is_told_and_the_rest_goes_on(facts, tmp_path):
    run(facts, tmp_path / "whole", [], plan={}, shard_rows=SHARD, workers=1)
    broken = tmp_path / "whole" / "rows-00003.parquet"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    manifest = run(tmp_path / "whole", tmp_path / "out", [], plan={}, shard_rows=SHARD, workers=1)
    assert manifest["rows_out"] == COUNT - SHARD and manifest["dropped"] == {"unreadable": 1}
    (row,) = dropped(tmp_path / "out")
    assert row["id"] == str(broken) and "cut off" in row["reason"]


def test_broken_lines_are_told_with_their_number(tmp_path):
    lines = [samples.to_line(row) for row in steps.rows(300)]
    lines[270] = lines[270][:30]
    lines[7] = json.dumps({"id": "x"})
    (tmp_path / "rows.jsonl").write_text("\n".join(lines)[:-5])
    manifest = run(tmp_path, tmp_path / "out", [], plan={}, workers=1)
    assert manifest["rows_in"] == 300 and manifest["rows_out"] == 297
    places = [row["id"].split(" of ")[0] for row in dropped(tmp_path / "out")]
    assert places == ["line 8", "line 271", "line 300"]


def test_a_row_that_a_step_fails_on_is_dropped_with_the_reason(facts, tmp_path):
    def make(row):
        if row.meta["n"] == 3:
            raise DataError("three is no good", found=3)
        if row.meta["n"] == 4:
            raise FileNotFoundError(2, "no such file", "b.png")
        return [row]

    manifest = run(facts, tmp_path / "out", [EachRow("made", make)], plan={}, workers=1)
    assert manifest["rows_out"] == COUNT - 2
    assert [row["reason"] for row in dropped(tmp_path / "out")] == [
        "three is no good\n  found: 3",
        "[Errno 2] no such file: 'b.png'",
    ]


def test_pictures_that_a_step_makes_are_kept_beside_the_rows(tmp_path):
    heights = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    colours = np.arange(36, dtype=np.uint8).reshape(3, 3, 4)
    place = Georef("EPSG:32631", (1, 0, 5, 0, -1, 6))
    (row,) = steps.rows(1)
    images = (Image(array=colours), Image(array=heights, georef=place, sensor="height"), *row.images)
    made = type(row)(**{**vars(row), "images": images})
    store(tmp_path / "out", [Outcome([made, made])], plan={}, source={})
    first, second = samples.read(tmp_path / "out")
    assert first == second
    assert len(list((tmp_path / "out" / "images").rglob("*.*"))) == 2
    import rasterio

    with rasterio.open(first.images[0].path) as colour, rasterio.open(first.images[1].path) as height:
        assert (colour.read() == colours).all()
        assert (height.read() == heights).all() and height.crs.to_string() == place.crs
    assert first.images[1].sensor == "height" and first.images[1].size_px == (4, 3)
    assert first.images[2].path == str(Path("a.png").absolute())


def test_a_value_that_cannot_be_stored_drops_its_row(tmp_path):
    rows = steps.rows(3)
    rows[1].meta["n"] = object()
    manifest = store(tmp_path, [Outcome(rows)], plan={}, source={})
    assert manifest["dropped"] == {"unfit to be stored": 1} and manifest["rows_out"] == 2


def test_stored_rows_go_on_where_they_stopped(facts, tmp_path):
    def outcomes(stop: int):
        for row in steps.rows(COUNT)[:stop]:
            yield Outcome([row]) if row.meta["n"] % 5 else Outcome([], [Dropped.of(row, "fifth", "its number")])
        if stop < COUNT:
            raise KeyboardInterrupt

    arguments = {
        "plan": {"verb": "store"},
        "source": inputs(facts),
        "shard_rows": SHARD,
        "filters": ("fourth", "fifth"),
    }
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path / "a", outcomes(700), **arguments)
    assert shards(tmp_path / "a") == 5
    manifest = store(tmp_path / "a", outcomes(COUNT), **arguments)
    store(tmp_path / "b", outcomes(COUNT), **arguments)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert manifest["dropped"] == {"fourth": 0, "fifth": COUNT // 5} and manifest["rows_in"] == COUNT


def test_data_sets_may_lie_in_an_object_store(facts, undisturbed):
    import fsspec

    store_of_memory = fsspec.filesystem("memory")
    store_of_memory.put(str(facts / "rows.jsonl"), "/engine/facts/rows.jsonl")
    manifest = run(
        "memory://engine/facts", "memory://engine/out", steps.STEPS, plan={"verb": "test"}, shard_rows=SHARD, workers=1
    )
    assert manifest["rows_out"] == len(list(samples.read("memory://engine/out")))
    assert {Path(name).name for name in store_of_memory.ls("/engine/out", detail=False)} == set(undisturbed)


@pytest.mark.parametrize("wrong", [{"engine": "rai"}, {"shard_rows": 0}, {"workers": 0}])
def test_wrong_settings_are_errors(facts, tmp_path, wrong):
    with pytest.raises(DataError):
        run(facts, tmp_path / "out", [], plan={}, **wrong)
    assert not (tmp_path / "out").exists()


def test_a_command_that_failed_at_once_does_not_keep_the_folder(facts, tmp_path):
    def fails() -> Iterator[Outcome]:
        raise DataError("no such set")
        yield

    with pytest.raises(DataError, match="no such set"):
        store(tmp_path / "out", fails(), plan={"source": "wrong"}, source={})
    assert store(tmp_path / "out", [Outcome(steps.rows(2))], plan={"source": "right"}, source={})["rows_out"] == 2


def test_pictures_made_by_a_step_go_along_so_that_each_folder_can_be_moved(tmp_path):
    (row,) = steps.rows(1)
    made = replace(row, images=(Image(array=np.zeros((3, 4, 5), np.uint8)), *row.images))
    store(tmp_path / "facts", [Outcome([made])], plan={}, source={})
    run(tmp_path / "facts", tmp_path / "rows", [], plan={}, workers=1)
    shutil.rmtree(tmp_path / "facts")
    (tmp_path / "rows").rename(tmp_path / "elsewhere")
    (found,) = samples.read(tmp_path / "elsewhere")
    assert Path(found.images[0].path).is_relative_to(tmp_path / "elsewhere") and Path(found.images[0].path).is_file()
    assert found.images[1].path == str(Path(row.images[0].path).absolute())


def test_workers_leave_an_interrupt_to_their_parent_from_their_start(tmp_path):
    samples.write(tmp_path / "rows.jsonl", steps.rows(130, tmp_path))
    assert run(tmp_path, tmp_path / "out", [steps.interruptible], plan={}, workers=2)["rows_out"] == 0
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
