"""Sydney-Captions (Qu et al. 2016): 613 pictures of Sydney with five sentences each."""

from __future__ import annotations

from ._captions import source

GET = "github.com/201528014227051/RSICD_optimal: Sydney_captions.zip, dataset.json and the folder imgs"
LICENCE = "no licence stated: research use (Google Earth imagery)"

SOURCE = source("sydney_captions", LICENCE, "dataset.json", ["imgs", "images", "."], GET)
