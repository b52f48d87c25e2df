"""RSVQA-LR (Lobry et al. 2020): 77,232 questions about 772 Sentinel-2 pictures of the Netherlands."""

from __future__ import annotations

from ._rsvqa import Part, Set, source

SOURCE = source(
    Set(
        name="rsvqa_lr",
        licence="CC-BY-4.0 (RSVQA); questions from OpenStreetMap, ODbL; modified Copernicus Sentinel data",
        parts=[Part(f"LR_split_{split}", split) for split in ("train", "val", "test")],
        images=["Images_LR", "images", "."],
        get="Zenodo record 6344334: LR_split_*.json, Images_LR.zip unpacked beside them",
        sensor="Sentinel-2",
        gsd_m=10.0,
    )
)
