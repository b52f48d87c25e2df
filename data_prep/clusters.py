"""Things that belong together because a chain of links leads from one to the other (union-find)."""

from __future__ import annotations


class Clusters:
    """`count` things, each in a cluster of its own until links join them. A cluster is named by its first thing."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, thing: int) -> int:
        """The first thing of the cluster that holds `thing`."""
        root = thing
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[thing] != root:
            self._parent[thing], thing = root, self._parent[thing]
        return root

    def join(self, one: int, other: int) -> None:
        """Make one cluster of the clusters of two things."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parent[second] = first

    def roots(self) -> list[int]:
        """The cluster of every thing."""
        return [self.find(thing) for thing in range(len(self._parent))]
