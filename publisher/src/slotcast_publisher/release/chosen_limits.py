"""The limits of probe and trial that a publisher chooses: from a file, from options, over defaults.

What may be chosen are the fields of `Probe`, `Trial` and `Runtime` in the release message, but for
those that the release itself decides. A field that is added there can at once be given in a file
(`slotcast release --settings FILE`), by an option, and is printed by `slotcast limits`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Union, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from slotcast_publisher.settings import to_toml
from slotcast_schemas.bounded_toml import read_toml
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.describe import NONE, Key, keys_of
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.messages.release import Probe, Runtime, Trial
from slotcast_schemas.named_files import read_named

FILE_MAX_BYTES: Final = 64 * 1024
"""The most bytes of a file of limits."""

_TABLES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "probe": Probe,
    "trial": Trial,
    "runtime": Runtime,
}
_NOT_CHOSEN: Final = frozenset(
    {"probe.samples", "probe.output_atol", "runtime.opsets", "runtime.format"}
)
"""What a release says of its limits and nobody chooses, for it is found with the model."""

_HEAD: Final = """\
Limits of a release: slotcast release REPO MODEL VERSION FILE... --settings THIS_FILE

Each line that begins with #= is a default; write the key without #= to choose another value.
"""
_ENCRYPT: Final = (
    "Whether what travels is encrypted for the model's recipients (slotcast recipients)."
)
_BY_PUBLISHER: Final = {
    "probe.rtol": "by the model's arithmetic",
    "probe.atol": "by the model's arithmetic",
    "probe.min_cosine": "by the model's arithmetic",
    "probe.min_accuracy": "what was measured, less one label; none without labels",
    "probe.label_output": "the first output",
    "trial.max_latency_ratio": "3, or the probe's where a higher one is chosen",
}
"""Defaults that are not the message's: `slotcast release` finds them with the samples."""


class ChosenLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen, by the names of the message's fields; what is not here is left as it is.

    Attributes:
        encrypt: whether the release's payloads are encrypted; None as the model's setting says.
    """

    probe: dict[str, Any] = {}
    trial: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    encrypt: bool | None = None

    def over(self, other: ChosenLimits) -> ChosenLimits:
        """Give these, and where they say nothing the other's."""
        return ChosenLimits(
            probe={**other.probe, **self.probe},
            trial={**other.trial, **self.trial},
            runtime={**other.runtime, **self.runtime},
            encrypt=other.encrypt if self.encrypt is None else self.encrypt,
        )

    def apply_to(
        self, probe: Probe, trial: Trial, runtime: Runtime
    ) -> tuple[Probe, Trial, Runtime]:
        """Give all three with what was chosen.

        Args:
            probe: the limits of the probe, where nothing is chosen.
            trial: those of the trial.
            runtime: what the release asks of the runtime.
        """
        return (
            msgspec.structs.replace(probe, **self._of_all_outputs(), **self.probe),
            msgspec.structs.replace(trial, **self._trial_beside(trial)),
            msgspec.structs.replace(runtime, **self.runtime),
        )

    def _of_all_outputs(self) -> dict[str, Any]:
        """Give what a chosen `atol` takes away: it is that of every output."""
        return {"output_atol": {}} if "atol" in self.probe else {}

    def _trial_beside(self, trial: Trial) -> dict[str, Any]:
        """Give what was chosen for the trial: a slower model is one decision, not two."""
        name = "max_latency_ratio"
        if name in self.probe and name not in self.trial:
            ratio = self.probe[name]
            if _is_above(ratio, trial.max_latency_ratio):
                return {**self.trial, name: ratio}
        return self.trial


def _is_above(ratio: float | None, other: float | None) -> bool:
    """Whether a limit allows more than another; none allows anything."""
    return other is not None and (ratio is None or ratio > other)


