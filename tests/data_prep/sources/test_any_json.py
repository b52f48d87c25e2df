"""Whatever JSON lies in the files of a set: a source yields rows, tells of broken ones, or raises a DataError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat import samples
from lhrs_chat.errors import DataError

FILES = {
    "chatearthnet": "ChatEarthNet_caps_35_train.json",
    "fusioneo": "train/rows.json",
    "geochat_instruct": "GeoChat_Instruct.json",
    "lhrs_align": "features_01.json",
    "lhrs_instruct": "OSM.json",
    "nwpu_captions": "dataset_nwpu.json",
    "rsicd": "dataset_rsicd.json",
    "skyeye_968k": "vqa/UCMvqa.json",
    "terra_cot": "train_json/rows.json",
    "vrsbench": "Annotations_train/a.json",
    "llava": "rows.json",
    "sharegpt": "rows.json",
    "ms_swift": "rows.json",
    "folder_jsonl": "rows.json",
}
KEYS = [
    *("id", "image", "images", "image_id", "name", "filename", "file_name", "img", "pre_image", "post_image", "split"),
    *("conversations", "messages", "conv", "Question", "Answer", "question", "answer", "text", "ground_truth", "data"),
    *("from", "value", "role", "content", "type", "objects", "ref", "bbox", "bbox_type", "masks", "size", "counts"),
    *(
        "caption",
        "captions",
        "cap",
        "attrs",
        "info",
        "location",
        "sentences",
        "raw",
        "obj_coord",
        "obj_cls",
        "qa_pairs",
    ),
    *("system", "tools", "meta", "licence", "history", "query", "response", "gsd_m", "label", "choices", "task"),
]
WORDS = st.sampled_from(
    [
        *("a.png", "human", "gpt", "user", "assistant", "<image>\nWhere?", "[refer] x", "{<1><2><3><4>}", "train"),
        *("[0.1,0.2,0.3,0.4]", "<bbox>", "A port.", "real", "\ud800", "", "[SEG]", "0" * 300),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5) | WORDS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)
TURN = st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]), "value": WORDS | LEAVES})
ROW = st.fixed_dictionaries(
    {"image": st.just("a.png")},
    optional={
        "conversations": st.lists(TURN, max_size=4),
        "masks": VALUES,
        "objects": VALUES,
        "id": LEAVES,
        "conv": VALUES,
    },
)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=VALUES | st.lists(VALUES | ROW, max_size=4) | st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_no_document_breaks_a_source(name: str, document: Any, tmp_path: Path) -> None:
    path = tmp_path / FILES[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    for place in ("a.png", "rgb/img/a.png", "sar/img/a.png"):
        (path.parent / place).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / place).touch()
    path.write_text(json.dumps(document))
    told: list[str] = []
    try:
        found = list(
            SOURCES.get(name).read(tmp_path, SourceOptions(reject=lambda where, why: told.append(where + why)))
        )
    except DataError:
        return
    for row in found:
        samples.to_line(row).encode()
    "".join(told).encode()
