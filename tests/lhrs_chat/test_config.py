from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lhrs_chat.config import dump_yaml, from_dict, load_yaml, to_dict
from lhrs_chat.errors import ConfigError
from lhrs_chat.schema import Box, Image, Message, Number, Sample, Targets


@dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    """Learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the two moments."""
    per_part: dict[str, float] = field(default_factory=dict)
    """Learning rate by parameter pattern."""


@dataclass(frozen=True)
class Data:
    mix: dict[str, int] = field(default_factory=lambda: {"rsvqa": 1})
    """Weight of each source."""
    root: Path = Path("data")
    """Folder of the data."""


@dataclass(frozen=True)
class Recipe:
    name: str
    """What the run is called."""
    steps: int = 10
    """Updates."""
    mode: Literal["on", "off", 3] = "on"
    """A word that YAML takes for a switch, or 3."""
    fast: bool = False
    """Skip the slow checks."""
    limit: int | None = None
    """Rows at most."""
    size: int | str = "auto"
    """Pixels or a word."""
    train: list[str] = field(default_factory=list)
    """Patterns of what is trained."""
    taps: tuple[int, ...] = ()
    """Layers that are read."""
    optim: Optim = field(default_factory=lambda: Optim(lr=0.5))
    """Optimiser."""
    data: Data = field(default_factory=Data)
    """Data."""
    second: Optim | None = None
    """Optimiser of the second phase."""
    parts: list[Optim] = field(default_factory=list)
    """Optimisers of parts."""
    extra: Any = None
    """Anything."""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    return load_yaml(write(tmp_path / "r.yaml", text), Recipe, overrides)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("optim: {lr: 1e-4}", "optim", Optim(lr=1e-4)),
        ("optim: {lr: 1}", "optim", Optim(lr=1.0)),
        ('optim: {lr: "2.5e-3"}', "optim", Optim(lr=2.5e-3)),
        ("steps: 1e3", "steps", 1000),
        ('steps: "1_000"', "steps", 1000),
        ("steps: 010", "steps", 10),
        ("limit: null", "limit", None),
        ("limit: 5", "limit", 5),
        ("size: 12", "size", 12),
        ("size: 12:30", "size", "12:30"),
        ("size: 2024-05-01", "size", "2024-05-01"),
        ("mode: 3", "mode", 3),
        ('mode: "off"', "mode", "off"),
        ("fast: yes", "fast", True),
        ("train: [a, b]", "train", ["a", "b"]),
        ("taps: [1, 2, 3]", "taps", (1, 2, 3)),
        ("data: {mix: {folder: 2}}", "data", Data(mix={"folder": 2})),
        ("data: {root: x/y}", "data", Data(root=Path("x/y"))),
        ("second: {lr: 3}", "second", Optim(lr=3.0)),
        ("parts: [{lr: 3}, {}]", "parts", [Optim(lr=3.0), Optim()]),
        ("extra: [1, {a: null}]", "extra", [1, {"a": None}]),
    ],
)
def test_values_take_the_type_of_their_field(tmp_path: Path, line: str, name: str, value: object) -> None:
    found = getattr(load(tmp_path, f"name: r\n{line}\n"), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stepz: 3", ["stepz is not a field of Recipe", "did you mean steps?"]),
        ("optim: {lrr: 3}", ["optim.lrr", "did you mean lr?"]),
        ("steps: 2.5", ["steps", "2.5", "a whole number"]),
        ("steps: true", ["steps", "True", "a whole number"]),
        ("steps: many", ["steps", "'many'"]),
        ("steps: 12:30", ["steps", "'12:30'"]),
        ("optim: {lr: true}", ["optim.lr", "a number"]),
        ('optim: {lr: "1e999"}', ["optim.lr", "a number"]),
        ("optim: {betas: [0.9]}", ["optim.betas", "a list of 2 values"]),
        ("optim: {betas: [0.9, x]}", ["optim.betas[1]", "'x'"]),
        ("optim: 3", ["optim", "a mapping with the fields of Optim"]),
        ("mode: off", ["mode", "False", "put the word in quotes"]),
        ("mode: true", ["mode", "quotes"]),
        ("mode: fast", ["mode", "'on'", "'off'", "3"]),
        ("fast: 1", ["fast", "true or false"]),
        ("fast: maybe", ["fast", "true or false"]),
        ("limit: [1]", ["limit", "a whole number"]),
        ("size: [1]", ["size", "a whole number or text"]),
        ("train: abc", ["train", "a list"]),
        ("train: [yes]", ["train[0]", "quotes"]),
        ("data: {mix: [1]}", ["data.mix", "a mapping"]),
        ("data: {mix: {no: 1}}", ["a key of r.yaml: data.mix", "quotes"]),
        ("data: {root: 3}", ["data.root", "path"]),
        ("second: 3", ["second", "a mapping"]),
        ("parts: [{lrr: 3}]", ["parts[0].lrr"]),
        ("name: again", ["not valid YAML", "twice"]),
        ("steps: null", ["steps", "None"]),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_where(tmp_path: Path, line: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"name: r\n{line}\n")
    for word in words:
        assert word in str(caught.value)
    assert "r.yaml" in str(caught.value)


def test_words_that_yaml_reads_as_switches_are_refused_for_text(tmp_path: Path) -> None:
    for word in ("no", "on", "Yes", "off", "true"):
        with pytest.raises(ConfigError, match="quotes"):
            load(tmp_path, f"name: {word}\n")
    assert load(tmp_path, 'name: "no"\n').name == "no"


def test_missing_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lacks name"):
        load(tmp_path, "steps: 3\n")
    with pytest.raises(ConfigError, match="lacks name"):
        load(tmp_path, "")


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "- 1\n- 2\n", "just words", "a: !!python/object:os.system x"])
def test_invalid_yaml_is_a_config_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)


