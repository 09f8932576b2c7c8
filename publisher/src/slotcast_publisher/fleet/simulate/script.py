"""The script of a simulation: a TOML file that says what applications do, and what goes wrong.

The keys, their bounds, defaults and meanings are those of the structs here; docs/simulate.md has
them as a table (`python tools/key_tables.py`).
"""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas.bounded_toml import read_toml
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.fields import Share, SizeBytes, Tags, Word

SCRIPT_MAX_BYTES: Final = 256 * 1024
"""The most bytes of a script."""
RULES_MAX: Final = 256
"""The most rules about releases, and the most about faults, in a script."""
MACHINE_MEMORY_BYTES: Final = 100_000_000
"""What an invented application takes, unless the script says otherwise."""

Pattern = Annotated[str, Meta(min_length=1, max_length=128)]
"""A text in which `*` stands for anything and `?` for one character."""
Patterns = Annotated[tuple[Pattern, ...], Meta(max_length=1024)]
"""Texts of which one has to match; none where there are none."""
Factor = Annotated[float, Meta(gt=0, le=1e6)]
"""What a figure is multiplied by."""
LongS = Annotated[float, Meta(ge=0, le=90 * 86400)]
"""A time in seconds, of ninety days at most."""
OftenS = Annotated[float, Meta(ge=0.5, le=90 * 86400)]
"""A mean time between two things that happen again and again, in seconds."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; a key that it does not know is refused."""


class DeviceSettings(_Table, frozen=True, kw_only=True):
    """What each device's `device.toml` would say beside who it is."""

    metrics_interval_s: Annotated[
        float, Meta(ge=1, le=86400, description="How often figures are summed up and sent.")
    ] = 60.0
    keepalive_s: Annotated[
        int, Meta(ge=5, le=3600, description="How often a silent connection is tried.")
    ] = 30
    reconnect_first_s: Annotated[
        float, Meta(gt=0, le=60, description="The first wait after a lost connection.")
    ] = 0.5
    reconnect_cap_s: Annotated[
        float, Meta(gt=0, le=3600, description="The longest wait after a lost connection.")
    ] = 60.0
    credit_max_chunks: Annotated[
        int, Meta(ge=1, le=1024, description="Chunks that may be under way to a device at once.")
    ] = 32
    disk_bytes: Annotated[
        SizeBytes, Meta(description="The size of each device's disk, which is in memory.")
    ] = 2 * 1024**3


class ApplicationFigures(_Table, frozen=True, kw_only=True):
    """What an application does with a release of which the script says nothing else."""

    requests_per_s: Annotated[
        float, Meta(ge=0, le=1000, description="Requests that each application answers.")
    ] = 2.0
    latency_s: Annotated[
        float, Meta(gt=0, le=60, description="The median time of a request, in seconds.")
    ] = 0.01
    latency_spread: Annotated[
        float, Meta(ge=0, le=2, description="Deviation of that time's logarithm.")
    ] = 0.25
    error_share: Annotated[Share, Meta(description="Requests that raise an error.")] = 0.0
    nonfinite_share: Annotated[
        Share, Meta(description="Requests answered with NaN or infinity.")
    ] = 0.0
    memory_bytes: Annotated[SizeBytes, Meta(description="Memory of the process.")] = (
        MACHINE_MEMORY_BYTES
    )
    load_s: Annotated[float, Meta(ge=0, le=600, description="The time to load a release.")] = 0.2
    report_s: Annotated[
        float,
        Meta(ge=0.5, le=10, description="How often the application reports to its device."),
    ] = 2.0


class Chosen(_Table, frozen=True, kw_only=True):
    """Which devices a rule is about: those that match `tags` and `ids`, and of these `share`."""

    share: Annotated[
        Share,
        Meta(description="Of the devices that match, how many: exactly so many, chosen by seed."),
    ] = 1.0
    tags: Annotated[Tags, Meta(description="Tags that a device must have, all of them.")] = {}
    ids: Annotated[
        Patterns, Meta(description="Ids of devices, `*` for anything; all where empty.")
    ] = ()


