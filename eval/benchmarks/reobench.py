"""REOBench: the captions, boxes and questions of VRSBench on corrupted pictures, one set for each kind and severity.

Read are the question files of VRSBench and one folder of pictures for each corruption, `NAME_LEVEL` or `NAME/LEVEL`,
beside `clean`. The scorers are those of VRSBench; the drop is the difference between a set and `clean`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lhrs_chat.errors import DataError
from lhrs_chat.formats.rows import Pictures

from . import Benchmark, Passport, Question, vrsbench
from ._reading import checked, finder

LOCATION = "Hugging Face data set xiang709/REOBench, question files of xiang709/VRSBench beside its folders of pictures"
CLEAN = "clean"
CORRUPTIONS = (
    *("brightness_contrast", "clouds", "compression_artifacts", "gaps", "gaussian_blur", "gaussian_noise", "haze"),
    *("motion_blur", "salt_and_pepper_noise", "rotate", "scale_image", "translate_image"),
)
GEOMETRIC = ("rotate", "scale_image", "translate_image")
LEVELS = range(1, 6)


def load(folder: Path) -> list[Question]:
    """All questions for every folder of pictures; boxes are not asked for in pictures that were moved.

    Raises:
        DataError: there is no folder of pictures, a row is broken, a picture is missing.
    """
    questions = []
    for subset, corruption, images in _sets(folder):
        for question in vrsbench.read(folder, Pictures([images])):
            if question.targets.boxes and corruption in GEOMETRIC:
                continue
            questions.append(replace(question, id=f"{subset}/{question.id}", subset=subset, same_as=question.id))
    return checked(questions, folder)


def _sets(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, corruption and folder of every set of pictures."""
    found = [(CLEAN, "", folder / CLEAN)] if (folder / CLEAN).is_dir() else []
    for corruption in CORRUPTIONS:
        for level in LEVELS:
            for place in (folder / f"{corruption}_{level}", folder / corruption / str(level)):
                if place.is_dir():
                    found.append((f"{corruption}:{level}", corruption, place))
    if not found:
        raise DataError(
            "there is no folder of pictures here",
            found=folder,
            allowed=f"{CLEAN}, {CORRUPTIONS[0]}_1, {CORRUPTIONS[0]}/1",
        )
    yield from found


BENCHMARK = Benchmark(
    name="reobench",
    summary="VRSBench on pictures with twelve corruptions at five severities",
    find=finder("reobench", vrsbench.FILES, LOCATION),
    load=load,
    passport=Passport(
        location=LOCATION,
        annotation_licence="CC-BY-4.0; those of VRSBench: see there",
        imagery_licence="CC-BY-4.0; made from pictures of VRSBench, that is DOTA and DIOR",
        changes=(
            "The folder names of the published archive could not be seen; the names here are those of its scripts.",
            "Its parts on DIOR (oriented detection) and Potsdam (land cover maps) hold no questions: detectors and "
            "segmenters are scored on them; they are not read.",
            "The folders of its part on AID, as its scripts read them, need not be the archive's; it is not read: "
            "run scene_classification on AID with --corrupt all.",
        ),
    ),
    protocols={
        name: replace(protocol, id=protocol.id.replace("vrsbench", "reobench"))
        for name, protocol in vrsbench.BENCHMARK.protocols.items()
    },
    reference=CLEAN,
)
