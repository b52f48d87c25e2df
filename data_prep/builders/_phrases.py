"""How the questions and captions about things and covers are worded."""

from __future__ import annotations

from . import _wordings

CAPTION = tuple(words for words in _wordings.CAPTION if "sentence" not in words)
COUNT = _wordings.COUNT
HALVES = ("left", "right", "upper", "lower")
CAPTION_OPENINGS = (
    "the image shows {things}",
    "{things} can be seen in this image",
    "this aerial view shows {things}",
    "the scene contains {things}",
    "seen from above: {things}",
    "in this picture one can see {things}",
)
ONE_PLACE = (
    "the {name} lies in the {region} of the picture",
    "the {name} is in the {region}",
    "the {name} can be found in the {region} of the image",
)
ALL_IN_HALF = (
    "all {plural} lie in the {half} half",
    "all {plural} are in the {half} half of the picture",
    "the {half} half holds all {plural}",
)
MOST_IN_HALF = (
    "most {plural} lie in the {half} half",
    "most of the {plural} are in the {half} half of the picture",
    "the {half} half holds most of the {plural}",
)
COUNT_HALF = (
    "How many {plural} are in the {half} half of the image?",
    "Count the {plural} in the {half} half of the picture.",
    "How many {plural} do you see in the {half} half?",
    "What is the number of {plural} in the {half} half of the scene?",
)
REFER = (
    "Where is {expression}?",
    "Locate {expression}.",
    "Give the box of {expression}.",
    "Find {expression}.",
    "Show me {expression}.",
    "Point out {expression}.",
    "Mark {expression}.",
    "Where in the picture is {expression}?",
)
GROUND = (
    "Locate all {plural}.",
    "Give the boxes of all {plural}.",
    "Where are the {plural}? Mark each of them.",
    "Find every one of the {plural} in this image.",
    "Detect the {plural}.",
    "Mark all {plural} in the picture.",
)
REGION = (
    ("What is in the region ", "?"),
    ("Describe the region ", "."),
    ("What do you see at ", "?"),
    ("Tell me what is at ", "."),
    ("What does the box ", " show?"),
    ("What lies in the part of the picture marked by ", "?"),
)

COVER_ALL = (
    "almost the whole scene is {first}",
    "nearly everything here is {first}",
    "the scene is {first} throughout",
)
COVER_MOSTLY = (
    "the scene is mostly {first}{rest}",
    "most of the ground is {first}{rest}",
    "this area is mainly {first}{rest}",
)
COVER_LARGEST = (
    "the largest part of the scene is {first}{rest}",
    "{first} takes up more of the scene than any other cover{rest}",
    "there is more {first} here than any other cover{rest}",
)
COVER_SOME = ("{share} of the scene is covered by {cover}", "{cover} can be seen on {share} of the ground")
COVER_REST = (", with {others}", ", followed by {others}", ", alongside {others}")
COVER_PARTS = (
    "the {parts} {be} mostly {cover}",
    "in the {parts} there is mainly {cover}",
    "the {parts} {be} dominated by {cover}",
)
COVER_GATHERED = (
    "most of the {cover} lies in the {part}",
    "the {cover} is found mainly in the {part}",
)
COVER_DOMINANT = (
    "What is the most common land cover here?",
    "Which land cover takes up the largest part of the scene?",
    "What covers most ground in this image?",
    "Name the main land cover of this scene.",
)
COVER_AT = (
    "What is the main land cover in the {part}?",
    "Which land cover dominates the {part} of the image?",
    "What covers most of the {part}?",
    "Name the main land cover of the {part}.",
)
COVER_WHERE = (
    "In which quarter of the image is most of the {cover}?",
    "Which quarter of the picture holds most of the {cover}?",
    "Where is most of the {cover}? Name the quarter.",
    "Most of the {cover} lies in which quarter?",
)

DETAIL = (
    "Describe this scene in detail.",
    "Give a detailed description of this image.",
    "What can be seen here, and where? Be thorough.",
    "Write a longer description of the picture.",
    "Tell me as much as you can about this place.",
)
MAP_SETTING = (
    "the picture shows {setting}",
    "this is {setting} seen from above",
    "the image was taken over {setting}",
)
MAP_THINGS = ("there are {things} in it", "one can make out {things}", "it holds {things}")
MAP_ONLY = CAPTION_OPENINGS[:4]
MAP_PLACE = (
    "{thing} lies in the {region}",
    "in the {region} there is {thing}",
    "the {region} holds {thing}",
)
MAP_SIZE = (
    ("How large is the area at ", "?"),
    ("How much ground does the place at ", " cover?"),
    ("What is the size of what lies at ", "?"),
    ("Estimate the area of the place at ", "."),
)
MAP_DIRECTION = (
    ("Seen from the {first} at ", ", in which direction of the picture is the {second} at ", "?"),
    ("In which direction does one go from the {first} ", " to the {second} ", "?"),
    ("Where is the {second} at ", ", as seen from the {first} at ", "?"),
)
MAP_DISTANCE = (
    ("How far is it from the {first} at ", " to the {second} at ", ", centre to centre?"),
    ("What is the distance between the {first} ", " and the {second} ", ", measured at their centres?"),
    ("Estimate how far apart the {first} at ", " and the {second} at ", " are."),
)
