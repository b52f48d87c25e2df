"""UCM-Captions: 2,100 UC Merced pictures with five sentences each, captions of the test split."""

from __future__ import annotations

from . import Passport
from ._captions import caption_benchmark, table

LOCATION = "linked by github.com/201528014227051/RSICD_optimal: dataset.json and the folder imgs"
_SOURCE = "SkyEyeGPT paper"

BENCHMARK = caption_benchmark(
    "ucm_captions",
    "captions of the UCM-Captions test split",
    "dataset.json",
    ["imgs", "images", "."],
    Passport(
        location=LOCATION,
        annotation_licence="none stated",
        imagery_licence="none stated; UC Merced land use pictures from the USGS",
        published=(
            *table(
                "SkyEyeGPT",
                _SOURCE,
                {"bleu_1": 90.71, "bleu_2": 85.69, "bleu_3": 81.56, "bleu_4": 78.41, "rouge_l": 79.49, "cider": 236.75},
            ),
            *table(
                "RSGPT",
                _SOURCE,
                {"bleu_1": 86.12, "bleu_2": 79.14, "bleu_3": 72.31, "bleu_4": 65.74, "rouge_l": 78.34, "cider": 333.23},
            ),
        ),
    ),
)