def _as_file(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Give the struct of a table in which every key may be left out, and no other be."""
    hints = get_type_hints(kind, include_extras=True)
    fields = [
        (field.name, Union[hints[field.name], UnsetType], UNSET)  # noqa: UP007 - at run time
        for field in msgspec.structs.fields(kind)
        if f"{kind.__name__.lower()}.{field.name}" not in _NOT_CHOSEN
    ]
    return msgspec.defstruct(kind.__name__, fields, kw_only=True, forbid_unknown_fields=True)


LimitsFile: Final = msgspec.defstruct(
    "LimitsFile",
    [
        ("encrypt", Union[bool, UnsetType], UNSET),  # noqa: UP007 - at run time
        *((name, Union[_as_file(kind), UnsetType], UNSET) for name, kind in _TABLES.items()),  # noqa: UP007
    ],
    forbid_unknown_fields=True,
)
make_decoders(LimitsFile)


def limit_keys() -> tuple[Key, ...]:
    """Give every limit that can be chosen, by its name in the file."""
    return tuple(
        key
        for name, kind in _TABLES.items()
        for key in keys_of(kind, f"{name}.")
        if key.name not in _NOT_CHOSEN
    )


def default_in_words(key: Key) -> str:
    """Say what counts where nothing is chosen."""
    if key.name in _BY_PUBLISHER:
        return _BY_PUBLISHER[key.name]
    if key.default is None:
        return NONE
    if isinstance(key.default, bool):
        return str(key.default).lower()
    return f"{key.default:g}" if isinstance(key.default, float) else str(key.default) or "any"


def read_limits(path: Path) -> ChosenLimits:
    """Read a file of limits.

    Raises:
        UsageError: it cannot be read, has a key that is not known or a value that cannot be.
    """
    try:
        return choose(read_toml(read_named(path, FILE_MAX_BYTES).decode()), str(path))
    except UNDECODABLE as exc:
        raise UsageError(f"{path} is not TOML: {exc}") from exc


def choose(given: Mapping[str, Any], where: str) -> ChosenLimits:
    """Check limits that were given as tables of values, or of texts that stand for them.

    Args:
        given: `probe`, `trial` and `runtime`, each key by key; `none` takes a limit away. And
            `encrypt`, true or false.
        where: what an error begins with.

    Raises:
        UsageError: a key is not known, or a value cannot be.
    """
    values = {name: _with_null(name, table) for name, table in given.items()}
    found: Any = convert(values, LimitsFile, where, strict=False)
    tables = {name: getattr(found, name) for name in _TABLES}
    return ChosenLimits(
        encrypt=None if found.encrypt is UNSET else found.encrypt,
        **{
            name: {
                key: value
                for key in table.__struct_fields__
                if (value := getattr(table, key)) is not UNSET
            }
            for name, table in tables.items()
            if table is not UNSET
        },
    )


def _with_null(table: str, given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    may_be = {key.name for key in limit_keys() if NONE in key.values.split()}
    return {
        key: None if value == NONE and f"{table}.{key}" in may_be else value
        for key, value in given.items()
    }


def example() -> str:
    """Give a file of limits that chooses nothing: every key with its meaning and default."""
    lines = [f"# {line}".rstrip() for line in _HEAD.splitlines()]
    lines += ["", *_comment(_ENCRYPT), "# true or false", "#= encrypt: as the model's setting says"]
    table = ""
    for key in limit_keys():
        head, _, name = key.name.partition(".")
        if head != table:
            table = head
            lines += ["", f"[{table}]"]
        unit = f"{key.unit}: " if key.unit else ""
        lines += ["", *_comment(key.meaning.replace("`", "")), f"# {unit}{key.values}"]
        lines.append(_default_line(key, name))
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 92)]


def _default_line(key: Key, name: str) -> str:
    if key.name in _BY_PUBLISHER:
        return f"#= {name}: {_BY_PUBLISHER[key.name]}"
    value = NONE if key.default is None else key.default
    return f"#= {to_toml({name: value})}".rstrip()
