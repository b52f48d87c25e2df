"""How the questions of each task are worded, and the number and article of the nouns in them."""

from __future__ import annotations

CAPTION = (
    "Describe this scene.",
    "Describe this image.",
    "Write a caption for this image.",
    "What can be seen here?",
    "Summarise this remote sensing image in one sentence.",
    "Give a short description of the picture.",
    "What is in this image?",
    "Tell me what you see.",
    "Caption this scene.",
    "What does the image look like?",
)
SCENE_CLASS = (
    "What does this image show?",
    "What kind of scene is this?",
    "Which scene class fits this image?",
    "What is the scene class?",
    "Name the type of place in this image.",
    "What type of area is shown?",
    "Classify this scene.",
    "What is this place?",
    "What is the theme of this picture?",
    "Give the class of this remote sensing image.",
)
OPTIONS = (
    "Choose from: {options}.",
    "Options: {options}.",
    "Answer with one of: {options}.",
    "Pick one: {options}.",
)
PRESENCE_THING = (
    "Is there {a} in this image?",
    "Are there any {plural} in this image?",
    "Can you see {a}?",
    "Does the scene contain {a}?",
    "Are {plural} visible here?",
    "Do you see any {plural} in the picture?",
    "Are there {plural} in this scene?",
    "Does this image show any {plural}?",
    "Is {a} present in the scene?",
)
PRESENCE_COVER = (
    "Is there {name} in this image?",
    "Is there any {name} in this scene?",
    "Can you see {name}?",
    "Does the scene contain {name}?",
    "Is {name} visible here?",
    "Do you see any {name} in the picture?",
    "Does this image show {name}?",
    "Is {name} present in the scene?",
)
COUNT = (
    "How many {plural} are there?",
    "How many {plural} can you see?",
    "Count the {plural}.",
    "What is the number of {plural}?",
    "How many {plural} are in this image?",
    "How many {plural} does the scene show?",
    "Give the number of {plural} in the picture.",
    "How many {plural} are visible?",
)
COMPARE_YES_NO = (
    "Is there more {first} than {second}?",
    "Does {first} cover more of the scene than {second}?",
    "Is the area of {first} larger than that of {second}?",
    "Is more of the image covered by {first} than by {second}?",
    "Does {first} take up more space than {second}?",
    "Is {first} more widespread here than {second}?",
)
COMPARE_COUNTS = (
    "Are there more {first} than {second}?",
    "Is the number of {first} larger than the number of {second}?",
    "Do you see more {first} than {second}?",
    "Are {first} more numerous than {second}?",
    "Does the scene hold more {first} than {second}?",
    "Are the {first} in the majority compared with the {second}?",
)
COMPARE_WHICH = (
    "Which covers more of the image, {first} or {second}?",
    "Which is larger in area, {first} or {second}?",
    "What is there more of, {first} or {second}?",
    "Which takes up more space: {first} or {second}?",
    "Is there more {first} or more {second}?",
    "Which of the two has the larger area: {first} or {second}?",
)
AREA_SHARE = (
    "How much of this scene is covered by {area}?",
    "What share of the image is covered by {area}?",
    "What percentage of the picture is taken up by {area}?",
    "How large a part of the scene do you see as {area}, in percent?",
    "Estimate the area share of {area}.",
    "What fraction of the scene is covered by {area}?",
    "What is the share of {area} in the image, in percent?",
)
AREA_SHARE_MASS = (
    "How much of this scene is {area}?",
    "How much of the image is {area}?",
    "What percentage of this scene is {area}?",
    "What part of the picture is {area}?",
    "How much {area} is there?",
)
WHERE_ONE = (
    "Where is the {name}?",
    "Where in the image is the {name}?",
    "Locate the {name}.",
    "Find the {name}.",
    "Show me where the {name} is.",
    "Give the position of the {name}.",
    "In which part of the picture is the {name}?",
    "Where can I find the {name}?",
)
WHICH_PARTS = (
    "Which parts of the picture show {name}?",
    "In which parts of the picture is there {name}?",
    "Name the parts of the image that are {name}.",
    "Where in the picture does {name} lie? Name the parts.",
    "List the parts of the scene with {name}.",
    "Which parts of this image are {name}?",
)
WHAT_IS_AT = (
    "What is in the {region} of the picture?",
    "What lies in the {region}?",
    "What does the {region} of the image show?",
    "What can be seen in the {region}?",
    "Name what fills the {region}.",
    "The {region} of the scene is what?",
)
HIGHER_TWO = (
    "Which {name} is higher, the left one or the right one?",
    "Of the two {plural}, which is higher: the left one or the right one?",
    "Is the left {name} or the right {name} higher?",
    "Which of the two {plural} stands higher, the left one or the right one?",
    "There are two {plural}: which is the higher one, left or right?",
    "Compare the heights of the two {plural}: which is higher, the left one or the right one?",
)
HIGHER_AT = (
    "Which {name} is higher, the one at {first} or the one at {second}: the left one or the right one?",
    "Of the {plural} at {first} and {second}, which is higher: the left one or the right one?",
    "Compare the {plural} at {first} and {second}. Which is higher, the left one or the right one?",
    "Two {plural} are at {first} and {second}. Is the left one or the right one higher?",
    "Look at the {plural} at {first} and at {second}: which stands higher, the left one or the right one?",
    "Which of the {plural} at {first} and {second} is higher, the left one or the right one?",
)
HIGHER_NAMES = (
    "Which is higher, the {first} or the {second}?",
    "What stands higher: the {first} or the {second}?",
    "Which one is taller, the {first} or the {second}?",
    "Is the {first} or the {second} higher?",
    "Compare the heights: which is higher, the {first} or the {second}?",
    "Of the {first} and the {second}, which is the higher one?",
)

# nouns that are not counted: they take no article and have no plural
UNCOUNTED = frozenset(
    {
        "water",
        "forest",
        "bare soil",
        "bare land",
        "grass",
        "sand",
        "pavement",
        "built-up area",
        "farmland",
        "snow",
        "vegetation",
        "sea",
        "desert",
        "meadow",
    }
)
_PLURALS = {"aircraft": "aircraft", "bus": "buses", "minibus": "minibuses", "beach": "beaches", "church": "churches"}
# covers that are named in the plural when their area is meant
_AREAS = {"field": "fields", "building": "buildings", "road": "roads", "tree": "trees"}
# what a newcomer calls the water of a scene of this class
WATERS = {"lake": "lake", "pond": "pond", "river": "river", "sea": "sea"}


def plural(name: str) -> str:
    """More than one of a thing."""
    return _PLURALS.get(name, name if name in UNCOUNTED else f"{name}s")


def indefinite(name: str) -> str:
    """One of a thing, with its article."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def area(name: str) -> str:
    """A cover as one speaks of its area."""
    return _AREAS.get(name, name)
