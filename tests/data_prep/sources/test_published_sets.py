"""Sources of published sets: each in a small copy of its own layout, with one broken row that is told of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from data_prep.sources import SOURCES, SourceOptions
from lhrs_chat import samples
from lhrs_chat.errors import DataError
from lhrs_chat.schema import Mask, Sample
from lhrs_chat.text.run_lengths import to_coco


@dataclass
class Set:
    """A folder that a source is read from."""

    folder: Path
    told: list[tuple[str, str]] = field(default_factory=list)

    def json(self, name: str, document: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def pictures(self, *names: str) -> None:
        """Empty files: no source may open them."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def read(self, source: str, split: str | None = None, count: int | None = None) -> list[Sample]:
        self.told.clear()
        options = SourceOptions(count=count, split=split, reject=lambda where, why: self.told.append((where, why)))
        found = list(SOURCES.get(source).read(self.folder, options))
        assert all(sample.licence and sample.source == source for sample in found)
        assert len({sample.id for sample in found}) == len(found)
        for sample in found:
            samples.to_line(sample).encode()
        return found


@pytest.fixture
def data(tmp_path: Path) -> Set:
    return Set(tmp_path)


def texts(sample: Sample) -> list[str]:
    return [message.text for message in sample.messages]


MINE = [
    *("cdvqa", "chatearthnet", "dior_rsvg", "fusioneo", "geochat_instruct", "lhrs_align", "lhrs_instruct", "rsicd"),
    *("nwpu_captions", "rsitmd", "rsvg", "rsvqa_hr", "rsvqa_lr", "skyeye_968k", "sydney_captions", "terra_cot"),
    *("ucm_captions", "vrsbench", "llava", "sharegpt", "ms_swift", "folder_jsonl"),
]


@pytest.mark.parametrize("name", MINE)
def test_a_folder_without_the_set_is_told_what_to_get(name: str, data: Set) -> None:
    with pytest.raises(DataError, match="next"):
        data.read(name)
    with pytest.raises(DataError, match="needs the folder"):
        list(SOURCES.get(name).read(None, SourceOptions()))


# ---------------------------------------------------------------- captions


def karpathy(name: str, split: str = "train") -> dict[str, Any]:
    sentences = [{"raw": f"{word} .", "tokens": [word]} for word in ("A port", "Two ships", "A port")]
    return {"filename": name, "imgid": 0, "split": split, "sentences": sentences, "sentids": [0, 1, 2]}


@pytest.mark.parametrize(
    ("source", "file", "images"),
    [
        ("rsicd", "dataset_rsicd.json", "RSICD_images"),
        ("rsitmd", "dataset_RSITMD.json", "images"),
        ("ucm_captions", "dataset.json", "imgs"),
        ("sydney_captions", "dataset.json", "imgs"),
    ],
)
def test_caption_sets(source: str, file: str, images: str, data: Set) -> None:
    rows = [karpathy("1.tif"), karpathy("1.tif"), karpathy("2.tif"), karpathy("3.tif", "test"), {"filename": "4.tif"}]
    data.json(file, {"images": rows, "dataset": source})
    data.pictures(f"{images}/1.tif", f"{images}/3.tif")
    found = data.read(source)
    assert [(sample.id, sample.split, sample.task) for sample in found] == [
        (f"{source}/1.tif", "train", "facts"),
        (f"{source}/3.tif", "test", "facts"),
    ]
    assert found[0].targets.captions == ("A port .", "Two ships .")
    assert [where.split()[1] for where, _ in data.told] == ["1", "2", "4"]
    assert "twice" in data.told[0][1]
    assert "missing" in data.told[1][1]
    assert [sample.id for sample in data.read(source, "test")] == [f"{source}/3.tif"]


def test_nwpu_captions(data: Set) -> None:
    five = {name: f"A {name}." for name in ("raw", "raw_1", "raw_2", "raw_3", "raw_4")}
    rows = {"harbor": [{"filename": "h.jpg", "split": "train", **five}, {"filename": "i.jpg", "split": "train"}]}
    data.json("dataset_nwpu.json", rows)
    data.pictures("NWPU_images/harbor/h.jpg", "NWPU_images/harbor/i.jpg")
    (found,) = data.read("nwpu_captions")
    assert (found.targets.labels, len(found.targets.captions), found.scene_id) == (("harbor",), 5, "nwpu_captions/h")
    assert "'raw'" in data.told[0][1]


