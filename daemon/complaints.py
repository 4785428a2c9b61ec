"""What pydantic finds wrong in a file, told at its place and in words for whoever wrote the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from daemon.yamlfiles import Where, YamlFile, nearest

M = TypeVar("M", bound=BaseModel)


def validate(file: YamlFile, model: type[M]) -> M | None:
    """The file's values as `model`, with every complaint noted at its place; None when nothing sound is left.

    What is complained of is left out, and the rest is read again without it: so the checks that come after see all that
    is sound, and a user is told everything at once.
    """
    values = file.values if file.values is not None else {}
    left_out: set[Where] = set()
    while True:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            complaints = error.errors()
        for one in complaints:
            # What is wrong only because something in it was left out has been told.
            where = tuple(one["loc"])
            if not any(place[: len(where)] == where or place == where[: len(place)] for place in left_out):
                _complain(file, model, one)
        left_out |= {_value_at_fault(one) for one in complaints}
        if not values:
            return None
        for one in complaints:
            values = _without(values, _value_at_fault(one))


def _value_at_fault(error: Mapping[str, Any]) -> Where:
    where: Where = tuple(step for step in error["loc"] if step != "[key]")
    return where[:-1] if error["type"] == "missing" else where


def _without(values: Any, where: Where) -> dict[str, Any]:
    """`values` without what stands at a place; an entry of a list takes the list with it."""
    if not where or not isinstance(values, dict):
        return {}
    inner = values.get(str(where[0]))
    without = {key: value for key, value in values.items() if key != where[0]}
    if len(where) == 1 or not isinstance(inner, dict):
        return without
    return without | {str(where[0]): _without(inner, where[1:])}


def _complain(file: YamlFile, model: type[BaseModel], error: Mapping[str, Any]) -> None:
    where: Where = tuple(error["loc"])
    if where and where[-1] == "[key]":
        hint = "A key is made of small letters, digits, and . _ - between them."
        file.problem(where[:-1], f"{where[-2]!r} can't be a key here", hint, at_key=True)
        return
    key = str(where[-1]) if where else ""
    if error["type"] == "extra_forbidden":
        known = _fields_at(model, where[:-1])
        file.problem(where, f"unknown key {key!r}", nearest(key, known), at_key=True)
    elif error["type"] == "missing":
        file.problem(where[:-1], f"{key!r} is missing", at_key=True)
    else:
        message = error["msg"].removeprefix("Value error, ")
        message, _, hint = message.partition("\n")
        label = ".".join(map(str, where))
        file.problem(where, f"{label}: {message}" if label else message, hint.strip())


def _fields_at(model: type[BaseModel], where: Where) -> list[str]:
    """The keys that may stand at a place of the model."""
    current: Any = model
    for step in where:
        if isinstance(current, type) and issubclass(current, BaseModel):
            info = current.model_fields.get(str(step)) or next(
                (one for one in current.model_fields.values() if one.alias == step), None
            )
            current = info.annotation if info else None
        else:
            current = next(reversed(get_args(current)), None)
        while current is not None and not isinstance(current, type) and _is_optional(current):
            current = next(one for one in get_args(current) if one is not type(None))
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [info.alias or name for name, info in current.model_fields.items()]
    return []


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)
