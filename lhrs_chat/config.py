"""Strict YAML <-> dataclass: the field's type decides, and whatever does not fit is an error that says where.

A section that a file leaves out, or states in part, keeps the defaults of its field. A dict or a list in a file
replaces the default whole. `extends: name` starts from another file in the same folder (one level), merged section by
section.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from lhrs_chat.errors import ConfigError
from lhrs_chat.plugins import nearest

T = TypeVar("T")

_NUMBER = re.compile(r"[-+]?(\d+(_\d+)*\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_OVERRIDE = re.compile(r"""(?P<path>(?:"[^"]*"|[^."=]+)(?:\.(?:"[^"]*"|[^."=]+))*)=(?P<value>.*)""", re.DOTALL)
_KEY = re.compile(r'"[^"]*"|[^."=]+')
_NONE = type(None)


class _Raw(str):
    """The right side of an override, not yet read: the field's type says how."""


class _Patch(dict[str, Any]):
    """A mapping made by overrides alone: it changes the default instead of replacing it."""


class _Loader(yaml.SafeLoader):
    """PyYAML without its readings of 12:30 as 750 and of 2024-05-01 as a date; a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a dict, refusing a key that is already there."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """PyYAML, putting in quotes every text that PyYAML or our reading would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a list that stands in two fields twice, without anchors."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Escape the line ends beyond newline, which plain and single-quoted YAML would fold into spaces."""
        style = '"' if any(end in data for end in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


_TIME = "tag:yaml.org,2002:timestamp"
_PLAIN = {
    "tag:yaml.org,2002:int": re.compile(r"([-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*))$", re.ASCII),
    "tag:yaml.org,2002:float": re.compile(
        r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
        re.ASCII,
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, _PLAIN.get(tag, pattern)) for tag, pattern in pairs if tag != _TIME]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Dumper.yaml_implicit_resolvers = {
    first: [*pairs, *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first, pairs in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


def load_yaml(path: Path, cls: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a YAML file into a dataclass.

    Args:
        path: the file; its `extends: name` names a file beside it.
        cls: the dataclass to fill.
        overrides: `section.field=value`, read by the field's type; a key with a dot is quoted: `lr."bridge.*"=1e-4`.

    Raises:
        ConfigError: the file is missing or no YAML mapping, or a key or value does not fit `cls`.
    """
    path = Path(path)
    data = _read(path)
    parent = data.pop("extends", None)
    if parent is not None:
        data = _merge(cls, _read_parent(path, parent), data)
    for override in overrides:
        _apply(data, override)
    return cast(T, _build(cls, data, f"{path.name}:", None))


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Fill a dataclass from a mapping, checking every key and value.

    Args:
        cls: the dataclass.
        data: its fields by name.
        where: what stands before the field's name in an error.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type.
    """
    return cast(T, _build(cls, data, where, None))


def to_dict(obj: Any) -> dict[str, Any]:
    """Turn a dataclass into plain dicts, lists, strings and numbers, such that `from_dict` gives it back.

    Raises:
        ConfigError: a value has no plain form (an array, for instance).
    """
    plain = _plain(obj, type(obj).__name__)
    if not isinstance(plain, dict):
        raise ConfigError("only a dataclass can be written", found=type(obj).__name__)
    return plain


def dump_yaml(obj: Any) -> str:
    """Write a dataclass as YAML, fields in their order.

    Raises:
        ConfigError: a value has no plain form.
    """
    return yaml.dump(to_dict(obj), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("this file is not UTF-8 text", found=path) from error
    except OSError as error:
        beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(
            "cannot read the file",
            found=f"{path} ({error.strerror})",
            allowed=", ".join(beside) or None,
            next_step=nearest(path.name, beside),
        ) from error
    data = _parse(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping of names to values", found=type(data).__name__)
    return data


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where} is not valid YAML", found=str(error)) from error


def _read_parent(path: Path, parent: object) -> dict[str, Any]:
    if not isinstance(parent, str) or parent != Path(parent).name or parent in ("", ".", ".."):
        raise ConfigError(f"{path.name}: extends names a file of the same folder", found=parent, allowed="a file name")
    file = path.with_name(parent if parent.endswith((".yaml", ".yml")) else f"{parent}.yaml")
    data = _read(file)
    if "extends" in data:
        raise ConfigError(
            f"{path.name}: extends goes one level",
            found=f"{path.name} -> {file.name} -> {data['extends']}",
            next_step=f"write what {file.name} takes from {data['extends']} into {file.name}",
        )
    return data


def _merge(cls: Any, parent: dict[str, Any], child: dict[str, Any]) -> dict[str, Any]:
    """Put `child` over `parent`: sections field by field, anything else whole."""
    merged = dict(parent)
    hints = _hints(cls)
    for key, value in child.items():
        section = _section(hints.get(key))
        below = merged.get(key)
        if section is not None and isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merge(section, below, value)
        else:
            merged[key] = value
    return merged


def _apply(data: dict[str, Any], override: str) -> None:
    """Put one `a.b=c` into `data`."""
    match = _OVERRIDE.fullmatch(override)
    if match is None:
        raise ConfigError("an override is name=value", found=override, allowed='section.field=value, a."b.c"=value')
    keys = [key.strip('"') for key in _KEY.findall(match["path"])]
    place = data
    for depth, key in enumerate(keys[:-1], start=1):
        if place.get(key) is None:
            place[key] = _Patch()
        place = place[key]
        if not isinstance(place, dict):
            raise ConfigError(
                f"{'.'.join(keys[:depth])} is not a section, so {override!r} has no place",
                found=place,
                next_step=f"set it whole: {'.'.join(keys[:depth])}=...",
            )
    place[keys[-1]] = _Raw(match["value"])


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def _section(hint: Any) -> Any:
    """Return the dataclass in `hint` (also in `X | None`), or None."""
    arms = [hint, *get_args(hint)] if get_origin(hint) in (Union, types.UnionType) else [hint]
    return next((arm for arm in arms if isinstance(arm, type) and dataclasses.is_dataclass(arm)), None)


def _join(where: str, key: object) -> str:
    if not where:
        return str(key)
    return f"{where} {key}" if where.endswith(":") else f"{where}.{key}"


def _build(cls: Any, data: object, where: str, start: Any) -> Any:
    """Fill `cls` from `data`; fields that are not told come from `start`, else from the class."""
    if not isinstance(data, Mapping):
        raise _wrong(where, data, f"a mapping with the fields of {cls.__name__}")
    hints = _hints(cls)
    for key in data:
        if key not in hints:
            raise ConfigError(
                f"{_join(where, key)} is not a field of {cls.__name__}",
                found=key,
                allowed=", ".join(hints),
                next_step=nearest(str(key), list(hints)),
            )
    values: dict[str, Any] = {}
    missing = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        default = getattr(start, field.name) if start is not None else _default(field)
        if field.name in data:
            values[field.name] = _convert(hints[field.name], data[field.name], _join(where, field.name), default)
        elif default is dataclasses.MISSING:
            missing.append(field.name)
        else:
            values[field.name] = default
    if missing:
        raise ConfigError(
            f"{where or cls.__name__} lacks {', '.join(missing)}", found=", ".join(map(str, data)) or "nothing"
        )
    return cls(**values)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _wrong(where: str, value: object, allowed: str) -> ConfigError:
    step = ""
    if isinstance(value, bool) and "text" in allowed:
        step = "YAML reads yes, no, on, off, true and false as a switch: put the word in quotes"
    elif isinstance(value, int | float) and "text" in allowed:
        step = "put it in quotes"
    return ConfigError(f"{where or 'the value'} does not fit", found=f"{value!r}", allowed=allowed, next_step=step)


def _name(hint: Any) -> str:
    known = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "text (a path)"}
    if hint is _NONE:
        return "null"
    if get_origin(hint) is Literal:
        return ", ".join(f"text {arg!r}" if isinstance(arg, str) else repr(arg) for arg in get_args(hint))
    return known.get(hint) or (hint.__name__ if isinstance(hint, type) else str(hint))


def _convert(hint: Any, value: Any, where: str, start: Any = None) -> Any:
    """Turn `value` into what `hint` asks for, or raise."""
    kind = type(value)
    if kind is hint and (kind is str or kind is bool or (kind is float and math.isfinite(value))):
        return value  # most values of most rows
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(hint, value, where, start)
    if isinstance(value, _Raw):
        if hint in (str, Path):
            return hint(str(value))
        if origin is Literal and str(value) in get_args(hint):
            return str(value)
        value = _parse(value, where)
    if hint is Any or hint is object:
        return value
    if origin is Literal:
        for arg in get_args(hint):
            if type(arg) is type(value) and arg == value:
                return arg
        raise _wrong(where, value, _name(hint))
    if origin in (list, tuple, Sequence):
        return _convert_row(hint, value, where)
    if origin in (dict, Mapping):
        return _convert_dict(hint, value, where, start)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return (
            value if isinstance(value, hint) else _build(hint, value, where, start if isinstance(start, hint) else None)
        )
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    """Convert to bool, a number, text, a path, or check that `value` is a `hint` already."""
    if hint in (int, float) and not isinstance(value, bool):
        number = _number(value)
        if number is not None and hint is float:
            return float(number)
        if isinstance(number, float) and number.is_integer():
            return int(number)
        value = value if number is None else number
    if hint is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise _wrong(where, value, _name(hint))
    return value


def _number(value: object) -> int | float | None:
    """Read a number, also one written as text; None when it is none or beyond what a float holds."""
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text) is None or len(text) > 300:
            return None
        number = int(text) if text.lstrip("+-").isdecimal() else float(text)
        return number if math.isfinite(number) else None
    if isinstance(value, int):
        return value if abs(value) < 10**300 else None
    return value if isinstance(value, float) else None


def _convert_union(hint: Any, value: Any, where: str, start: Any) -> Any:
    arms = get_args(hint)
    if isinstance(value, _Raw):
        if _NONE in arms and value.strip() in ("null", "~"):
            return None
        if [arm for arm in arms if arm is not _NONE] != [str]:
            parsed = _parse(value, where)
            value = value if isinstance(parsed, str) else parsed
    if value is None and _NONE in arms:
        return None
    arms = tuple(arm for arm in arms if arm is not _NONE)
    exact = [arm for arm in arms if type(value) is (get_origin(arm) or arm)]
    errors = []
    for arm in (*exact, *(arm for arm in arms if arm not in exact)):
        try:
            return _convert(arm, value, where, start)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    raise _wrong(where, value, " or ".join(_name(arm) for arm in arms))


def _convert_row(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, "a list: [a, b]")
    fixed = origin is tuple and not (len(args) == 2 and args[1] is Ellipsis)
    if fixed and len(value) != len(args):
        raise _wrong(where, value, f"a list of {len(args)} values")
    kinds = args if fixed else (args[0],) * len(value)
    row = [_convert(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True))]
    return row if origin is list else tuple(row)


def _convert_dict(hint: Any, value: Any, where: str, start: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "a mapping of names to values")
    filled = dict(start) if isinstance(value, _Patch) and isinstance(start, Mapping) else {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _wrong(f"a key of {where}", key, "text")
        filled[key] = _convert(get_args(hint)[1], item, _join(where, key), filled.get(key))
    return filled


def _plain(value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value) if f.init
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ConfigError(
        f"{where} has no plain form", found=type(value).__name__, allowed="text, numbers, lists, mappings"
    )
