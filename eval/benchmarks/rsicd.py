"""RSICD: 10,921 pictures with five sentences each, captions of the test split."""

from __future__ import annotations

from . import Passport
from ._captions import caption_benchmark, table

LOCATION = "github.com/201528014227051/RSICD_optimal: dataset_rsicd.json, RSICD_images unpacked beside it"
_SOURCE = "SkyEyeGPT paper"

BENCHMARK = caption_benchmark(
    "rsicd",
    "captions of the RSICD test split",
    "dataset_rsicd.json",
    ["RSICD_images", "images", "."],
    Passport(
        location=LOCATION,
        annotation_licence="none stated",
        imagery_licence="none stated; Google Earth, Baidu Map, MapABC, Tianditu",
        changes=(
            "The mirror danielz01/rsicd has no test split.",
            "RSICD and RSITMD share pictures, so that a model trained on one has seen the other.",
        ),
        published=(
            *table(
                "SkyEyeGPT",
                _SOURCE,
                {"bleu_1": 86.71, "bleu_2": 76.66, "bleu_3": 67.31, "bleu_4": 59.99, "rouge_l": 62.63, "cider": 83.65},
            ),
            *table("RSGPT", _SOURCE, {"cider": 102.94}),
        ),
    ),
)
