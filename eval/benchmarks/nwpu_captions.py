"""NWPU-Captions: 31,500 RESISC45 pictures with five sentences each, captions of the test split."""

from __future__ import annotations

from lhrs_chat.formats.captions import nwpu

from . import Passport
from ._captions import caption_benchmark

LOCATION = "github.com/HaiyanHuang98/NWPU-Captions: dataset_nwpu.json and the class folders NWPU_images"

BENCHMARK = caption_benchmark(
    "nwpu_captions",
    "captions of the NWPU-Captions test split",
    "dataset_nwpu.json",
    ["NWPU_images", "images", "."],
    Passport(
        location=LOCATION,
        annotation_licence="none stated",
        imagery_licence="none stated; RESISC45, Google Earth imagery",
    ),
    nwpu,
)
