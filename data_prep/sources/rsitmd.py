"""RSITMD (Yuan et al. 2021): 4,743 pictures with five fine-grained sentences each. It shares pictures with RSICD."""

from __future__ import annotations

from ._captions import source

GET = "github.com/xiaoyuan1996/AMFMN, folder RSITMD: dataset_RSITMD.json and the folder images"
LICENCE = "no licence stated: research use (pictures of RSICD and Google Earth)"

SOURCE = source("rsitmd", LICENCE, "dataset_RSITMD.json", ["images", "."], GET)
