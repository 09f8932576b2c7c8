"""What people are told of the keys of a file, taken from the struct that reads it.

A key's name, type, bounds and default are those of the struct's field, and its meaning is the
field's `Meta(description=...)`. So a key that is added to the struct is at once read and checked,
printed in example files, an option of the command, and a row in the documents (docs/adr/0070).
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from msgspec import inspect

NONE: Final = "none"
"""How a file or an option says that there is no such limit: TOML has no null."""

_UNITS: Final = {
    "_bytes_per_s": "bytes per second",
    "_per_s": "per second",
    "_s": "seconds",
    "_days": "days",
    "_bytes": "bytes",
}
"""The unit that the end of a key's name stands for; the first that fits."""

_LIST_OF: Final = "list of "
"""What the values of a list begin with, in words."""

_WORDS: Final = {
    inspect.BoolType: "true or false",
    inspect.NoneType: NONE,
    inspect.StrType: "text",
    inspect.IntType: "whole number",
    inspect.FloatType: "number",
}
"""The words for types of values."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a file.

    Attributes:
        name: with the tables that it is in, such as `trial.max_error_share`; `[]` after a list.
        values: what it may be, in words.
        unit: of a number, in words; empty where it has none.
        default: what counts where it is not given; `required` is set where it must be.
        meaning: one sentence or a few.
    """

    name: str
    values: str
    unit: str
    default: Any
    required: bool
    meaning: str

    @property
    def is_flag(self) -> bool:
        """Whether it is true or false."""
        return self.values == _WORDS[inspect.BoolType]

    @property
    def is_list(self) -> bool:
        """Whether it is a list of values."""
        return self.values.startswith(_LIST_OF)


def keys_of(kind: type, prefix: str = "") -> tuple[Key, ...]:
    """Give the keys of a struct in its order, those of structs in it with the key before.

    Args:
        kind: the struct.
        prefix: what the names begin with, such as `trial.`.

    Raises:
        TypeError: a field has no description.
    """
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"expected a struct, got {kind!r}")
    return tuple(key for field in info.fields for key in _keys(field, prefix))


def _keys(field: inspect.Field, prefix: str) -> tuple[Key, ...]:
    name = f"{prefix}{field.encode_name}"
    bare = _without_metadata(field.type)
    if isinstance(bare, inspect.StructType):
        return keys_of(bare.cls, f"{name}.")
    item = _without_metadata(bare.item_type) if isinstance(bare, inspect.VarTupleType) else None
    if isinstance(item, inspect.StructType):
        return keys_of(item.cls, f"{name}[].")
    return (
        Key(
            name=name,
            values=_values(field.type),
            unit=next((u for end, u in _UNITS.items() if name.endswith(end)), ""),
            default=_default(field),
            required=field.required,
            meaning=_meaning(field, name),
        ),
    )


def _meaning(field: inspect.Field, name: str) -> str:
    extra = field.type.extra_json_schema if isinstance(field.type, inspect.Metadata) else None
    if not extra or "description" not in extra:
        raise TypeError(f"{name}: expected Annotated[..., Meta(description=...)]")
    return str(extra["description"])


def _default(field: inspect.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _without_metadata(info: inspect.Type) -> inspect.Type:
    return _without_metadata(info.type) if isinstance(info, inspect.Metadata) else info


def _values(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata():
            return _values(info.type)
        case inspect.UnionType():
            return " or ".join(_values(kind) for kind in info.types)
        case inspect.LiteralType():
            return " or ".join(map(str, info.values))
        case inspect.VarTupleType():
            return f"{_LIST_OF}{_values(info.item_type)}"
        case inspect.DictType():
            return f"table of {_values(info.value_type)}"
        case inspect.IntType() | inspect.FloatType():
            return f"{_WORDS[type(info)]} {in_range(info)}".rstrip()
    return _WORDS[type(info)]


def in_range(info: inspect.IntType | inspect.FloatType) -> str:
    """Give a number's bounds in words, such as `from 0 to 1`; empty where it has none."""
    low = f"from {in_digits(info.ge)}" if info.ge is not None else ""
    low = f"above {in_digits(info.gt)}" if info.gt is not None else low
    high = f"to {in_digits(info.le)}" if info.le is not None else ""
    high = f"below {in_digits(info.lt)}" if info.lt is not None else high
    if info.le == sys.float_info.max:
        return "finite"
    return " ".join(word for word in (low, high) if word)


def in_digits(value: float) -> str:
    """Give a number as people read it, thousands apart."""
    if value == 2**53 - 1:
        return "2^53 - 1"
    return f"{int(value):,}" if float(value).is_integer() else str(value)
