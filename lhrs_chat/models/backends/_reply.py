"""One answer of a chat completion, put together from what a server sends."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lhrs_chat.models.backends._server import PASSING, Fault, malformed

_AROUND = " \n\t.,:;()[]*\"'"  # signs around a choice that do not belong to it


@dataclass
class Reply:
    """What has come of one answer."""

    said: str = ""
    thought: bool = False
    ended: str = ""  # why it ended; empty as long as it goes on
    chances: list[float] = field(default_factory=list)
    first: dict[str, float] = field(default_factory=dict)  # probability of what could have stood first
    tokens: int = 0
    pieces: int = 0

    @property
    def text(self) -> str:
        """What was said, without half a character or blanks that may be the last."""
        whole = self.said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return (whole if self.ended else whole.rstrip("\ufffd")).strip()

    @property
    def confidence(self) -> float:
        """Mean probability of the tokens, nan where the server tells none."""
        return sum(self.chances) / len(self.chances) if self.chances else math.nan

    @property
    def counted(self) -> int:
        """How many tokens it has; the pieces that came where the server does not tell."""
        return self.tokens or len(self.chances) or self.pieces

    def take(self, event: dict[str, Any]) -> None:
        """Add one object of the server's answer.

        Raises:
            Fault: it is an error, or no part of a chat completion.
        """
        if event.get("error") or event.get("object") == "error":
            raise _reported(event)
        try:
            for choice in event["choices"][:1]:
                self._add(choice)
            if event.get("usage"):
                self.tokens = int(event["usage"]["completion_tokens"])
        except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise malformed(json.dumps(event)) from error

    def _add(self, choice: dict[str, Any]) -> None:
        message = choice.get("delta") or choice.get("message") or {}
        words = message.get("content") or message.get("refusal") or ""
        self.said += words
        self.pieces += bool(words)
        self.thought |= bool(message.get("reasoning_content") or message.get("reasoning"))
        for token in (choice.get("logprobs") or {}).get("content") or []:
            if not self.chances:
                self.first = {row["token"]: math.exp(row["logprob"]) for row in token.get("top_logprobs") or []}
            self.chances.append(math.exp(token["logprob"]))
        self.ended = choice.get("finish_reason") or self.ended


def weigh(choices: Sequence[str], first: dict[str, float]) -> dict[str, float]:
    """Weigh choices by what could have stood first, {} where that does not decide.

    Args:
        choices: what was to be chosen from.
        first: probability of tokens at the beginning of the answer. One that begins several choices speaks for none.
    """
    weights = dict.fromkeys(choices, 0.0)
    shared = 0.0
    for token, chance in first.items():
        begun = token.strip(_AROUND).casefold()
        fitting = [choice for choice in choices if begun and choice.strip(_AROUND).casefold().startswith(begun)]
        if len(fitting) == 1:
            weights[fitting[0]] += chance
        elif fitting:
            shared += chance
    total = sum(weights.values())
    return {choice: weight / total for choice, weight in weights.items()} if total > shared else {}


def _reported(event: dict[str, Any]) -> Fault:
    """Read an error that came instead of an answer; passing unless its code says that the request is wrong."""
    error = event.get("error") or event
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) else 0
    said = error.get("message") if isinstance(error, dict) else error
    return Fault(
        "reported an error",
        found=str(said or json.dumps(event)),
        passing=not 400 <= status < 500 or status in PASSING,
        status=status,
        body=json.dumps(event),
    )
