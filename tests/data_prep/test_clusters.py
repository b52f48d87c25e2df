from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from data_prep.clusters import Clusters

LINKS = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)))


@given(LINKS)
def test_things_are_together_if_links_lead_from_one_to_the_other(links: list[tuple[int, int]]) -> None:
    clusters = Clusters(12)
    for one, other in links:
        clusters.join(one, other)
    reached = {thing: {thing} for thing in range(12)}
    for _ in range(12):
        for one, other in links:
            both = reached[one] | reached[other]
            for thing in both:
                reached[thing] = reached[thing] | both
    assert clusters.roots() == [min(reached[thing]) for thing in range(12)]
