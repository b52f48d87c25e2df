"""RSVQA-HR (Lobry et al. 2020): 1,066,316 questions about 10,659 aerial orthophotos of the United States."""

from __future__ import annotations

from ._rsvqa import Part, Set, source

SOURCE = source(
    Set(
        name="rsvqa_hr",
        licence="CC-BY-4.0 (RSVQA); questions from OpenStreetMap, ODbL; USGS orthoimagery, public domain",
        parts=[
            *(Part(f"USGS_split_{split}", split) for split in ("train", "val", "test")),
            Part("USGS_split_test_phili", "test"),
        ],
        images=["Data", "images", "."],
        get="Zenodo record 6344367: USGS_split_*.json, Images.tar unpacked beside them (its folder is Data)",
        sensor="aerial",
        gsd_m=0.15,
    )
)
