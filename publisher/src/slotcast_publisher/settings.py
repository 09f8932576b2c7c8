"""`REPO/slotcast.toml`: brokers, topic prefix, chunk size, and how long signatures live.

Read and validated once, here. People edit this file; `slotcast init` writes the first one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.durable import exclusive, write_atomic
from slotcast_publisher.errors import NotFound
from slotcast_publisher.page_settings import PageSettings, check_page
from slotcast_publisher.serve_settings import ServeSettings
from slotcast_schemas import limits
from slotcast_schemas.bounded_toml import read_toml
from slotcast_schemas.broker import BrokerAddress
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.describe import keys_of
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.plain_files import read_regular
from slotcast_schemas.redact import hide_passwords
from slotcast_schemas.topics import DEFAULT_PREFIX, Topics

if TYPE_CHECKING:
    import tomlkit

FILE_NAME: Final = "slotcast.toml"
"""The name of the settings file in a repository."""

Protocol = Literal["auto", "5", "3.1.1"]
Days = Annotated[float, Meta(gt=0, le=36500)]
"""A time in days, or parts of one; a hundred years at most."""


class Broker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One broker address; paths are relative to the repository."""

    url: Annotated[
        str, Meta(description="Where: `mqtt://[USER:PASSWORD@]HOST[:PORT]`, or `mqtts://` for TLS.")
    ]
    protocol: Annotated[
        Protocol, Meta(description="Of MQTT; `auto` takes 5 where the broker has it.")
    ] = "auto"
    ca: Annotated[
        str | None, Meta(description="Certificates to trust instead of the system's, a PEM file.")
    ] = None
    certificate: Annotated[
        str | None, Meta(description="The publisher's own, a PEM file relative to the repository.")
    ] = None
    key: Annotated[str | None, Meta(description="The key of that certificate, unencrypted.")] = None

    @property
    def address(self) -> BrokerAddress:
        """The address, taken apart.

        Raises:
            UsageError: not `mqtt://` or `mqtts://` with a host.
        """
        return BrokerAddress.parse(self.url)

    def __repr__(self) -> str:
        return f"Broker({hide_passwords(repr(self.url))})"


