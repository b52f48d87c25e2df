"""The engine on a Ray cluster of two workers, one of which is killed: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import pytest

from data_prep.engine import run
from lhrs_chat import samples
from tests.data_prep import steps

ROOT = Path(__file__).parents[2]
COUNT, SHARD = 2000, 100


@pytest.fixture
def cluster(monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80_000_000})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    ray.init(address=cluster.address, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}}, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_machine_of_the_cluster_may_die(cluster, tmp_path):
    import ray

    cluster, nodes = cluster
    samples.write(tmp_path / "rows.jsonl", steps.rows(COUNT, tmp_path))
    out, seen = tmp_path / "out", tmp_path / "seen"
    seen.mkdir()
    killed_at = []

    def kill() -> None:
        until = time.monotonic() + 120
        while len(list(seen.iterdir())) < 2 or len(list(out.glob("rows-*.parquet"))) < 4:
            if time.monotonic() > until:
                return
            time.sleep(0.02)
        cluster.remove_node(nodes[0], allow_graceful=False)
        killed_at.append(len(list(out.glob("rows-*.parquet"))))

    killer = threading.Thread(target=kill)
    killer.start()
    work = [partial(steps.noted, str(seen)), steps.drop_every_seventh, steps.double]
    run(tmp_path, out, work, plan={"verb": "test"}, shard_rows=SHARD, engine="ray")
    killer.join()
    assert len(killed_at) == 1 and 4 <= killed_at[0] < COUNT // SHARD
    assert sum(node["Alive"] for node in ray.nodes()) == 2  # the head and one worker

    run(tmp_path, tmp_path / "local", work[1:], plan={"verb": "test"}, shard_rows=SHARD, workers=1)
    for path in (tmp_path / "local").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert len(list(out.iterdir())) == len(list((tmp_path / "local").iterdir()))