class ReleaseRule(Chosen, frozen=True, kw_only=True):
    """What certain releases do on certain devices.

    Of several rules that match, factors are multiplied, and of the rest the last one counts.
    """

    models: Annotated[Patterns, Meta(description="Names of models, `*` for anything.")] = ("*",)
    versions: Annotated[Patterns, Meta(description="Versions that it is about, such as `2.*`.")] = (
        "*",
    )
    latency_factor: Annotated[Factor, Meta(description="On the time of a request.")] = 1.0
    memory_factor: Annotated[Factor, Meta(description="On the memory of the process.")] = 1.0
    load_factor: Annotated[Factor, Meta(description="On the time to load.")] = 1.0
    error_share: Annotated[Share | None, Meta(description="In place of the application's own.")] = (
        None
    )
    nonfinite_share: Annotated[
        Share | None, Meta(description="In place of the application's own.")
    ] = None
    after_s: Annotated[
        LongS, Meta(description="For so long after it began to serve, nothing of this shows.")
    ] = 0.0
    fails_probe: Annotated[
        Word | None, Meta(description="The probe fails with this reason, such as `too_slow`.")
    ] = None
    refused_by_application: Annotated[
        Word | None, Meta(description="The application cannot load it, for this reason.")
    ] = None

    def is_about(self, model: str, version: str) -> bool:
        """Say whether this rule speaks of a release."""
        return _matches(model, self.models) and _matches(version, self.versions)


class FaultRule(Chosen, frozen=True, kw_only=True):
    """What goes wrong on certain devices."""

    kind: Annotated[
        Literal["dies", "vanishes", "bad_link", "slow_link", "wrong_clock"],
        Meta(
            description="`dies`: loses its power and comes back; `vanishes`: loses it for good;"
            " `bad_link`: the connection is cut; `slow_link`: reads slowly; `wrong_clock`."
        ),
    ]
    every_s: Annotated[
        OftenS, Meta(description="`dies`, `bad_link`: the mean time between two of them.")
    ] = 60.0
    down_s: Annotated[
        LongS, Meta(description="`dies`, `bad_link`: the mean time until it is back.")
    ] = 5.0
    after_s: Annotated[
        LongS, Meta(description="Nothing of this happens before so long after the start.")
    ] = 0.0
    bytes_per_s: Annotated[
        float, Meta(ge=100, le=1e9, description="`slow_link`: what it reads at most.")
    ] = 20_000.0
    off_s: Annotated[
        float,
        Meta(ge=-1e9, le=1e9, description="`wrong_clock`: how far the clock is ahead."),
    ] = 7200.0


class Script(_Table, frozen=True, kw_only=True):
    """All of the file."""

    format: Annotated[Literal[1], Meta(description="Of this file.")] = 1
    device: Annotated[DeviceSettings, Meta(description="Settings of each device.")] = (
        DeviceSettings()
    )
    application: Annotated[
        ApplicationFigures, Meta(description="What applications do as a rule.")
    ] = ApplicationFigures()
    releases: Annotated[
        tuple[ReleaseRule, ...],
        Meta(max_length=RULES_MAX, description="What certain releases do."),
    ] = ()
    faults: Annotated[
        tuple[FaultRule, ...],
        Meta(max_length=RULES_MAX, description="What goes wrong on some devices."),
    ] = ()


make_decoders(Script)


def _matches(text: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def is_named(device: str, chosen: Chosen) -> bool:
    """Say whether a rule may be about a device of this id."""
    return not chosen.ids or _matches(device, chosen.ids)


def parse_script(data: bytes, where: str) -> Script:
    """Read a script.

    Raises:
        UsageError: it is not TOML, or not a script; the message names the key.
    """
    if len(data) > SCRIPT_MAX_BYTES:
        raise UsageError(f"{where}: expected at most {SCRIPT_MAX_BYTES} bytes, got {len(data)}")
    try:
        given = read_toml(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise UsageError(f"{where} is not TOML: {exc}") from exc
    return convert(given, Script, where)


def read_script(path: Path) -> Script:
    """Read a script from a file; see `parse_script`.

    Raises:
        UsageError: it cannot be read either.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SCRIPT_MAX_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"script {path}: {exc.strerror}") from exc
    return parse_script(data, f"script {path}")
