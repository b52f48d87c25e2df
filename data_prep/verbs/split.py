"""`python -m data_prep split DATA --out DIR --shares 0.8,0.1,0.1`: train, val and test that share no ground.

Rows that share a picture, a scene, a tile or overlapping footprints, or, if asked, near-duplicate pictures, also by way
of others, stay together. The same rows in another order are split alike.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely

from lhrs_chat import overlap
from lhrs_chat.errors import DataError
from lhrs_chat.overlap import LonLat
from lhrs_chat.schema import Sample
from lhrs_chat.storage import Location

from ..clusters import Clusters
from ..duplicates import Alike, cluster
from ..engine import store
from ..fingerprints import collect, paths_of
from ..output import inputs
from ..sources import SPLITS
from ..whole_set import batches, judged
from . import Verb
from ._options import add_data, add_engine, engine_of

NAME = "split"
_BLOCK = 10_000  # footprints that are looked up at once


@dataclass
class Group:
    """Rows that stay together: their smallest id, and how many there are of each source."""

    first: str
    counts: Counter[str] = field(default_factory=Counter)


def keys_of(row: Sample) -> list[Hashable]:
    """What a row may share with others: its scene, its pictures, their tiles, its footprint."""
    found: list[Hashable] = [("picture", path) for path in paths_of(row)]
    found += [name for shot in overlap.of_sample(row) for name in sorted(shot.names)]
    if row.footprint is not None:
        found.append(("ground", row.footprint))
    return found or [("row", row.id)]


def overlapping(bounds: Sequence[LonLat]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of footprints that share ground; those that only touch do not."""
    shapes = np.array([overlap.ground(each) for each in bounds], dtype=object)
    tree = shapely.STRtree(shapes)
    for start in range(0, len(shapes), _BLOCK):
        ones, others = tree.query(shapes[start : start + _BLOCK], predicate="intersects")
        ones = ones + start
        later = others > ones
        ones, others = ones[later], others[later]
        common = shapely.area(shapely.intersection(shapes[ones], shapes[others])) > 0
        yield from zip(ones[common].tolist(), others[common].tolist(), strict=True)


def together(source: Location, links: Iterator[tuple[Hashable, Hashable]]) -> tuple[dict[Hashable, int], list[Group]]:
    """Find the groups of rows that stay together.

    Args:
        source: the data set.
        links: more pairs of keys, as `keys_of` tells them, that stay together.

    Returns:
        For each key its group, and the groups.

    Raises:
        DataError: there are no rows.
    """
    numbers: dict[Hashable, int] = {}
    pairs: list[tuple[int, int]] = []
    rows: list[tuple[str, str, int]] = []
    for batch in batches(source):
        for row in batch.rows:
            own = [numbers.setdefault(key, len(numbers)) for key in keys_of(row)]
            pairs += [(own[0], other) for other in own[1:]]
            rows.append((row.id, row.source, own[0]))
    pairs += [(numbers[one], numbers[other]) for one, other in links if one in numbers and other in numbers]
    grounds = [(key[1], number) for key, number in numbers.items() if isinstance(key, tuple) and key[0] == "ground"]
    pairs += [(grounds[one][1], grounds[other][1]) for one, other in overlapping([bounds for bounds, _ in grounds])]
    clusters = Clusters(len(numbers))
    for one, other in pairs:
        clusters.join(one, other)
    groups: dict[int, Group] = {}
    places: dict[int, int] = {}
    for name, origin, number in rows:
        root = clusters.find(number)
        group = groups.setdefault(root, Group(name))
        places.setdefault(root, len(places))
        group.first = min(group.first, name)
        group.counts[origin] += 1
    return {key: places[clusters.find(number)] for key, number in numbers.items()}, list(groups.values())


def assign(groups: Sequence[Group], shares: Mapping[str, float], seed: int) -> list[str]:
    """Give each group a split: the largest groups first, each to the split that lacks most of its sources.

    Args:
        groups: whose split is sought.
        shares: of the rows, for each split.
        seed: decides the order of groups of one size.
    """
    total: Counter[str] = Counter()
    for group in groups:
        total.update(group.counts)
    lacking = {name: {origin: share * total[origin] for origin in total} for name, share in shares.items() if share > 0}

    def order(place: int) -> tuple[int, bytes]:
        digest = hashlib.sha256(f"{seed}/{groups[place].first}".encode()).digest()
        return -groups[place].counts.total(), digest

    found = [""] * len(groups)
    for place in sorted(range(len(groups)), key=order):
        counts = groups[place].counts
        name = max(lacking, key=lambda name: sum(n * lacking[name][origin] for origin, n in counts.items()))
        for origin, count in counts.items():
            lacking[name][origin] -= count
        found[place] = name
    return found


