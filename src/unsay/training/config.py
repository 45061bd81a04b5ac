"""Training configurations: a YAML file read strictly into a dataclass."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, TypeVar

import yaml

from unsay.errors import BadInput

C = TypeVar("C")


def load_config(path: str | os.PathLike[str], kind: type[C]) -> C:
    """Read the YAML file `path` into the dataclass `kind`; keys it leaves out keep their defaults.

    Nested dataclasses are nested mappings. Raises `BadInput` for a file that cannot be read, an unknown key, or a
    value of another type than the field's default.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"cannot read the configuration {path}: {error}") from error
    return _build(values or {}, kind, str(path))


def config_from(values: Any, kind: type[C], where: str) -> C:
    """The dataclass `kind` from the mapping `values` (as kept in a checkpoint); errors name `where`."""
    return _build(values, kind, where)


def _build(values: Any, kind: type[C], where: str) -> C:
    if not isinstance(values, dict):
        raise BadInput(f"{where}: expected keys and values, found {values!r}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise BadInput(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    template = kind()
    return kind(**{name: _convert(v, getattr(template, name), f"{where}: {name}") for name, v in values.items()})


def _convert(value: Any, default: Any, where: str) -> Any:
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return _build(value, type(default), where)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if default is not None and type(value) is not type(default):
        raise BadInput(f"{where} is {value!r}; expected {type(default).__name__}, such as {default!r}")
    return value
