"""Random checkpoints in the published layout, of any size and form, against the published steps taken one by one."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lhrs_chat.cli import main
from lhrs_chat.models import LhrsForConditionalGeneration, LhrsProcessor
from tests import checkpoints, published_model, tiny
from tests.checkpoints import Bridge

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EXAMPLES = 20


@dataclass(frozen=True)
class Case:
    """What `checkpoints.random` takes, and how it is converted."""

    system: str
    made: dict[str, Any]
    stored_as: str
    options: tuple[str, ...]
    silent: tuple[str, ...]
    """Options that say what would be taken anyhow, and are left out."""
    seed: int


@st.composite
def cases(draw: st.DrawFn, system: str) -> Case:
    nova = system == "lhrs-bot-nova"
    depth = draw(st.integers(3, 6))
    third = depth // 3
    published_taps = (third, 2 * third, depth - 1) if nova else (third - 1, 2 * third - 1, depth - 2)
    kept = draw(st.sampled_from([None, depth, depth - 1]))
    last = depth - int(nova) if kept is None else kept
    any_taps = st.lists(st.integers(0, last), min_size=1, max_size=4).map(tuple)
    taps = draw(st.one_of(st.just(published_taps), any_taps) if max(published_taps) <= last else any_taps)
    tower_heads = draw(st.sampled_from([1, 2, 3]))
    patch = draw(st.integers(3, 6))
    tower = {
        "hidden_size": tower_heads * draw(st.sampled_from([4, 8])),
        "intermediate_size": draw(st.integers(5, 30)),
        "num_hidden_layers": depth,
        "num_attention_heads": tower_heads,
        "patch_size": patch,
        "image_size": patch * draw(st.integers(2, 4)) + draw(st.integers(0, patch - 1)),
    }
    groups, key_heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    ids = 320 if nova else 360
    rows = draw(st.sampled_from([None, ids, ids + 1, ids + 2])) if nova else None
    llm = {
        "vocab_size": ids if rows is not None else ids + draw(st.integers(0, 9)),
        "hidden_size": groups * key_heads * draw(st.sampled_from([4, 8])),
        "intermediate_size": draw(st.integers(5, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": groups * key_heads,
        "num_key_value_heads": key_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": draw(st.sampled_from([10000.0, 500000.0])),
        "tie_word_embeddings": draw(st.booleans()),
        "bos_token_id": 315 if nova else 1,
        "eos_token_id": 319 if nova else 2,
    }
    heads = draw(st.sampled_from([1, 2, 4]))
    experts = draw(st.integers(0, 5)) if nova else 0
    bridge = {
        "queries": tuple(draw(st.lists(st.integers(1, 7), min_size=len(taps), max_size=len(taps)))),
        "layers": draw(st.integers(1, 3)),
        "heads": heads,
        "inner": draw(st.integers(3, 40)),
        "width": 4 * draw(st.integers(1, 6)),
        "experts": experts,
        "top_k": draw(st.integers(1, max(1, experts))),
    }
    lora = draw(st.one_of(st.none(), st.tuples(st.integers(1, 5), st.integers(1, 9))))
    parts = ("tower", "bridge", "llm", "lora")
    made = {
        "tower": tower,
        "llm": llm,
        "bridge": bridge,
        "taps": taps,
        "kept": kept,
        "head": draw(st.booleans()),
        "lora": lora,
        "rows": rows,
        "table": draw(st.booleans()),
        "storage": {part: DTYPES[draw(st.sampled_from(list(DTYPES)))] for part in parts},
        "wrapped": draw(st.sampled_from([None, "model", "module"])),
        "shards": draw(st.integers(1, 3)),
    }
    stage = ("--stage", str(draw(st.sampled_from([2, 3])) if lora else 1))
    said = stage if lora is None or draw(st.booleans()) else ()
    options = ("--adapter", draw(st.sampled_from(["merge", "keep"])), *said)
    as_published = {"--taps": taps == published_taps, "--top-k": experts > 0 and bridge["top_k"] == 2}
    silent = tuple(option for option, is_published in as_published.items() if is_published)
    return Case(system, made, draw(st.sampled_from(list(DTYPES))), options, silent, draw(st.integers(0, 99)))


@pytest.mark.parametrize("system", checkpoints.SYSTEMS)
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_any_checkpoint_of_the_layout(system: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(data.draw(cases(system)), Path(folder))


@torch.inference_mode()
def check(case: Case, folder: Path) -> None:
    torch.manual_seed(case.seed)
    checkpoint = checkpoints.random(case.system, folder / "published", **case.made)
    out = folder / "out"
    words = checkpoint.words(out, "--dtype", case.stored_as, *case.options)
    for option in case.silent:
        place = words.index(option)
        del words[place : place + 2]
    assert main(words) == 0
    model = LhrsForConditionalGeneration.from_pretrained(out, dtype=torch.float32).eval()
    processor = LhrsProcessor.from_pretrained(out)
    inputs = processor(text="river <image> bridge", images=[tiny.picture(case.seed, (31, 24))])

    made, dtype = case.made, DTYPES[case.stored_as]
    parts = {part: rounded(checkpoint.parts[part], dtype) for part in ("tower", "bridge")}
    levels = published_model.taps_of(case.system, made["tower"], parts["tower"], made["taps"], inputs["pixel_values"])
    sizes = Bridge(**made["bridge"])
    visual = published_model.visual_tokens(case.system, parts["bridge"], sizes, levels)
    torch.testing.assert_close(model.visual_tokens(inputs["pixel_values"]), visual, atol=1e-4, rtol=1e-4)

    llm, lora = checkpoint.parts["llm"], checkpoint.parts["lora"]
    rank, alpha = made["lora"] or (1, 1)
    if "keep" in case.options:
        llm, lora = rounded(llm, dtype), rounded(lora, dtype)
        state = published_model.merged(llm, lora, alpha / rank)
    else:
        state = rounded(published_model.merged(llm, lora, alpha / rank), dtype)
    rows = made["llm"]["vocab_size"] if made["lora"] is None or made["rows"] is None else made["rows"]
    assert model.config.image_token_id == len(model.get_input_embeddings().weight) == rows
    wanted = published_model.logits(made["llm"], state, inputs["input_ids"], processor.image_token_id, visual)
    torch.testing.assert_close(model(**inputs).logits, wanted, atol=1e-3, rtol=1e-3)


def rounded(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors as they come back from being stored as `dtype`."""
    return {name: tensor.to(dtype).float() for name, tensor in tensors.items()}