def test_chatearthnet_shares_scenes_between_captioners(data: Set) -> None:
    rows = [{"image_id": "a.png", "caption": "Trees."}, {"image": "b.png", "caption": ["Water."]}, {"image": "c.png"}]
    data.json("json_files/ChatEarthNet_caps_35_train.json", rows)
    data.json("json_files/ChatEarthNet_caps_4v_val.json", [{"image_id": "a.png", "caption": "Many trees."}])
    data.json("json_files/other.json", [3])
    data.pictures("s2_images/a.png", "s2_rgb_images/s2_images/b.png", "s2_images/c.png")
    first, second, third = data.read("chatearthnet")
    assert first.scene_id == third.scene_id
    assert (third.split, third.meta["captioner"], third.images[0].gsd_m) == ("val", "4v", 10.0)
    assert second.targets.captions == ("Water.",)
    assert [where for where, _ in data.told] == ["row 2 of ChatEarthNet_caps_35_train.json"]


def test_lhrs_align_places_pictures_by_their_names(data: Set) -> None:
    name = "Germany_12_Bonn_7.09_50.75_7.11_50.73"
    rows = [
        {"name": name, "info": {"location": ["Germany", "Bonn"]}, "cap": "A town.", "attrs": {"building": "yes"}},
        {"name": "b", "info": {"location": ["Germany", "Bonn"]}, "cap": "A wood.", "caption": "A dense wood."},
        {"name": "c", "info": {}, "cap": "Gone."},
        {"name": name, "cap": "Again."},
        {"info": {}},
    ]
    data.json("OSMCapAnn/features_01.json", {"data": rows})
    data.pictures(f"OSM_Image/{name}.jpg", "OSM_Image/Germany/Bonn/b.jpg")
    first, second = data.read("lhrs_align")
    assert first.footprint == (7.09, 50.73, 7.11, 50.75)
    assert first.meta["tags"] == {"building": "yes"}
    assert second.targets.captions == ("A dense wood.", "A wood.")
    assert second.footprint is None
    assert [where.split()[1] for where, _ in data.told] == ["2", "3", "4"]


# ---------------------------------------------------------------- questions


def write_questions(data: Set, prefix: str, rows: list[dict[str, Any]], image: dict[str, Any]) -> None:
    questions = [
        {"id": n, "active": True, "img_id": 7, "answers_ids": [n], "type": row["type"], "question": row["question"]}
        for n, row in enumerate(rows)
    ]
    said = [{"id": n, "active": True, "answer": row["answer"]} for n, row in enumerate(rows)]
    data.json(f"{prefix}_questions.json", {"questions": questions})
    data.json(f"{prefix}_answers.json", {"answers": said})
    data.json(f"{prefix}_images.json", {"images": [{"id": 7, "active": True, **image}]})


@pytest.mark.parametrize(
    ("source", "prefix", "images"), [("rsvqa_lr", "LR_split", "Images_LR"), ("rsvqa_hr", "USGS_split", "Data")]
)
def test_rsvqa(source: str, prefix: str, images: str, data: Set) -> None:
    rows = [
        {"type": "presence", "question": "Is a road there?", "answer": "yes"},
        {"type": "count", "question": "How many?", "answer": "several"},
        {"type": "area", "question": "How large?", "answer": "35m2"},
    ]
    write_questions(data, f"{prefix}_train", rows, {})
    write_questions(data, f"{prefix}_test", rows[:1], {})
    data.pictures(f"{images}/7.tif")
    found = data.read(source)
    assert [(sample.task, sample.split, texts(sample)) for sample in found] == [
        ("presence", "train", ["Is a road there?", "yes"]),
        ("area", "train", ["How large?", "35m2"]),
        ("presence", "test", ["Is a road there?", "yes"]),
    ]
    assert found[0].scene_id == found[2].scene_id
    assert found[1].targets.numbers[0].unit == "m2"
    assert "'answer'" in data.told[0][1]
    assert [sample.split for sample in data.read(source, "test")] == ["test"]
    assert len(data.read(source, count=1)) == 1


def test_cdvqa(data: Set) -> None:
    rows = [
        {"type": "change_or_not", "question": "Did it change?", "answer": "yes"},
        {"type": "change_to_what", "question": "To what?", "answer": "lava"},
    ]
    write_questions(data, "Train", rows, {"file_name": "00003.png"})
    data.pictures("im1/00003.png", "im2/00003.png")
    (found,) = data.read("cdvqa")
    assert found.meta["image_roles"] == ["before", "after"]
    assert [part.image for part in found.messages[0].content[:2]] == [0, 1]
    assert (found.targets.choices, found.scene_id) == (("yes", "no"), "second/00003")
    assert len(data.told) == 1


