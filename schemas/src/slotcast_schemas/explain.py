"""Says what is wrong with a value in words of whoever wrote it: where, what is allowed, what came.

msgspec's own errors have the place and, of a text, the pattern that it does not match; neither the
value, nor which key of a table, nor what the pattern means. All of these can be found again, since
what was to be converted is at hand. The value of an address is never shown: it may hold a password.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from slotcast_schemas.errors import UsageError
from slotcast_schemas.fields import ALLOWED

T = TypeVar("T")

_PLACE: Final = re.compile(
    r"(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL
)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_PATTERN: Final = re.compile(r"Expected `str` matching regex (?P<pattern>'.*')", re.DOTALL)
_LENGTH: Final = re.compile(r"Expected `(?P<kind>\w+)` of length (?P<bound>[<>=]+) (?P<number>\d+)")
_RANGE: Final = re.compile(r"Expected `(?P<kind>\w+)` (?P<bound>[<>=]+) (?P<number>\S+)")
_TYPE: Final = re.compile(r"Expected `(?P<kinds>[\w |]+)`, got `(?P<got>\w+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`")
_WORDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
"""The words for msgspec's names of types."""

_UNITS: Final = {"str": "characters", "array": "entries", "object": "keys", "bytes": "bytes"}
"""What the length of a value counts, by the value's type."""

_BOUNDS: Final = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
"""The words for msgspec's signs of comparison."""

_SECRET_KEYS: Final = frozenset({"url"})
"""Keys whose values are never shown, for they may hold a password."""

_SHOWN_CHARS: Final = 80
"""The most characters of a wrong value that a message shows."""

_KEYS_TRIED_MAX: Final = 64
"""The number of keys of a table with a wrong value that are tried at most; a table from a hostile
message may have a thousand."""


def convert(given: object, kind: type[T], where: str, *, strict: bool = True) -> T:
    """Check a value that somebody wrote.

    Args:
        given: what a file or the options of a command said, as plain values.
        kind: the type that it has to be.
        where: what the message begins with, such as the file's name.
        strict: whether a number has to be one; else a text such as an option's may stand for it.

    Raises:
        UsageError: it is not of that type; names the key, what is allowed and what came.
    """
    try:
        return msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as exc:
        raise UsageError(f"{where}: {explain(exc, given, kind, strict=strict)}") from exc


def explain(error: Exception, given: object, kind: type, **options: Any) -> str:
    """Give the words for an error of `msgspec.convert(given, kind, **options)`.

    Args:
        error: what `msgspec.convert` raised.
        given: the value that was to be converted.
        kind: the type that it was to be converted to.
        **options: as `msgspec.convert` was given them.
    """
    found = _PLACE.fullmatch(str(error))
    if found is None or not isinstance(error, msgspec.ValidationError):
        return str(error)

    def fails_alike(changed: object) -> bool:
        try:
            msgspec.convert(changed, kind, **options)
        except msgspec.ValidationError as exc:
            return str(exc) == str(error)
        return False

    path = _path(found["path"] or "", given, fails_alike)
    value = _value(given, path)
    if found["key"] and isinstance(value, Mapping):
        key = _wrong_key(given, path, fails_alike)
        return f"{_said(path)}key: {_problem(found['what'], key, _Any)}"
    wanted = _type(kind, path)
    if (path and path[-1] in _SECRET_KEYS) or _has_secret(wanted):
        value = _Hidden()
    return f"{_said(path)}{_problem(found['what'], value, wanted)}"


def _has_secret(kind: inspect.Type) -> bool:
    """Whether a key below may hold a password: who writes its text in place of the table does so.

    Such as `brokers = "USER:PASSWORD@HOST"`, in which nothing marks the password as one.
    """
    if any(_has_secret(each) for each in _inner_of_list(kind)):
        return True
    return not _SECRET_KEYS.isdisjoint(_fields(kind))


def _inner_of_list(kind: inspect.Type) -> Iterator[inspect.Type]:
    for one in _members(kind):
        if isinstance(one, inspect.CollectionType):
            yield one.item_type


class _Hidden:
    """Stands for a value that is not shown."""


_Any: Final = inspect.AnyType()
_type_info: Final = functools.cache(inspect.type_info)
"""Of the few types of messages and files. It takes up to milliseconds, most of what an error takes:
who sends what is refused, again and again, must not cost that each time."""
Path = tuple[str | int, ...]


