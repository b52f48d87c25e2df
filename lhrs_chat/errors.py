"""Every error a user can cause: what went wrong, the value found, what is allowed, what to do next."""

from __future__ import annotations


class LhrsError(Exception):
    """A user's error. The command line prints it without a traceback and exits with code 2.

    Args:
        what: the sentence that says what is wrong.
        found: the value that was met.
        allowed: the values that would have been taken.
        next_step: what the user can do now.
    """

    def __init__(self, what: str, *, found: object = None, allowed: object = None, next_step: str = "") -> None:
        self.what = what
        self.found = found
        self.allowed = allowed
        self.next_step = next_step
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.what]
        if self.found is not None:
            parts.append(f"found: {self.found}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.next_step:
            parts.append(f"next: {self.next_step}")
        return "\n  ".join(parts)


class ConfigError(LhrsError):
    """A recipe, preset or override that cannot be read."""


class RasterError(LhrsError):
    """An image that cannot be opened or holds nothing to look at."""


class GeoError(LhrsError):
    """A coordinate, frame or reference system that does not fit."""


class WeightsError(LhrsError):
    """Weights that are missing, damaged or not those that were expected."""


class DataError(LhrsError):
    """A data row or data set that does not hold what it should."""


class MissingExtraError(LhrsError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}",
            found="not installed",
            next_step=f"pip install 'lhrs_chat[{extra}]'",
        )
