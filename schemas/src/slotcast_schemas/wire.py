"""Bytes to typed messages and back: the one place where what came from outside is validated.

A message is a msgpack map with `kind` (which message), `format` (its major version) and
`requires` (features that a reader must have, by name). Fields that a reader does not know are
ignored, so a newer writer can add fields freely; what an older reader must not ignore, the
writer names in `requires`.

`decode` gives a frozen object whose every length, count and range was checked, or raises
`MalformedMessage` (or a sharper kind of `RefusedRelease`). Nothing else escapes it, whatever
the bytes: tests/security/test_fuzz_messages.py holds it to that.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, TypeVar

import msgpack
import msgspec

from slotcast_schemas.errors import MalformedMessage, OversizedMessage, UnsupportedFeature
from slotcast_schemas.explain import explain

FORMAT: Final = 1
"""The version of the message format that this software writes and reads."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every message: what `decode` checks before it looks at anything else."""

    MAX_BYTES: ClassVar[int] = 64 * 1024
    KIND: ClassVar[str] = ""
    FEATURES: ClassVar[frozenset[str]] = frozenset()
    """Features of this kind of message that this software has."""


M = TypeVar("M", bound=Message)

_MAX_DEPTH: Final = 12
"""The most levels that a message may nest; our deepest has 7, and the rest is room for fields of
newer versions."""

_CONTAINERS: Final = frozenset({dict, list})
"""What msgpack makes of maps and lists; it gives no types derived from them."""

_MAX_ITEMS: Final = 1024
"""The most entries of one list or map; our longest has 512. The parser makes room for as many as a
header claims before it sees them, and headers nest: without this bound 120 KB of notice cost 70
MB."""


def encode(message: Message) -> bytes:
    """Give the msgpack bytes of a message; the order of the keys is that of the class.

    Raises:
        MalformedMessage: the message breaks one of its own bounds; the caller built it wrong.
    """
    try:
        raw: bytes = msgpack.packb(
            msgspec.to_builtins(message, builtin_types=(bytes,)), use_bin_type=True
        )
    except (ValueError, OverflowError, TypeError) as exc:  # a lone surrogate, a huge integer
        raise MalformedMessage(f"{message.KIND}: cannot be written as msgpack ({exc})") from exc
    decode(raw, type(message))
    return raw


def decode(data: bytes, kind: type[M]) -> M:
    """Read one message of the given kind.

    Raises:
        OversizedMessage: more bytes than this kind of message may have.
        UnsupportedFeature: a feature that the message requires is not known here.
        MalformedMessage: anything else that is not right, with the field and both sides named.
    """
    if len(data) > kind.MAX_BYTES:
        raise OversizedMessage(
            f"{kind.KIND}: expected at most {kind.MAX_BYTES} bytes, got {len(data)}"
        )
    fields = _unpack(data, kind)
    _check_envelope(fields, kind)
    try:
        # Naming bytes here keeps msgspec from reading text as base64: a digest is `bin` or nothing.
        return msgspec.convert(fields, kind, strict=True, builtin_types=(bytes,))
    except (msgspec.ValidationError, ValueError, OverflowError) as exc:
        why = explain(exc, fields, kind, strict=True, builtin_types=(bytes,))
        raise MalformedMessage(f"{kind.KIND}: {why}") from exc


def _unpack(data: bytes, kind: type[Message]) -> dict[str, Any]:
    limit = len(data)
    try:
        fields = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            use_list=True,
            max_str_len=limit,
            max_bin_len=limit,
            max_array_len=min(limit, _MAX_ITEMS),
            max_map_len=min(limit, _MAX_ITEMS),
            max_ext_len=0,
            object_pairs_hook=_fields_of,
        )
    except (ValueError, msgpack.UnpackException, RecursionError, TypeError) as exc:
        why = str(exc) or type(exc).__name__
        raise MalformedMessage(f"{kind.KIND}: not one whole msgpack value ({why:.200})") from exc
    if not isinstance(fields, dict):
        raise MalformedMessage(f"{kind.KIND}: expected a map, got {type(fields).__name__}")
    _check_depth(fields, kind)
    return fields


def _fields_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a map; one key twice would be another message to a reader that takes the first."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.80} is there twice")
    return fields


def _check_depth(fields: dict[str, Any], kind: type[Message]) -> None:
    """Refuse what nests too deep; what only holds values costs nothing for each of them."""
    level: list[Any] = [fields]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            items = one.values() if type(one) is dict else one
            if not _CONTAINERS.isdisjoint(map(type, items)):
                below += [item for item in items if type(item) in _CONTAINERS]
        if not below:
            return
        level = below
    raise MalformedMessage(f"{kind.KIND}: nested deeper than {_MAX_DEPTH} levels")


def _check_envelope(fields: dict[str, Any], kind: type[Message]) -> None:
    """Check what must be right before the rest has a meaning."""
    if fields.get("kind") != kind.KIND:
        raise MalformedMessage(f"expected a {kind.KIND}, got kind {fields.get('kind')!r:.80}")
    requires = fields.get("requires", [])
    if not isinstance(requires, list) or not all(isinstance(r, str) for r in requires):
        raise MalformedMessage(f"{kind.KIND}: 'requires' is not a list of names")
    missing = sorted(set(requires) - kind.FEATURES)
    if missing:
        raise UnsupportedFeature(
            f"{kind.KIND}: requires {', '.join(missing)!r:.200}, which this software does not have;"
            " update it, or publish without"
        )
    if fields.get("format") != FORMAT:
        raise UnsupportedFeature(
            f"{kind.KIND}: expected format {FORMAT}, got {fields.get('format')!r:.80}"
        )