def test_a_missing_file_names_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path / "stage1.yaml", "name: x")
    with pytest.raises(ConfigError, match=r"did you mean stage1\.yaml"):
        load_yaml(tmp_path / "stage.yaml", Recipe)
    with pytest.raises(ConfigError, match="cannot read"):
        load_yaml(tmp_path, Recipe)
    with pytest.raises(ConfigError, match="UTF-8"):
        (tmp_path / "bin.yaml").write_bytes(b"\xff\xfe\x00")
        load_yaml(tmp_path / "bin.yaml", Recipe)


def test_a_section_stated_in_part_keeps_the_defaults_of_its_field(tmp_path: Path) -> None:
    assert load(tmp_path, "name: r\noptim: {betas: [0, 0.5]}\n").optim == Optim(lr=0.5, betas=(0.0, 0.5))


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("optim.lr=1e-4", "optim", Optim(lr=1e-4)),
        ("optim.betas=[0, 1]", "optim", Optim(lr=0.5, betas=(0.0, 1.0))),
        ('optim.per_part."bridge.*"=2e-4', "optim", Optim(lr=0.5, per_part={"bridge.*": 2e-4})),
        ("data.mix.folder=3", "data", Data(mix={"rsvqa": 1, "folder": 3})),
        ("data.mix={folder: 3}", "data", Data(mix={"folder": 3})),
        ("data.root=no", "data", Data(root=Path("no"))),
        ("name=no", "name", "no"),
        ("name=a=b", "name", "a=b"),
        ("name=", "name", ""),
        ("mode=off", "mode", "off"),
        ("mode=3", "mode", 3),
        ("fast=true", "fast", True),
        ("limit=null", "limit", None),
        ("limit=7", "limit", 7),
        ("size=7", "size", 7),
        ("size=large", "size", "large"),
        ("train=[a, b]", "train", ["a", "b"]),
        ("second.lr=3", "second", Optim(lr=3.0)),
        ("extra={a: 1}", "extra", {"a": 1}),
    ],
)
def test_overrides_are_read_by_the_type_of_the_field(tmp_path: Path, override: str, name: str, value: object) -> None:
    found = getattr(load(tmp_path, "name: r\n", override), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("steps", "an override is name=value"),
        ("=3", "an override is name=value"),
        ("a..b=3", "an override is name=value"),
        ("stepz=3", "did you mean steps"),
        ("optim.lrr=3", "did you mean lr"),
        ("steps=3.5", "a whole number"),
        ("steps.more=3", "steps is not a section"),
        ("train=[a", "not valid YAML"),
        ("fast=sure", "true or false"),
    ],
)
def test_wrong_overrides(tmp_path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, "name: r\nsteps: 3\n", override)


def test_the_last_override_wins_over_file_and_parent(tmp_path: Path) -> None:
    write(tmp_path / "parent.yaml", "name: p\nsteps: 1\n")
    write(tmp_path / "child.yaml", "extends: parent\nsteps: 2\n")
    assert load_yaml(tmp_path / "child.yaml", Recipe, ["steps=3", "steps=4"]).steps == 4


