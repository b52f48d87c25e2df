"""A folder is a registry: the file name is the public name, and listing imports nothing."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Generic, TypeVar

from lhrs_chat.errors import ConfigError

T = TypeVar("T")


def nearest(word: str, known: list[str]) -> str:
    """Return 'did you mean X?' for the closest known word, or an empty string."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else ""


@dataclass(frozen=True)
class Folder(Generic[T]):
    """The plug-ins of one package folder: one file each, found by file name.

    Args:
        package: dotted name of the folder, e.g. `lhrs_chat.models.bridges`.
        symbol: the name every file must define, e.g. `BRIDGE`.
        contract: the type that symbol must have.
    """

    package: str
    symbol: str
    contract: type[T]

    def names(self) -> list[str]:
        """List the public names without importing any of the files."""
        spec = find_spec(self.package)
        if spec is None or spec.submodule_search_locations is None:
            raise ConfigError("no such plug-in folder", found=self.package)
        found = pkgutil.iter_modules(spec.submodule_search_locations)
        return sorted(module.name for module in found if not module.name.startswith("_"))

    def get(self, name: str) -> T:
        """Import one file and return its symbol.

        Raises:
            ConfigError: the name is not in the folder, or the file breaks the contract.
        """
        module = None if name.startswith("_") else sys.modules.get(f"{self.package}.{name}")
        names = self.names() if module is None else [name]  # a folder is looked through once for each of its files
        if name not in names:
            raise ConfigError(
                f"{self.package} has no {name!r}",
                found=name,
                allowed=", ".join(names),
                next_step=nearest(name, names),
            )
        if module is None:
            module = importlib.import_module(f"{self.package}.{name}")
        plugin = getattr(module, self.symbol, None)
        if not isinstance(plugin, self.contract):
            raise ConfigError(
                f"{module.__name__} must define {self.symbol}",
                found=type(plugin).__name__,
                allowed=self.contract.__name__,
            )
        return plugin
