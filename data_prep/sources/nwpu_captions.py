"""NWPU-Captions (Cheng et al. 2022): 31,500 RESISC45 pictures of 45 classes with five sentences each."""

from __future__ import annotations

from lhrs_chat.formats.captions import nwpu

from ._captions import source

GET = "github.com/HaiyanHuang98/NWPU-Captions: dataset_nwpu.json and the class folders NWPU_images"
LICENCE = "no licence stated: research use (RESISC45, Google Earth imagery)"

SOURCE = source("nwpu_captions", LICENCE, "dataset_nwpu.json", ["NWPU_images", "images", "."], GET, nwpu)