def test_extends_merges_sections_and_replaces_dicts_and_lists(tmp_path: Path) -> None:
    write(
        tmp_path / "parent.yaml",
        "steps: 7\noptim: {lr: 0.1, betas: [0, 0]}\ndata: {mix: {a: 1, b: 2}}\ntrain: [x, y]\nsecond: {lr: 9}\n",
    )
    child = write(
        tmp_path / "child.yaml",
        "extends: parent\nname: c\noptim: {betas: [1, 1]}\ndata: {mix: {c: 3}}\ntrain: [z]\nsecond: null\n",
    )
    assert load_yaml(child, Recipe) == Recipe(
        name="c",
        steps=7,
        optim=Optim(lr=0.1, betas=(1.0, 1.0)),
        data=Data(mix={"c": 3}),
        train=["z"],
    )


@pytest.mark.parametrize("parent", ["../parent", "/etc/passwd", "[a]", "''", "missing"])
def test_extends_stays_in_its_folder(tmp_path: Path, parent: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, f"extends: {parent}\nname: c\n")


def test_extends_goes_one_level(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "name: a\n")
    write(tmp_path / "b.yaml", "extends: a\n")
    with pytest.raises(ConfigError, match=r"c.yaml -> b.yaml -> a"):
        load_yaml(write(tmp_path / "c.yaml", "extends: b\n"), Recipe)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
FLOAT = st.floats(allow_nan=False)
OPTIM = st.builds(Optim, lr=FLOAT, betas=st.tuples(FLOAT, FLOAT), per_part=st.dictionaries(TEXT, FLOAT, max_size=3))
RECIPE = st.builds(
    Recipe,
    name=TEXT | st.sampled_from(["no", "1e-4", "12:30", "2024-05-01", "null", "~", "0x1f", "=", "<<", "010", ".5e3"]),
    steps=st.integers(),
    mode=st.sampled_from(["on", "off", 3]),
    fast=st.booleans(),
    limit=st.none() | st.integers(),
    size=st.integers() | TEXT,
    train=st.lists(TEXT, max_size=3),
    taps=st.lists(st.integers(), max_size=3).map(tuple),
    optim=OPTIM,
    data=st.builds(Data, mix=st.dictionaries(TEXT, st.integers(), max_size=3), root=TEXT.map(Path)),
    second=st.none() | OPTIM,
    parts=st.lists(OPTIM, max_size=2),
    extra=st.none() | TEXT | FLOAT | st.lists(TEXT, max_size=2),
)


@settings(max_examples=60, deadline=None)
@given(RECIPE)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    path.write_bytes(dump_yaml(recipe).encode())
    assert load_yaml(path, Recipe) == recipe


def test_infinity_is_written_and_read(tmp_path: Path) -> None:
    text = dump_yaml(Recipe("r", optim=Optim(lr=math.inf)))
    assert load(tmp_path, text).optim.lr == math.inf


def test_the_nouns_can_be_read_and_written() -> None:
    sample = Sample(
        id="1",
        images=(Image(path="a.tif", size_px=(3, 4), bands=("red",)),),
        task="facts",
        source="made",
        licence="CC0-1.0",
        scene_id="s",
        messages=(Message.of("user", "Where?", images=(0,)),),
        targets=Targets(boxes=(Box((1.0, 2.0, 3.0, 4.0), "pixel", "ship"),), numbers=(Number(3.0, "%"),)),
        footprint=(1.0, 2.0, 3.0, 4.0),
        meta={"a": [1, 2]},
    )
    assert from_dict(Sample, to_dict(sample)) == sample
    with pytest.raises(ConfigError, match="frame"):
        from_dict(Box, {"xyxy": [0, 0, 1, 1], "frame": "inches"})


def test_what_has_no_plain_form_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Image\.array"):
        to_dict(Image(array=np.zeros((1, 2, 2))))
    with pytest.raises(ConfigError, match="dataclass"):
        to_dict([1])


def test_where_stands_before_the_name() -> None:
    with pytest.raises(ConfigError, match=r"row 3\.steps"):
        from_dict(Recipe, {"name": "r", "steps": "x"}, where="row 3")
    with pytest.raises(ConfigError, match="a mapping with the fields of Recipe"):
        from_dict(Recipe, [1])  # type: ignore[arg-type]
