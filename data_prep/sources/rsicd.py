"""RSICD (Lu et al. 2017): 10,921 pictures with five sentences each."""

from __future__ import annotations

from ._captions import source

GET = "github.com/201528014227051/RSICD_optimal: dataset_rsicd.json, RSICD_images unpacked beside it"
LICENCE = "no licence stated: research use (Google Earth, Baidu Map, MapABC and Tianditu imagery)"

SOURCE = source("rsicd", LICENCE, "dataset_rsicd.json", ["RSICD_images", "images", "."], GET)