class Expiry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each role's signature counts, in days.

    The online roles live for two months because nobody is bound to run a service that renews
    them; with one, set `timestamp_days` to a day or two.
    """

    root_days: Annotated[Days, Meta(description="Of the root, which needs the root keys.")] = 3650
    targets_days: Annotated[
        Days, Meta(description="Of who may release which model; needs the targets keys.")
    ] = 1825
    release_days: Annotated[Days, Meta(description="Of a model's releases.")] = 1825
    offers_days: Annotated[Days, Meta(description="Of what is offered to whom.")] = 60
    snapshot_days: Annotated[Days, Meta(description="Of which versions belong together.")] = 60
    timestamp_days: Annotated[
        Days,
        Meta(
            description="Of a notice: so long does a device believe it that hears of no newer one."
            " Renewed by `serve`, or by `refresh`."
        ),
    ] = 60


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the fleet's database keeps what, in days."""

    metrics_days: Annotated[
        Days, Meta(description="Figures that devices report, as they came.")
    ] = 3
    hours_days: Annotated[Days, Meta(description="Of those, the sums of each hour.")] = 90
    history_days: Annotated[
        Days,
        Meta(description="History of devices, the log of rollouts, alarms that are over."),
    ] = 365
    devices_days: Annotated[
        Days,
        Meta(description="A device that was not heard of since, and its figures of a release."),
    ] = 365


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `slotcast.toml` says."""

    format: Annotated[Literal[1], Meta(description="Of this file.")] = 1
    prefix: Annotated[
        str,
        Meta(description="What all topics begin with. Devices are provisioned with the same."),
    ] = DEFAULT_PREFIX
    chunk_size_bytes: Annotated[
        int,
        Meta(
            ge=limits.CHUNK_MIN_BYTES,
            le=limits.CHUNK_MAX_BYTES,
            description="Of releases from now on: a chunk is one message, which every broker on the"
            " way has to take.",
        ),
    ] = limits.CHUNK_DEFAULT_BYTES
    unused_grace_days: Annotated[
        float,
        Meta(
            ge=0,
            le=36_500,
            description="So long do brokers keep a payload that no offer uses any more; then"
            " `publish` and `serve` take it off, unless a device still fetches it.",
        ),
    ] = 1.0
    brokers: Annotated[
        tuple[Broker, ...], Meta(description="Where to publish; each is sent everything.")
    ] = ()
    expiry: Annotated[Expiry, Meta(description="How long signatures count.")] = Expiry()
    fleet: Annotated[
        FleetSettings, Meta(description="How long the fleet's database keeps what.")
    ] = FleetSettings()
    alarms: Annotated[
        AlarmSettings, Meta(description="When something of the fleet needs a person.")
    ] = AlarmSettings()
    page: Annotated[
        PageSettings, Meta(description="How browsers reach the fleet's page through a proxy.")
    ] = PageSettings()
    serve: Annotated[
        ServeSettings, Meta(description="What `serve` hears of devices, and answers them.")
    ] = ServeSettings()

    @property
    def topics(self) -> Topics:
        """The topics below the prefix."""
        return Topics(self.prefix)


make_decoders(Settings)


def load(repo: Path) -> Settings:
    """Read a repository's settings.

    Raises:
        NotFound: there is no repository here.
        UsageError: the file is not right; names the field.
    """
    path = repo / FILE_NAME
    try:
        given = read_toml(_read(repo))
    except UNDECODABLE as exc:
        raise UsageError(f"{path} is not TOML: {exc}") from exc
    settings = convert(given, Settings, str(path))
    check(settings, f"{path}: ")
    return settings


def _read(repo: Path) -> str:
    path = repo / FILE_NAME
    try:
        return read_regular(path).decode()
    except FileNotFoundError as exc:
        raise NotFound(f"no repository at {repo}: run `slotcast init {repo}` first") from exc
    except PermissionError as exc:
        raise UsageError(
            f"{path} may not be read by this user: run this as the user to whom {repo} belongs"
        ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"could not read {path}: {exc}") from exc


def save(repo: Path, settings: Settings) -> None:
    """Write a repository's settings; readable by its owner only, for URLs may hold passwords.

    Raises:
        UsageError: a prefix or a broker URL that cannot be used.
        StorageFailed: it could not be written.
    """
    check(settings)
    fields = msgspec.to_builtins(settings)
    write_atomic(repo / FILE_NAME, to_toml(fields).encode(), mode=0o600)


def change(repo: Path, name: str, text: str | None) -> Settings:
    """Set one key of a repository's settings, or take it away; the rest of the file stays.

    Args:
        repo: folder of the repository.
        name: the key, such as `expiry.timestamp_days`, `brokers[0].url`, or `brokers[1].url` to
            add a second broker.
        text: the value as text, of a list with commas between; None takes the key, or a whole
            broker, away.

    Raises:
        NotFound: there is no repository here, or nothing at that key to take away.
        UsageError: the key is not known, or cannot have that value. Nothing was changed.
        StorageFailed: it could not be written.
    """
    steps = _steps(name)
    _read(repo)  # nothing is made in a folder that is no repository
    with exclusive(repo / ".lock", str(repo)):
        before = _read(repo)
        if text is not None and (hint := broker_hint(name, _broker_count(before))):
            raise UsageError(hint)
        if text is None:
            after = _without(before, steps, name)
        else:
            # As the text says it first; what it means for this key is known when it is read so.
            fields = read_toml(_with(before, steps, _given(name, text)))
            meant: Any = msgspec.to_builtins(convert(fields, Settings, "config", strict=False))
            after = _with(before, steps, functools.reduce(lambda at, step: at[step], steps, meant))
        settings = convert(read_toml(after), Settings, "config")
        check(settings, "config: ")
        write_atomic(repo / FILE_NAME, after.encode(), mode=0o600)
    return settings


def broker_hint(name: str, count: int) -> str:
    """Say how a broker's keys are written, where a name means brokers and no key of one.

    Args:
        name: a key, as a person typed it.
        count: how many brokers are set.

    Returns:
        A sentence; empty where the name is of a broker's key, or of something else.
    """
    from difflib import get_close_matches  # only who sets a key needs it

    first, *more = _steps(name)
    if first != "brokers" and not get_close_matches(str(first), ["brokers"]):
        return ""
    if first == "brokers" and len(more) > 1 and isinstance(more[0], int):
        return ""
    what = "brokers is a list" if first == "brokers" else f"there is no key {first!r:.80}"
    there = "brokers[0].url, or " if count else ""
    new = f"brokers[{count}].url for {'one more' if count else 'the first'}"
    return f"{what}: name one key of one of them, such as {there}{new}"


def _broker_count(text: str) -> int:
    """Count the brokers in the text of a file, which may have a value that is wrong."""
    found = _document(text).get("brokers", [])
    return len(found) if isinstance(found, list) else 0


def _given(name: str, text: str) -> str | list[str]:
    """Give what stands for a value as text: of a list, its items with commas between."""
    is_list = any(key.name == name and key.is_list for key in keys_of(Settings))
    return [item.strip() for item in text.split(",") if item.strip()] if is_list else text


def _steps(name: str) -> tuple[str | int, ...]:
    """Take a key apart: `brokers[0].url` or `brokers.0.url`."""
    parts = name.replace("[", ".").replace("]", "").split(".")
    if not all(parts):
        raise UsageError(f"expected a key such as expiry.timestamp_days, got {name!r:.80}")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _document(text: str) -> tomlkit.TOMLDocument:
    import tomlkit  # only where a file is changed

    try:
        return tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as exc:
        raise UsageError(f"{FILE_NAME} is not TOML: {exc}; mend it by hand first") from exc


def _with(text: str, steps: tuple[str | int, ...], value: object) -> str:
    import tomlkit

    document = _document(text)
    place: Any = document
    for step, after in itertools.pairwise(steps):
        if isinstance(step, int):
            if step == len(place):  # a list in one line takes a table in one line
                is_aot = isinstance(place, tomlkit.items.AoT)
                place.append(tomlkit.table() if is_aot else tomlkit.inline_table())
        elif not place.get(step):
            place[step] = tomlkit.aot() if isinstance(after, int) else tomlkit.table()
        place = _inside(place, step, steps)
    if not isinstance(place, dict) or isinstance(steps[-1], int):
        raise _no_such_key(steps)
    place[steps[-1]] = value
    return document.as_string()


def _without(text: str, steps: tuple[str | int, ...], name: str) -> str:
    document = _document(text)
    place: Any = document
    for step in steps[:-1]:
        place = _inside(place, step, steps)
    try:
        del place[steps[-1]]
    except (LookupError, TypeError, ValueError) as exc:
        raise NotFound(f"{name} is not set; its default counts") from exc
    return document.as_string()


def _inside(place: Any, step: str | int, steps: tuple[str | int, ...]) -> Any:
    try:
        return place[step]
    except (LookupError, TypeError, ValueError) as exc:
        raise _no_such_key(steps) from exc


def _no_such_key(steps: tuple[str | int, ...]) -> UsageError:
    return UsageError(
        f"there is no key {'.'.join(map(str, steps))!r:.80}; `slotcast config list REPO` shows all,"
        " and the next broker may be added by its url"
    )


def check(settings: Settings, where: str = "") -> None:
    """Check what no single key can say.

    Raises:
        UsageError: a prefix or a broker URL that cannot be used.
    """
    Topics(settings.prefix)
    for number, broker in enumerate(settings.brokers):
        BrokerAddress.parse(broker.url, f"{where}brokers[{number}].url")
    check_page(settings.page, where)


def to_toml(fields: Mapping[str, Any]) -> str:
    """Write plain values, tables and lists of tables; a value that is None is left out."""
    import tomlkit  # only where something is written

    return tomlkit.dumps(_without_none(fields))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list | tuple) else value