def _said(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{text.lstrip('.')}: " if text else ""


# --- what is wrong --------------------------------------------------------------------------------


def _problem(what: str, value: object, kind: inspect.Type) -> str:
    """Give what was expected and what came, for one of msgspec's sentences."""
    if match := _UNKNOWN.fullmatch(what):
        return _unknown_key(match["name"], kind)
    if match := _MISSING.fullmatch(what):
        return f"expected the key {match['name']!r}, which is missing"
    expected = _expected(what, kind)
    return what if expected is None else f"expected {expected}{_got(value)}"


def _expected(what: str, kind: inspect.Type) -> str | None:
    """Give what was expected; None for a sentence that is not known."""
    if match := _PATTERN.fullmatch(what):
        return next((words for p, words in ALLOWED.items() if repr(p) == match["pattern"]), None)
    if match := _LENGTH.fullmatch(what):
        unit = _UNITS.get(match["kind"], match["kind"])
        return f"{_BOUNDS.get(match['bound'], 'exactly')} {match['number']} {unit}"
    if match := _RANGE.fullmatch(what):
        word, bound = _WORDS.get(match["kind"], match["kind"]), _BOUNDS.get(match["bound"], "")
        return f"{word} of {bound} {match['number'].removesuffix('.0')}"
    if match := _TYPE.fullmatch(what):
        return " or ".join(_WORDS.get(word, word) for word in match["kinds"].split(" | "))
    if what.startswith("Invalid enum value"):
        choices = ", ".join(_choices(kind))
        return f"one of {choices}" if choices else None
    return None


def _got(value: object) -> str:
    if isinstance(value, _Hidden):
        return " (what came is not shown, since it may hold a password)"
    if isinstance(value, str | int | float | bool | None):
        return f", got {value!r:.{_SHOWN_CHARS}}"
    if isinstance(value, bytes | list | tuple | Mapping):
        return f", got {len(value)} {_UNITS[_container(value)]}"
    return f", got {type(value).__name__}"


def _container(value: bytes | list[Any] | tuple[Any, ...] | Mapping[str, Any]) -> str:
    if isinstance(value, bytes):
        return "bytes"
    return "object" if isinstance(value, Mapping) else "array"


def _unknown_key(name: str, kind: inspect.Type) -> str:
    from difflib import get_close_matches  # only who mistypes a key needs it

    known = sorted(_fields(kind))
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = f"; known here: {', '.join(known)}" if known else ""
    return f"the key {name!r:.{_SHOWN_CHARS}} is not known{hint or listed}"


# --- where it is ----------------------------------------------------------------------------------


def _path(text: str, given: object, fails_alike: Callable[[object], bool]) -> Path:
    """Give the steps to the wrong value; `[...]`, some value of a table, becomes its key."""
    path: Path = ()
    for step in _STEP.finditer(text):
        if step["name"] is not None:
            path += (step["name"],)
        elif step["index"] != "...":
            path += (int(step["index"]),)
        else:
            key = _wrong_key(given, path, fails_alike)
            path += (key if isinstance(key, str) else "...",)
    return path


def _wrong_key(given: object, path: Path, fails_alike: Callable[[object], bool]) -> object:
    """Give the key of a table whose entry causes the error, or none where no single one does."""
    table = _value(given, path)
    if isinstance(table, Mapping):
        for key in list(table)[:_KEYS_TRIED_MAX]:
            if fails_alike(_replaced(given, path, {key: table[key]})):
                return key
    return None


def _value(given: Any, path: Path) -> object:
    """Give what is at a path; `_Hidden` where there is nothing."""
    for step in path:
        try:
            given = given[step]
        except (LookupError, TypeError):
            return _Hidden()
    return given


def _replaced(given: Any, path: Path, value: object) -> object:
    if not path:
        return value
    inner = _replaced(given[path[0]], path[1:], value)
    if isinstance(given, Mapping):
        return {**given, path[0]: inner}
    return [inner if i == path[0] else item for i, item in enumerate(given)]


# --- what may be there ----------------------------------------------------------------------------


def _type(kind: type, path: Path) -> inspect.Type:
    """Give the type at a path; `AnyType` where it cannot be told."""
    found = _type_info(kind)
    for step in path:
        found = next(_inner(found, step), _Any)
    return found


def _inner(kind: inspect.Type, step: str | int) -> Iterator[inspect.Type]:
    for one in _members(kind):
        if isinstance(step, str) and step in _fields(one):
            yield _fields(one)[step]
        elif isinstance(one, inspect.DictType):
            yield one.value_type
        elif isinstance(one, inspect.CollectionType):
            yield one.item_type


def _fields(kind: inspect.Type) -> dict[str, inspect.Type]:
    return {
        field.encode_name: field.type
        for one in _members(kind)
        if isinstance(one, inspect.StructType)
        for field in one.fields
    }


def _members(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        yield from _members(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _members(one)
    else:
        yield kind


def _choices(kind: inspect.Type) -> Iterator[str]:
    for one in _members(kind):
        if isinstance(one, inspect.LiteralType):
            yield from map(str, one.values)
        elif isinstance(one, inspect.EnumType) and issubclass(one.cls, Enum):
            yield from (str(member.value) for member in one.cls)