# ---------------------------------------------------------------- referring


def test_dior_rsvg(data: Set) -> None:
    item = "<object><name>ship</name><bndbox>{}</bndbox><description>the ship</description></object>"
    box = "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"
    (data.folder / "Annotations").mkdir()
    text = f"<annotation><filename>00001.jpg</filename>{item.format(box)}{item.format('')}</annotation>"
    (data.folder / "Annotations" / "00001.xml").write_text(text)
    (data.folder / "train.txt").write_text("0\n1\n")
    data.pictures("JPEGImages/00001.jpg")
    (found,) = data.read("dior_rsvg")
    region = found.messages[1].content[0].region
    assert texts(found) == ["Where is the ship?", ""]
    assert region is not None
    assert (region.xyxy, region.frame, found.targets.boxes[0].label) == ((1, 2, 3, 4), "pixel", "ship")
    assert (found.task, found.scene_id, found.meta["tile"]) == ("referring", "dior/00001", "00001")
    assert data.told[0][0] == "object 1 of 00001.xml"


def test_rsvg(data: Set) -> None:
    import torch

    torch.save([("00001.jpg", [1, 2, 3, 4], "the bridge."), ("b.jpg", [1, 2, 3], "x")], data.folder / "rsvg_val.pth")
    data.pictures("images/00001.jpg")
    (found,) = data.read("rsvg")
    assert (texts(found)[0], found.split, found.scene_id) == ("Where is the bridge?", "val", "rsvg/00001.jpg")
    assert len(data.told) == 1
    assert data.read("rsvg", "train") == []


# ---------------------------------------------------------------- instructions


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]


