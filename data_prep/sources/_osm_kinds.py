"""Which OpenStreetMap objects can be seen from above, what one calls them, and how wide a line of them is.

Names, addresses, ids, opening hours and the like are dropped; so is all that lies under ground, in a building or is
only planned. What is left is told by its class and by the attributes that a picture can show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

KEYS = (
    "building",
    "landuse",
    "natural",
    "leisure",
    "amenity",
    "man_made",
    "aeroway",
    "power",
    "waterway",
    "railway",
    "highway",
)
ATTRIBUTES = ("surface", "sport", "water", "crop", "leaf_type", "building:levels", "roof:shape", "roof:colour", "lanes")
"""Tags kept beside the class, because they can be seen."""

AREAS: dict[str, dict[str, str]] = {
    "building": {
        "apartments": "apartment building",
        "cathedral": "church",
        "church": "church",
        "farm": "farm building",
        "garage": "garage",
        "garages": "row of garages",
        "grandstand": "grandstand",
        "greenhouse": "greenhouse",
        "hangar": "hangar",
        "house": "house",
        "detached": "house",
        "semidetached_house": "house",
        "industrial": "industrial building",
        "mosque": "mosque",
        "parking": "multi-storey car park",
        "school": "school building",
        "stadium": "stadium",
        "terrace": "row of houses",
        "train_station": "railway station",
        "warehouse": "warehouse",
        "*": "building",
    },
    "landuse": {
        "allotments": "allotment garden",
        "basin": "basin",
        "cemetery": "cemetery",
        "commercial": "commercial area",
        "construction": "construction site",
        "farmland": "farmland",
        "farmyard": "farmyard",
        "forest": "forest",
        "grass": "grass",
        "greenhouse_horticulture": "greenhouse area",
        "industrial": "industrial area",
        "landfill": "landfill",
        "meadow": "meadow",
        "orchard": "orchard",
        "quarry": "quarry",
        "railway": "railway area",
        "reservoir": "reservoir",
        "residential": "residential area",
        "retail": "shopping area",
        "salt_pond": "salt pond",
        "vineyard": "vineyard",
    },
    "natural": {
        "bare_rock": "bare rock",
        "beach": "beach",
        "glacier": "glacier",
        "grassland": "grassland",
        "heath": "heath",
        "sand": "sand",
        "scree": "scree",
        "scrub": "scrub",
        "water": "water",
        "wetland": "wetland",
        "wood": "forest",
    },
    "leisure": {
        "garden": "garden",
        "golf_course": "golf course",
        "marina": "marina",
        "park": "park",
        "pitch": "sports field",
        "playground": "playground",
        "stadium": "stadium",
        "swimming_pool": "swimming pool",
        "track": "running track",
    },
    "amenity": {
        "fountain": "fountain",
        "grave_yard": "cemetery",
        "hospital": "hospital grounds",
        "parking": "parking lot",
        "school": "school grounds",
        "university": "university campus",
    },
    "man_made": {
        "breakwater": "breakwater",
        "bridge": "bridge",
        "pier": "pier",
        "silo": "silo",
        "storage_tank": "storage tank",
        "wastewater_plant": "wastewater plant",
        "water_tower": "water tower",
    },
    "aeroway": {
        "aerodrome": "airport",
        "apron": "airport apron",
        "helipad": "helipad",
        "runway": "runway",
        "taxiway": "taxiway",
        "terminal": "airport terminal",
    },
    "power": {"plant": "power plant", "substation": "electrical substation"},
    "waterway": {"dam": "dam", "dock": "dock", "riverbank": "river"},
    "railway": {"platform": "railway platform", "station": "railway station"},
    "highway": {"pedestrian": "pedestrian square"},
}
WATERS = {
    "basin": "basin",
    "canal": "canal",
    "lake": "lake",
    "pond": "pond",
    "reservoir": "reservoir",
    "river": "river",
}
PITCHES = {
    "athletics": "running track",
    "baseball": "baseball field",
    "basketball": "basketball court",
    "beachvolleyball": "beach volleyball court",
    "football": "football pitch",
    "rugby": "rugby pitch",
    "soccer": "football pitch",
    "tennis": "tennis court",
}

# What is drawn as a line, with its usual width in metres, both ways or one as it is mapped.
LINES: dict[str, dict[str, tuple[str, float]]] = {
    "highway": {
        "motorway": ("motorway", 11.0),
        "trunk": ("main road", 10.0),
        "primary": ("main road", 10.0),
        "secondary": ("road", 9.0),
        "tertiary": ("road", 8.0),
        "unclassified": ("road", 6.0),
        "residential": ("residential street", 6.0),
        "living_street": ("residential street", 5.0),
        "service": ("service road", 4.0),
        "pedestrian": ("pedestrian street", 5.0),
        "track": ("dirt track", 3.0),
        "cycleway": ("cycle path", 2.0),
        "footway": ("footpath", 2.0),
        "path": ("footpath", 1.5),
    },
    "railway": {"rail": ("railway line", 3.0), "light_rail": ("railway line", 3.0), "tram": ("tram line", 3.0)},
    "waterway": {"river": ("river", 20.0), "canal": ("canal", 10.0), "stream": ("stream", 2.0), "dam": ("dam", 6.0)},
    "aeroway": {"runway": ("runway", 45.0), "taxiway": ("taxiway", 20.0)},
    "man_made": {"breakwater": ("breakwater", 8.0), "pier": ("pier", 3.0)},
    "natural": {"tree_row": ("row of trees", 6.0)},
}

# What is mapped as a point, with its usual diameter in metres.
POINTS: dict[str, dict[str, tuple[str, float]]] = {
    "natural": {"tree": ("tree", 6.0)},
    "man_made": {"storage_tank": ("storage tank", 12.0), "silo": ("silo", 8.0), "water_tower": ("water tower", 12.0)},
    "aeroway": {"helipad": ("helipad", 20.0)},
}

_WIDEST_M = 200.0


@dataclass(frozen=True)
class Kind:
    """What an object is called, the tags of it that can be seen, and the width of a line or point in metres."""

    name: str
    tags: dict[str, str]
    width_m: float = 0.0


def area(tags: Mapping[str, str]) -> Kind | None:
    """Name an area; None where it cannot be seen."""
    for key, name in _classes(tags, AREAS):
        value = tags[key]
        if key == "highway" and tags.get("area") != "yes":
            continue  # a round way, not a square
        if (key, value) == ("natural", "water"):
            name = WATERS.get(tags.get("water", ""), name)
        if (key, value) == ("leisure", "pitch"):
            name = PITCHES.get(tags.get("sport", ""), name)
        return Kind(name, _visible(tags, key))
    return None


def line(tags: Mapping[str, str]) -> Kind | None:
    """Name a line and tell its width, the mapped one where there is one; None where it cannot be seen."""
    for key, (name, width_m) in _classes(tags, LINES):
        return Kind(name, _visible(tags, key), _metres(tags.get("width", "")) or width_m)
    return None


def point(tags: Mapping[str, str]) -> Kind | None:
    """Name a point and tell its diameter; None where it cannot be seen."""
    for key, (name, width_m) in _classes(tags, POINTS):
        mapped = _metres(tags.get("diameter_crown" if name == "tree" else "diameter", ""))
        return Kind(name, _visible(tags, key), mapped or width_m)
    return None


def _classes(tags: Mapping[str, str], table: Mapping[str, Mapping[str, T]]) -> Iterator[tuple[str, T]]:
    """The classes of an object that a table knows, in the order of `KEYS`; `*` stands for all values of a key."""
    if is_hidden(tags):
        return
    for key in KEYS:
        known = table.get(key, {})
        found = known.get(tags[key], known.get("*")) if key in tags else None
        if found is not None:
            yield key, found


def _visible(tags: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: tags[name] for name in (key, *ATTRIBUTES) if name in tags}


def _metres(text: str) -> float:
    """Read `7.5` or `7.5 m`; 0 where it is something else or absurd."""
    try:
        value = float(text.removesuffix("m").strip())
    except ValueError:
        return 0.0
    return value if 0 < value <= _WIDEST_M else 0.0


def is_hidden(tags: Mapping[str, str]) -> bool:
    """Whether an object lies under ground or in a building, or is not there (yet, or any more)."""
    return (
        tags.get("tunnel", "no") != "no"
        or tags.get("covered", "no") == "yes"
        or tags.get("indoor", "no") != "no"
        or tags.get("building", "") in ("no", "entrance", "roof", "construction", "ruins")
        or tags.get("location", "") in ("underground", "indoor")
        or tags.get("parking", "") in ("underground", "multi-storey")
        or tags.get("intermittent", "no") == "yes"
        or tags.get("layer", "0").startswith("-")
    )
