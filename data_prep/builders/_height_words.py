"""How the questions and answers about heights are worded."""

from __future__ import annotations

ABOVE = {
    "nDSM": "above ground",
    "CHM": "above ground",
    "DSM": "above sea level",
    "DEM": "above sea level",
    "DTM": "above sea level",
}
SHOWS = {
    "nDSM": "heights above ground",
    "CHM": "heights of the plants above ground",
    "DSM": "the surface, in heights above sea level",
    "DEM": "the bare ground, in heights above sea level",
    "DTM": "the bare ground, in heights above sea level",
}
RETRIEVAL = {
    "above ground": (
        "How high above ground is the surface {spot}? Answer in metres.",
        "What is the height above ground {spot}, in metres?",
        "Give the height above ground {spot} in metres.",
        "Read the height {spot}: how many metres above ground is it?",
    ),
    "above sea level": (
        "How high above sea level is it {spot}? Answer in metres.",
        "What is the elevation {spot}, in metres above sea level?",
        "Give the elevation {spot} in metres.",
        "Read the elevation {spot}.",
    ),
}
RETRIEVED = ("It is {value} m {above}.", "The height is {value} m {above}.", "{value} m {above}.")
REGION = (
    ("What is the greatest height in the region ", ", in metres {above}?"),
    ("How high is the highest point inside ", "? Answer in metres {above}."),
    ("Give the greatest height {above} within the box ", " in metres."),
)
REGION_SAID = ("The highest point there is {value} m {above}.", "It reaches {value} m {above}.")
PIXEL = (
    "What is the surface {spot}, and how high is it?",
    "Describe the pixel {spot}: its class and its height.",
    "What stands {spot}, and how tall is it?",
)
PIXEL_SAID = (
    "It is {cover}, {value} m above ground, higher than {rank} % of the picture.",
    "The pixel shows {cover} at {value} m above ground; {rank} % of the picture is lower.",
)
PIXEL_LOW_SAID = (
    "It is {cover}, {value} m above ground; nothing in the picture is lower.",
    "The pixel shows {cover} at {value} m above ground, the lowest there is.",
)
INSTANCE = (
    ("How high is the {name} ", "? Answer in metres."),
    ("Give the height of the {name} ", " in metres."),
    ("How many metres tall is the {name} in the box ", "?"),
)
INSTANCE_SAID = ("The {name} is {value} m high.", "It is {value} m high.", "Its height is {value} m.")
EXTRACT = ("Mark the {rank} {name}.", "Segment the {rank} {name}.", "Which {name} is the {rank}? Mark it.")
EXTRACTED = (
    "The {rank} {name} lies in the {region}; it is {value} m high.",
    "The {rank} {name}, {value} m high, is in the {region} of the picture.",
)
RANKING = (
    "Order these from the highest to the lowest: {marks}. Answer with the letters.",
    "Rank these by height, the tallest first: {marks}. Answer with the letters.",
    "Which is highest, which comes next? Sort by height: {marks}. Answer with the letters.",
)
PATTERN = (
    "Describe how heights are distributed in this scene.",
    "Describe the height pattern of the picture.",
    "What do the heights of this scene look like?",
    "Summarise the vertical structure of the scene.",
)
THRESHOLD = (
    "Mark all that is higher than {limit} m {above}, and say which share of the picture it is.",
    "Segment everything above {limit} m {above}. How many per cent of the picture is that?",
)
THRESHOLD_SAID = (
    "What is higher than {limit} m is marked; it takes {share} % of the picture.",
    "{share} % of the picture is higher than {limit} m {above}; it is marked.",
)
CLASS = ("Mark all {plural}.", "Segment the {plural} in this scene.", "Show the {plural}.")
CLASS_OVER = (
    "Mark the {plural} where they are higher than {limit} m.",
    "Segment all parts of {plural} that rise above {limit} m.",
)
CLASS_SAID = ("Marked: {plural}, {share} % of the picture.", "{share} % of the picture is marked as {plural}.")
CLASS_OVER_SAID = (
    "Marked: {plural} over {limit} m, {share} % of the picture.",
    "{share} % of the picture is marked as {plural} of more than {limit} m.",
)
SLOPE = (
    "How steep is the ground on average? Answer in degrees.",
    "What is the mean slope of the terrain, in degrees?",
    "Give the average slope of the ground in degrees.",
)
SLOPE_SAID = ("The mean slope is {value} degrees.", "The ground has a mean slope of {value} degrees.")
SLOPE_SHARE = (
    "Which share of the ground is steeper than {limit} degrees? Answer in per cent and mark it.",
    "Mark the slopes of more than {limit} degrees. How many per cent of the picture are they?",
)
SLOPE_SHARE_SAID = "The slope exceeds {limit} degrees on {share} % of the picture; these slopes are marked."
FLOOD_RISE = (
    "The water rises by {rise} m and floods what it can reach {reached}. Which share of the picture is then under "
    "water, in per cent? Mark it.",
    "Suppose that the water goes up by {rise} m. Mark what is flooded {reached} and give its share of the picture.",
)
FLOOD_LEVEL = (
    "Water rises to {level} m above sea level and floods what it can reach {reached}. Which share of the picture is "
    "under water, in per cent? Mark it.",
    "A flood reaches {level} m above sea level. Mark what is flooded {reached} and give its share of the picture.",
)
LANDSLIDE = (
    "Which share of the picture is prone to landslides, in per cent? Mark it. {rule}",
    "Where could the ground slide? Mark it and give its share of the picture. {rule}",
)