@pytest.fixture
def square(data: Set) -> Callable[[str], None]:
    """Write a picture that can be opened, twice as wide as high."""
    import PIL.Image

    def write(name: str) -> None:
        (data.folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", (80, 40)).save(data.folder / name)

    return write


def test_geochat_instruct(data: Set, square: Callable[[str], None]) -> None:
    rows = [
        {"id": "P0001_0001.png", "image": "P0001_0001.png", "conversations": turns(
            "<image>\n[refer] where is <p>the ship</p>?", "{<40><40><60><50>|<90>}")},
        {"id": "b.png", "image": "b.png", "conversations": turns(
            "<image>\n[identify] the object in {<1><2><3><4>|<0>} is", "<p>1 ship</p>")},
        {"id": "b.png", "image": "b.png", "conversations": turns("<image>\nHow many?", "4.", "Sure?", "Yes.")},
        {"id": "b.png", "image": "b.png", "conversations": turns("<image>\n[refer] where?", "{<77><981><83><9>|<2>}")},
        {"id": "b.png", "image": "b.png", "conversations": []},
        {"id": "b.png", "conversations": turns("<image>\nHow?", "4.")},
        {"id": "b.png", "image": "b.png", "conversations": turns(
            "<image>\n[grounding] describe it", "There are <p>two ships</p> {<1><2><3><4>|<0>} at sea.")},
    ]  # fmt: skip
    data.json("GeoChat_Instruct.json", rows)
    square("images/P0001_0001.png")
    square("images/b.png")
    refer, identify, dialogue, grounded = data.read("geochat_instruct")
    assert [sample.task for sample in (refer, identify, dialogue, grounded)] == [
        "referring", "region_caption", "dialogue", "grounding",
    ]  # fmt: skip
    assert (refer.scene_id, refer.meta["tile"]) == ("dota/P0001", "P0001")
    assert refer.targets.boxes[0].xyxy == pytest.approx((47.5, 25, 52.5, 65))
    assert (refer.targets.answer, grounded.targets.answer) == (None, "There are two ships at sea.")
    assert texts(identify) == ["the object in  is", "1 ship"]
    assert [where.split()[1] for where, _ in data.told] == ["3", "4", "5"]


def test_vrsbench_conversations(data: Set) -> None:
    rows = [
        {"id": 0, "image": "P0002_0001.png", "conversations": turns("<image>\n[caption] Describe it.", "A port.")},
        {"id": 1, "image": "00002_0001.png", "conversations": turns("<image>\n[refer] the ship", "{<1><2><30><40>}")},
        {"id": 2, "image": "00002_0001.png", "conversations": "[]"},
    ]
    data.json("VRSBench_train.json", rows)
    data.pictures("Images_train/Images_train/P0002_0001.png", "Images_train/00002_0001.png")
    caption, refer = data.read("vrsbench")
    assert [(sample.task, sample.scene_id) for sample in (caption, refer)] == [
        ("caption", "dota/P0002"),
        ("referring", "dior/00002"),
    ]
    assert refer.targets.boxes[0].xyxy == (1, 2, 30, 40)
    assert len(data.told) == 1


def test_vrsbench_facts(data: Set) -> None:
    corners = [0.1, 0.1, 0.3, 0.1, 0.3, 0.2, 0.1, 0.2]
    known = {
        "obj_id": 0,
        "obj_cls": "small-vehicle",
        "obj_coord": [0.1, 0.1, 0.3, 0.2],
        "referring_sentence": "The car.",
    }
    pair = {"ques_id": 0, "question": "How many?", "type": "object quantity", "answer": 1}
    good = {
        "image": "P0002_0001.png",
        "caption": "A car.",
        "objects": [{**known, "obj_corner": corners}],
        "qa_pairs": [pair],
    }
    data.json("Annotations_train/P0002_0001.json", good)
    data.json("Annotations_train/P0002_0002.json", {**good, "objects": [{**known, "obj_coord": [0.3, 0.1, 0.1, 0.2]}]})
    (data.folder / "Annotations_train" / "P0002_0003.json").write_text("<html>")
    data.pictures("Images_train/P0002_0001.png")
    (found,) = data.read("vrsbench")
    assert (found.task, found.targets.boxes[0].label, found.targets.boxes[0].points) == (
        "facts", "small vehicle", ((0.1, 0.1), (0.3, 0.1), (0.3, 0.2), (0.1, 0.2)),
    )  # fmt: skip
    assert found.meta["questions"] == [{"question": "How many?", "answer": "1"}]
    assert [where for where, _ in data.told] == ["P0002_0002.json", "P0002_0003.json"]


def test_skyeye_968k(data: Set) -> None:
    data.json("caption/caption_UCM_train.json", [{"image": "1.tif", "text": "A port."}])
    data.json("vqa/UCMvqa.json", [{"image": "1.tif", "text": "[vqa] How many?", "ground_truth": 4}, {"image": "1.tif"}])
    grounded = turns("[grounding] Describe it.", "<p>Ships</p> {<1><2><3><4>}<delim>{<5><6><7><8>}.")
    data.json("phrasegrounding/diorpg_train.json", [{"image": "1.tif", "conversations": grounded}])
    data.json("multitask_conversation/UCM_Conversa.json", [
        {"image": "1.tif", "conversations": turns("[caption] Say.", "A port.", "[refer] the ship", "{<1><2><3><4>}")}
    ])  # fmt: skip
    data.pictures("images/1.tif")
    found = {sample.task: sample for sample in data.read("skyeye_968k")}
    assert sorted(found) == ["caption", "dialogue", "grounding", "vqa"]
    assert texts(found["vqa"]) == ["How many?", "4"]
    assert [box.xyxy for box in found["grounding"].targets.boxes] == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert texts(found["caption"])[1] == "A port."
    assert [where for where, _ in data.told] == ["row 1 of UCMvqa.json"]


def test_lhrs_instruct(data: Set) -> None:
    talk = [{"Question": "Describe.", "Answer": "A town."}, {"Question": "Why?", "Answer": "Roads."}]
    data.json("OSM.json", {"data": [
        {"filename": "a_7.1", "conv": talk},
        {"filename": ["b.jpg"], "conv": {"Question": "[CLS] Which?", "value": "port"}},
        {"filename": "a_7.1", "conv": []},
    ]})  # fmt: skip
    data.json("RSVG.json", [
        {"img": "b.jpg", "question": "[VG] the bridge", "answer": "[0.10,0.20,0.30,0.40]"},
        {"img": "b.jpg", "question": "[DET] the bridge", "answer": "<bbox>[0.10,0.20,0.30,0.40]</bbox>"},
        {"img": "b.jpg", "question": "[VG] the bridge", "answer": "[0.50,0.20,0.30,0.40]"},
        {"question": "[VG] the bridge", "answer": "[0.10,0.20,0.30,0.40]"},
    ])  # fmt: skip
    data.pictures("OSM_Image/a_7.1.jpg", "OSM_Image/b.jpg", "RSVG_Image/b.jpg")
    found = data.read("lhrs_instruct")
    assert [sample.task for sample in found] == ["dialogue", "scene_class", "referring", "referring"]
    assert texts(found[0]) == ["Describe.", "A town.", "Why?", "Roads."]
    assert {box.xyxy for sample in found[2:] for box in sample.targets.boxes} == {(0.1, 0.2, 0.3, 0.4)}
    assert [where for where, _ in data.told] == [
        "row 2 of data of OSM.json",
        "row 2 of RSVG.json",
        "row 3 of RSVG.json",
    ]


def test_fusioneo(data: Set) -> None:
    rows = [
        {"image": "a.png", "conversations": turns("<image>\nWhat do both show?", "A port.")},
        {"image": "b.png", "conversations": turns("<image>\nWhat?", "A port.")},
        {"image": "a.png", "conversations": turns("<image>", "A port.")},
    ]
    data.json("pair_data/train/final_all.json", rows)
    data.pictures(*(f"pair_data/train/{name}" for name in ("rgb/img/a.png", "sar/img/a.png", "rgb/img/b.png")))
    (found,) = data.read("fusioneo")
    assert found.meta["image_roles"] == ["optical", "sar"]
    assert [part.image for part in found.messages[0].content if part.type == "image"] == [0, 1]
    assert texts(found) == ["What do both show?", "A port."]
    assert len(data.told) == 2


def rle(*runs: int) -> dict[str, object]:
    return to_coco(Mask("pixel", rle=runs, shape_px=(2, 4)))


def test_terra_cot(data: Set) -> None:
    said = turns("<image>\nHow much water?", "<think>Water [SEG] and trees [SEG].</think><answer>B</answer>")
    rows = [
        {"image": "a.png", "conversations": said, "masks": [[rle(0, 2, 6), rle(6, 2)], [rle(3, 5)]]},
        {"image": "a.png", "conversations": said, "masks": [[rle(0, 2, 6)]]},
        {"image": "a.png", "conversations": said, "masks": [[{"size": [2, 4], "counts": [3]}], [rle(3, 5)]]},
        {"image": "a.png", "conversations": turns("<image>\nHow much?", "None.")},
        {"image": "a.png", "conversations": said, "masks": [None, [None]]},
    ]
    data.json("train_json/chatearthnet_vqa.json", rows)
    dates = turns("<image>\nWhat changed?", "Houses [SEG] became [SEG] roads.")
    data.json("train_json/disaster.json", [
        {"pre_image": "a.png", "post_image": "b.png", "conversations": dates, "masks": [rle(0, 8), None]}
    ])  # fmt: skip
    data.json("train_json/x_sar_rgb.json", [{"image": "a.png", "conversations": turns("<image>\nWhat?", "Water.")}])
    data.pictures("s2/a.png", "images/b.png", "s1/a.png")
    masked, plain, changed, pair = data.read("terra_cot")
    assert [mask.rle for mask in masked.targets.masks] == [(0, 2, 4, 2), (3, 5)]
    assert (masked.meta["final"], plain.targets.answer) == ("B", "None.")
    assert [part.text for part in masked.messages[1].content] == [step["text"] for step in masked.meta["steps"]]
    assert [step["mask"] for step in masked.meta["steps"]] == [0, 1, None]
    assert masked.meta["steps"][0]["text"] == "<think>Water "
    assert masked.targets.answer == "<think>Water and trees.</think><answer>B</answer>"
    assert changed.meta["image_roles"] == ["before", "after"]
    assert [int(mask.to_array().sum()) for mask in changed.targets.masks] == [8, 0]
    assert pair.meta["image_roles"] == ["optical", "sar"]
    assert [where.split()[1] for where, _ in data.told] == ["1", "2", "4"]


# ---------------------------------------------------------------- what a broken file does to a source


def spoil(text: str) -> Iterator[str]:
    yield text[: len(text) // 2 - 10]
    yield "<html>404</html>"
    yield ""
    yield "[]"
    yield "{}"


@pytest.mark.parametrize("place", range(5))
def test_a_spoilt_file_is_told_of_or_a_data_error(place: int, data: Set) -> None:
    rows = [{"image": "a.png", "conversations": turns("<image>\nWhat?", "A port.")} for _ in range(4)]
    data.pictures("images/a.png")
    (data.folder / "GeoChat_Instruct.json").write_text(list(spoil(json.dumps(rows)))[place])
    try:
        found = data.read("geochat_instruct")
    except DataError as error:
        assert "GeoChat_Instruct.json" in str(error)
        return
    assert len(found) == (1 if place == 0 else 0)
    assert bool(data.told) == (place == 0)
