"""Writes the field tables of docs/wire.md from the message types, so that they cannot drift.

`python tools/wire_tables.py` rewrites the part of docs/wire.md between the two markers;
`--check` says whether it is in step (a test does the same).
"""

from __future__ import annotations

import inspect as pyinspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from slotcast_schemas.describe import in_range
from slotcast_schemas.messages import ALL
from slotcast_schemas.wire import Message

PAGE: Final = Path(__file__).parents[1] / "docs" / "wire.md"
BEGIN: Final = "<!-- fields: written by tools/wire_tables.py -->"
END: Final = "<!-- end of fields -->"
_ENVELOPE: Final = {"format", "requires"}


def tables() -> str:
    """Give the Markdown of every message and of the parts that it is made of."""
    done: set[type] = set()
    out: list[str] = []
    for kind in ALL:
        out += _section(kind, done, "###")
    return "\n".join(out).strip() + "\n"


def page_with_tables(page: str) -> str:
    """Give the page with the part between the markers written anew."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def _section(cls: type, done: set[type], level: str) -> list[str]:
    if cls in done:
        return []
    done.add(cls)
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    out = [f"{level} {_title(cls)}", "", *_words(cls), ""]
    if issubclass(cls, Message):
        out += [f"At most {cls.MAX_BYTES:,} bytes.", ""]
    out += ["| field | type and bounds | if absent |", "|---|---|---|"]
    parts: list[type] = []
    for field in info.fields:
        if field.name in _ENVELOPE:
            continue
        out.append(f"| `{field.name}` | {_type(field.type, parts)} | {_default(field)} |")
    out.append("")
    for part in parts:
        out += _section(part, done, "####")
    return out


def _title(cls: type) -> str:
    return f"`{cls.KIND}`" if issubclass(cls, Message) else cls.__name__


def _words(cls: type) -> list[str]:
    """Give the class's docstring, one sentence or attribute per line, and what its fields say."""
    text = pyinspect.cleandoc(cls.__doc__ or "")
    head, _, attributes = text.partition("Attributes:")
    sentences = " ".join(head.split()).replace(". ", ".\n").splitlines()
    items: list[str] = []
    for line in attributes.splitlines():
        if line.startswith("    ") and not line.startswith("     ") and ": " in line:
            name, _, meaning = line.strip().partition(": ")
            items.append(f"- `{name.replace(', ', '`, `')}`: {meaning}")
        elif line.strip():
            items[-1] += " " + line.strip()
    items += [f"- `{name}`: {text}" for name, text in _descriptions(cls)]
    return [*sentences, *([""] if items else []), *items]


def _descriptions(cls: type) -> Iterator[tuple[str, str]]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        if isinstance(field.type, inspect.Metadata) and field.type.extra_json_schema:
            text = field.type.extra_json_schema.get("description")
            if text is not None:
                yield field.name, text


def _default(field: inspect.Field) -> str:
    if field.required:
        return "refused"
    if field.default is msgspec.NODEFAULT:
        return "empty"
    value = field.default
    if isinstance(value, msgspec.Struct):
        return "all defaults"
    words = {None: "null", True: "true", False: "false", (): "empty", "": "empty text"}
    if isinstance(value, (bool, tuple, str, type(None))) and value in words:
        return words[value]
    return f"`{value}`"


def _type(info: inspect.Type, parts: list[type]) -> str:
    """Say a type in words; the parts of a message that it names are added to `parts`."""
    match info:
        case inspect.Metadata():
            return _type(info.type, parts)
        case inspect.VarTupleType():
            return f"list{_length(info, 'items')} of {_type(info.item_type, parts)}"
        case inspect.DictType():
            inner = f"{_type(info.key_type, parts)} to {_type(info.value_type, parts)}"
            return f"map{_length(info, 'entries')} from {inner}"
        case inspect.UnionType():
            return " or ".join(_type(kind, parts) for kind in info.types)
        case inspect.StructType():
            parts.append(info.cls)
            return f"a map: {info.cls.__name__}"
    return _scalar(info)


def _scalar(info: inspect.Type) -> str:
    match info:
        case inspect.IntType() | inspect.FloatType():
            word = "integer" if isinstance(info, inspect.IntType) else "number"
            return ", ".join(part for part in (word, in_range(info)) if part)
        case inspect.StrType():
            pattern = f", `{_escape(info.pattern)}`" if info.pattern else ""
            return f"text{_length(info, 'characters')}{pattern}"
        case inspect.BytesType():
            return f"bin{_length(info, 'bytes')}"
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in sorted(map(str, info.values)))
        case inspect.EnumType():
            return " or ".join(f"`{value.value}`" for value in info.cls)
    words = {inspect.BoolType: "true or false", inspect.NoneType: "null"}
    return words[type(info)]


def _length(info: Any, unit: str) -> str:
    low, high = info.min_length, info.max_length
    if low is None and high is None:
        return ""
    if low == high:
        return f" of {high:,} {unit}"
    return f" of {low or 0:,} to {high:,} {unit}"


def _escape(pattern: str) -> str:
    return pattern.replace(r"\Z", "$").replace("|", r"\|")


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it; 1 if it is out of step."""
    page = PAGE.read_text()
    wanted = page_with_tables(page)
    if "--check" in arguments:
        if page != wanted:
            sys.stderr.write(f"{PAGE.name} is out of step; run `python tools/wire_tables.py`\n")
        return int(page != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
