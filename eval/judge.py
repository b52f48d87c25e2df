"""A model's opinion of free-text answers: a column beside the rule-based score, never in its place."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lhrs_chat.errors import DataError
from lhrs_chat.schema import Message
from lhrs_chat.text import answers

from .benchmarks import REAL, Question
from .cache import generate, key_of, open_cache
from .estimates import Estimate, cells_of, estimate, image_of, jackknife, score_cell
from .runs import ScoredRun

if TYPE_CHECKING:
    from lhrs_chat.models.backends import Backend, Request

log = logging.getLogger(__name__)

TEMPLATE = """You check an answer to a question about a picture taken from above. You do not see the picture.

Question:
{question}

What is true, one way to say it in each line:
{truth}

Answer to check:
{answer}

Does the answer to check say what is true, and nothing that contradicts it? Reply with yes or no only."""
PROMPT_SHA256 = hashlib.sha256(TEMPLATE.encode()).hexdigest()
BATCH = 16
MAX_NEW_TOKENS = 512

Verdicts = Mapping[str, bool | None]
"""What the judge said by question id; None where it said neither yes nor no. Blank answers are not in it."""


def is_free(question: Question) -> bool:
    """Whether the true answer is free text: no option, number, box or mask."""
    targets = question.targets
    closed = targets.choices or targets.numbers or targets.boxes or targets.masks
    return bool(targets.answer or targets.captions) and not closed


def make_request(question: Question, answer: str) -> Request:
    """What the judge is asked about one answer; greedy, without the picture."""
    from lhrs_chat.models.backends import Request

    targets = question.targets
    true = "\n".join(dict.fromkeys(text for text in (targets.answer, *targets.captions) if text))
    text = TEMPLATE.format(question=question.text, truth=true, answer=answer)
    return Request(messages=(Message.of("user", text),), max_new_tokens=MAX_NEW_TOKENS)


def ask(backend: Backend, requests: Mapping[str, Request], cache: Path | None) -> Verdicts:
    """Ask the judge what it was not asked before.

    Args:
        backend: the judge.
        requests: by question id.
        cache: file of the answers that runs share; None asks everything anew.

    Raises:
        DataError: the cache cannot be used.
        LhrsError: the judge cannot be asked; what it said so far is in the cache.
    """
    verdicts: dict[str, bool | None] = dict.fromkeys(requests)
    with ExitStack() as stack:
        store = None if cache is None else stack.enter_context(open_cache(cache))
        todo = []
        for name, request in requests.items():
            found = None if store is None else store.get(key_of(backend, request), 0)
            if found is None:
                todo.append(name)
            else:
                verdicts[name] = answers.yes_no(found.text)
        log.info("judge %s: %d answers from the cache, %d to ask", backend.name, len(requests) - len(todo), len(todo))
        for start in range(0, len(todo), BATCH):
            batch = todo[start : start + BATCH]
            for done in generate(backend, [requests[name] for name in batch], store):
                verdicts[batch[done.request]] = answers.yes_no(done.text)
    return verdicts


def judge(run: ScoredRun, backend: Backend, cache: Path | None) -> dict[str, Any]:
    """Have the free-text answers to the real pictures judged, ready for JSON.

    Raises:
        DataError: no free text was answered, or the cache cannot be used.
        LhrsError: the judge cannot be asked.
    """
    asked = [run.asks[key].question for key in run.records if key[1] == REAL and is_free(run.asks[key].question)]
    if not asked:
        raise DataError(
            "there is nothing to judge: no stored answer to a real picture is free text",
            found=run.folder,
            next_step="score it without --judge",
        )
    said = {question.id: run.records[question.id, REAL].text for question in asked}
    verdicts = ask(backend, {q.id: make_request(q, said[q.id]) for q in asked if said[q.id].strip()}, cache)
    rows = [
        _row(run, name, cell, verdicts) for cell in cells_of(asked).values() for name in run.data.benchmark.protocols
    ]
    return {
        "model": backend.name,
        "weights_sha256": backend.weights_sha256,
        "prompt_sha256": PROMPT_SHA256,
        "rows": rows,
        "verdicts": dict(verdicts),
    }


def _row(run: ScoredRun, name: str, asked: Sequence[Question], verdicts: Verdicts) -> dict[str, Any]:
    """One set and task under one protocol: the rule-based score, the judge's, and how far they agree."""
    protocol, first = run.data.benchmark.protocols[name], asked[0]
    metric = protocol.main.get(first.task, "")
    scored = score_cell(name, protocol, {REAL: list(asked)}, run.records)[REAL]
    values = {question: own[metric] for question, own in scored.items() if metric in own}
    both = [q for q in asked if verdicts.get(q.id) is not None] if metric == "accuracy" else []

    def agree(part: Sequence[Question]) -> dict[str, float]:
        return {"kappa": kappa([bool(verdicts[q.id]) for q in part], [values[q.id] >= 1 for q in part])}

    return {
        "protocol": protocol.id,
        "subset": first.subset,
        "task": first.task,
        "metric": metric,
        "score": _told(_mean([values[q.id] for q in asked], asked)) if len(values) == len(asked) else None,
        "judged": _told(_mean([float(verdicts.get(q.id) is True) for q in asked], asked)),
        "questions": len(asked),
        "blank": sum(q.id not in verdicts for q in asked),
        "unreadable": sum(q.id in verdicts and verdicts[q.id] is None for q in asked),
        "compared": len(both),
        "agreement": _told(_mean([float(verdicts[q.id] == (values[q.id] >= 1)) for q in both], both)),
        "kappa": _told(jackknife(agree, both).get("kappa")),
    }


def _mean(values: Sequence[float], questions: Sequence[Question]) -> Estimate | None:
    return estimate(values, [image_of(question) for question in questions]) if values else None


def _told(found: Estimate | None) -> dict[str, Any] | None:
    """An estimate for JSON, without what is not defined."""
    if found is None or math.isnan(found.mean):
        return None
    return asdict(replace(found, stderr=None) if found.stderr is not None and math.isnan(found.stderr) else found)


def kappa(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Agreement of two judges beyond chance (Cohen, 1960); nan where both say one and the same thing throughout."""
    first, second = np.array(one, dtype=float), np.array(other, dtype=float)
    chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    return float((np.mean(first == second) - chance) / (1 - chance)) if chance < 1 else math.nan
