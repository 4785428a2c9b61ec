"""What pydantic finds wrong in a file, told at its place and in words for whoever wrote the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

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
        message, hint = f"unknown key {key!r}", nearest(key, known)
        if key == "password" and (instead := known.keys() & {"password_file", "auth_file"}):
            message = "a password does not belong in here"
            hint = f"Put it into a file that only this user reads, and name it: {min(instead)}: FILE"
        file.problem(where, message, hint, at_key=True)
    elif error["type"] == "missing":
        says = " ".join((_fields_at(model, where[:-1])[key].description or "").split())
        file.problem(where[:-1], f"{key!r} is missing", f"Write {key}: {says[:1].lower()}{says[1:]}", at_key=True)
    else:
        message, hint = _said(error)
        label = ".".join(map(str, where))
        file.problem(where, f"{label}: {message}" if label else message, hint)


def _said(error: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a value, and what to write instead."""
    match error["type"]:
        case "value_error":
            message, _, hint = str(error["msg"]).removeprefix("Value error, ").partition("\n")
            return message, hint.strip()
        case "dict_type" | "model_type":
            return "holds no keys", "Write `key: …` lines indented under it."
        case "too_short":
            return "is empty", "Write one at least, or take the key out."
        case "list_type":
            return "is no list", "Write it as [one, another], or in lines that begin with -."
    if isinstance(error["input"], list | dict | None):
        return "is empty" if error["input"] is None else "must be one value", "Write it on the line of its key."
    return _said_of_one_value(error)


def _said_of_one_value(error: Mapping[str, Any]) -> tuple[str, str]:
    written = error["input"]
    match error["type"]:
        case "literal_error":
            choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            return f"unknown value {written!r}", nearest(written, choices)
        case str(type) if type.startswith("date"):
            well_written = re.fullmatch(r"\d{4}-\d\d-\d\d", written)
            return f"{written!r} is no date", "There is no such day." if well_written else "Write it as 2026-12-31."
        case "bool_parsing":
            return f"{written!r} is neither true nor false", "Write true or false."
        case "int_parsing":
            return f"{written!r} is no whole number", "Write it in digits alone."
        case "greater_than_equal":
            return f"{written} is too small", f"Write {error['ctx']['ge']} at least."
        case "less_than_equal":
            return f"{written} is too large", f"Write {error['ctx']['le']} at most."
    return str(error["msg"]), ""


def _fields_at(model: type[BaseModel], where: Where) -> dict[str, FieldInfo]:
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
        return {info.alias or name: info for name, info in current.model_fields.items()}
    return {}


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)
