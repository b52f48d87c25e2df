"""UCM-Captions (Qu et al. 2016): 2,100 aerial pictures of UC Merced with five sentences each."""

from __future__ import annotations

from ._captions import source

GET = "github.com/201528014227051/RSICD_optimal: UCM_captions.zip, dataset.json and the folder imgs"
LICENCE = "no licence stated for the sentences; USGS National Map imagery, public domain"

SOURCE = source("ucm_captions", LICENCE, "dataset.json", ["imgs", "images", "."], GET)
