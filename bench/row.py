"""One measured line, and the table of all."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measurement. `passed` is None where no target is set."""

    what: str
    ours: str
    against: str
    ratio: float | None
    target: str
    passed: bool | None
    remark: str = ""


def table(rows: Sequence[Row]) -> str:
    """A Markdown table with the machine under it."""
    lines = [
        "| measured | ours | against | ratio | target | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = {True: "pass", False: "FAIL", None: ""}[row.passed]
        lines.append(f"| {row.what} | {row.ours} | {row.against} | {ratio} | {row.target} | {verdict} |")
    remarks = [f"- {row.what}: {row.remark}" for row in rows if row.remark]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {platform.system()}."
    return "\n".join([*lines, "", *remarks, *([""] if remarks else []), machine]) + "\n"