def split(
    source: Location, out: Location, shares: Mapping[str, float], seed: int, bits: int | None, engine: dict[str, Any]
) -> dict[str, Any]:
    """Write `source` with new splits to `out`; return the manifest.

    Args:
        source: the data set.
        out: the folder to write.
        shares: of the rows, for each of train, val and test.
        seed: decides which group goes where.
        bits: pictures whose hashes differ in at most so many bits stay together; None does not look at pictures.
        engine: who works, as `engine.run` takes it.

    Raises:
        DataError: there are no rows, or `out` holds something else.
    """
    links: Iterator[tuple[Hashable, Hashable]] = iter(())
    if bits is not None:
        pictures = collect(source, out, None, engine)
        roots = cluster(pictures.prints, Alike(bits)).roots()
        keys = [("picture", path) for path in pictures.paths]
        links = ((keys[root], key) for root, key in zip(roots, keys, strict=True))
    group_of, groups = together(source, links)
    names = assign(groups, shares, seed)
    told = realised(groups, names)

    def judge(row: Sample) -> Sample | str:
        return replace(row, split=names[group_of[keys_of(row)[0]]])

    return store(
        out,
        judged(source, NAME, judge),
        plan={"verb": NAME, "shares": dict(shares), "seed": seed, "near_duplicate_bits": bits},
        source=inputs(source),
        shard_rows=engine["shard_rows"],
        total=sum(group.counts.total() for group in groups),
        notes=lambda: {"groups": len(groups), "largest_group": _largest(groups), "realised": told},
    )


def _largest(groups: Sequence[Group]) -> int:
    return max((group.counts.total() for group in groups), default=0)


def realised(groups: Sequence[Group], names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the rows of each source in each split."""
    found: dict[str, dict[str, int]] = {}
    for group, name in zip(groups, names, strict=True):
        for origin, count in group.counts.items():
            counts = found.setdefault(origin, dict.fromkeys(SPLITS, 0))
            counts[name] += count
    return dict(sorted(found.items()))


def table(manifest: Mapping[str, Any]) -> str:
    """The realised shares of each source, as a Markdown table."""
    lines = [f"| source | rows | {' | '.join(SPLITS)} |", f"|---|---:|{'---:|' * len(SPLITS)}"]
    for origin, counts in manifest["realised"].items():
        total = sum(counts.values())
        cells = " | ".join(f"{counts[name]} ({counts[name] / total:.1%})" for name in SPLITS)
        lines.append(f"| {origin} | {total} | {cells} |")
    largest = f"the largest has {manifest['largest_group']} rows"
    return "\n".join([*lines, "", f"{manifest['groups']} groups that share nothing; {largest}."]) + "\n"


def shares_of(text: str) -> dict[str, float]:
    """Read `0.8,0.1,0.1`: the shares of train, val and test.

    Raises:
        DataError: these are not three shares that make a whole.
    """
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != len(SPLITS) or min(values) < 0 or not math.isclose(sum(values), 1, abs_tol=1e-6):
        raise DataError("the shares of train, val and test add up to 1", found=text, allowed="such as 0.8,0.1,0.1")
    return dict(zip(SPLITS, values, strict=True))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--shares", default="0.8,0.1,0.1", metavar="A,B,C", help="of train, val, test (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which group goes where (%(default)s)")
    parser.add_argument(
        "--near-duplicates", type=int, metavar="BITS", help="keep pictures together that differ in at most so many bits"
    )
    add_engine(parser)


def _run(args: argparse.Namespace) -> int:
    shares = shares_of(args.shares)
    manifest = split(args.data, args.out, shares, args.seed, args.near_duplicates, engine_of(args))
    sys.stdout.write(table(manifest))
    return 0


VERB = Verb("make train, val and test that share no scene and no ground", _add_arguments, _run)
