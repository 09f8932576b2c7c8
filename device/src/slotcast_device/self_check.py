"""The doctor: can this device do its work? Each finding names who must act.

Brokers are tried by `link.broker_check`, rights are looked at by `access_check`, and encrypted
slots by `at_rest_check`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from slotcast_device import access_check
from slotcast_device.at_rest_check import at_rest_problems, describe_at_rest
from slotcast_device.core.signed_time import clock_word
from slotcast_device.link.broker_check import try_broker
from slotcast_device.link.link_state import CONNECTED, STARTING, STOPPED
from slotcast_device.reporting.agent_view import read_view
from slotcast_device.runtime.importing import (
    LITERT_RUNTIME,
    RUNTIME,
    STRICT_RUNTIME,
    has_litert,
    import_problem,
    is_lenient,
    runtime_version,
)
from slotcast_device.runtime.users import short_name, this_user
from slotcast_device.storage import encryption_key
from slotcast_device.storage import state_file as records
from slotcast_device.storage.broker_book import BrokerBook
from slotcast_device.storage.client_certificates import ClientCertificates
from slotcast_device.storage.encryption_key import describe_encryption_key
from slotcast_device.storage.identity import KEY_FILE, load_own_identity
from slotcast_device.storage.key_file import KEY_MODE
from slotcast_device.storage.lock import is_locked
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slot_files import SlotsKeyring
from slotcast_device.storage.slots import SlotStore
from slotcast_device.storage.state_modes import open_folders
from slotcast_schemas.confinement import sandbox
from slotcast_schemas.confinement.trial import TrialRequest, hold_trial
from slotcast_schemas.errors import SlotcastError, StorageFailed
from slotcast_schemas.model_formats import LITERT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.core.state import ModelState, SlotName
    from slotcast_schemas.messages.status import LinkStatus

_CLOSED: Final = "closed to users outside its group"
DISK_LOW_BYTES: Final = 64 * 1024 * 1024
"""The free bytes below which the check says that the disk is too full for an update."""
_AGENT_STARTS_S: Final = 20.0
"""The seconds that an agent which has just started gets to reach a broker: people type `check`
right after they started it."""
_LOOK_S: Final = 0.2
"""The seconds between two looks at what it says."""
_CLOCK_HINTS: Final = {
    "ok": "",
    "behind": ", earlier than something that was signed, or than this software; set the clock",
    "ahead": ", later than the pinned root is good for; set the clock, or provision this device"
    " again",
}
"""What is added to the time for people, by what the clock was found to be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    passed: bool
    detail: str

    def as_dict(self) -> dict[str, object]:
        """Give it for JSON."""
        return {"name": self.name, "passed": self.passed, "detail": self.detail}


def check(config: DeviceConfig) -> list[Finding]:
    """Look at brokers, TLS, disk, runtime, clock, pinned root and state."""
    findings = [
        _check_root(config),
        _access_finding(
            "configuration", _check_configuration(config), f"all it names is open to {this_user()}"
        ),
    ]
    findings += [_check_runtime(), *_formats(config), _check_confinement(config)]
    findings += [
        *_check_encryption(config),
        *_check_at_rest(config),
        _check_clock(config),
        _check_identity(config),
    ]
    findings += [*_check_disk(config), *_check_states(config), *_check_applications(config)]
    return findings + _check_brokers(config)


def _check_root(config: DeviceConfig) -> Finding:
    try:
        root = Metadata[Root].from_bytes(config.pinned_root)
        root.verify_delegate(Root.type, root)
    except (RepositoryError, ValueError, json.JSONDecodeError) as exc:
        return Finding("pinned_root", passed=False, detail=f"{exc}; provision this device again")
    role = root.signed.roles[Root.type]
    return Finding(
        "pinned_root",
        passed=True,
        detail=f"version {root.signed.version}, {role.threshold} of {len(role.keyids)} keys",
    )


def _check_configuration(config: DeviceConfig) -> Iterable[str]:
    yield from access_check.configuration_problems(config)
    yield from access_check.owner_problems(config)


def _access_finding(name: str, problems: Iterable[str], detail: str = "") -> Finding:
    found = list(problems)
    return Finding(name, passed=not found, detail="; ".join(found) or detail)


def _check_applications(config: DeviceConfig) -> list[Finding]:
    return [
        _access_finding(
            f"applications_{model}",
            access_check.application_problems(config, model),
            access_check.applications(config, model),
        )
        for model in config.values.models
    ]


def _check_runtime() -> Finding:
    version, problem = runtime_version(), import_problem()
    if not version and not problem:
        version = "of an unknown version"
    detail = f"{RUNTIME} {version}" if not problem else f"cannot be imported: {problem}"
    hint = f"; install {RUNTIME} anew for {sys.executable}" if problem else ""
    if not problem and is_lenient(version):
        hint = (
            f"; before {STRICT_RUNTIME} it reads a model's weights from anywhere, and nothing but"
            " this device's own look at the file stands before that; update it"
        )
    return Finding("runtime", passed=not problem, detail=detail + hint)


def _formats(config: DeviceConfig) -> list[Finding]:
    """Say of each kind of model beside ONNX whether what runs it is there."""
    commands = config.format_commands()
    found = [_command(name, command[0]) for name, command in sorted(commands.items())]
    if has_litert() and LITERT not in commands:
        problem = import_problem(f"{LITERT_RUNTIME}.interpreter")
        detail = f"cannot be imported: {problem}" if problem else LITERT_RUNTIME
        found.append(Finding(f"format_{LITERT}", passed=not problem, detail=detail))
    return found


def _command(name: str, program: str) -> Finding:
    path = shutil.which(program)
    detail = f"{program} is no program that {this_user()} may run" if path is None else path
    return Finding(f"format_{name}", passed=path is not None, detail=detail)


def _check_confinement(config: DeviceConfig) -> Finding:
    """Say what a model that takes over the probe's process could still do here."""
    name = "confinement"
    folder = next(path for path in (config.state_dir, *config.state_dir.parents) if path.is_dir())
    request = TrialRequest(
        readable=str(Path(__file__).parent), secret=str(config.path.absolute()), changed=str(folder)
    )
    try:
        report = hold_trial(request)
    except OSError as exc:
        return Finding(name, passed=False, detail=f"cannot be tried: {exc}")
    why = "; ".join(f"{layer}: {text}" for layer, text in report.lacks.items())
    if not report.done:
        return Finding(name, passed=True, detail=f"holds{f' ({why})' if why else ''}")
    could = ", ".join(report.done)
    hint = "models are probed all the same; docs/health-check.md has what helps"
    is_closed = not {sandbox.NETWORK, sandbox.CALLS} & report.lacks.keys()
    return Finding(
        name,
        passed=is_closed,
        detail=f"a model that takes over its probe could {could} ({why}); {hint}",
    )


def _check_encryption(config: DeviceConfig) -> list[Finding]:
    """Whether encrypted releases can be read here, where a key was made for them."""
    try:
        keyring = SlotsKeyring.of(config)
        said = describe_encryption_key(OsDisk(), config.state_dir, keyring)
    except SlotcastError as exc:
        return [Finding("encryption", passed=False, detail=str(exc))]
    if said is None:
        return []
    hint = _open_key_hint(config.state_dir / encryption_key.KEY_FILE)
    return [Finding("encryption", passed=not hint, detail=hint or said)]


def _check_at_rest(config: DeviceConfig) -> list[Finding]:
    """Whether encrypted slots can be opened, and what they close out."""
    try:
        said = describe_at_rest(config)
    except SlotcastError as exc:
        return [Finding("at_rest", passed=False, detail=str(exc))]
    return [] if said is None else [_access_finding("at_rest", at_rest_problems(config), said)]


def _check_identity(config: DeviceConfig) -> Finding:
    """Say which key signs what this device reports, and whether others may read it."""
    path = config.state_dir / KEY_FILE
    try:
        identity = load_own_identity(config, OsDisk())
        is_file = identity is not None and config.values.identity is None
        hint = _open_key_hint(path) if is_file else ""
    except StorageFailed as exc:
        return Finding("identity", passed=False, detail=f"reports are not signed: {exc}")
    if identity is None:
        return Finding("identity", passed=True, detail="its key is made when the agent starts")
    if hint:
        return Finding("identity", passed=False, detail=hint)
    return Finding("identity", passed=True, detail=f"reports are signed by {identity.key_id[:16]}")


def _open_key_hint(path: Path) -> str:
    """Say what to do about a key's file that others may read; empty where they may not."""
    try:
        is_open = stat.S_IMODE(path.stat().st_mode) & ~KEY_MODE
    except OSError as exc:
        return f"{path}: {exc.strerror}"
    return f"{path} can be read by others: chmod 600 {path}, or make a new key" if is_open else ""


def _check_clock(config: DeviceConfig) -> Finding:
    now = time.time()
    text = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    word = clock_word(now, _read_records(config), config.root_expires_s)
    return Finding("clock", passed=word == "ok", detail=text + _CLOCK_HINTS[word])


def _read_records(config: DeviceConfig) -> list[ModelState]:
    """Give the records that can be read."""
    found = []
    for model in config.values.models:
        with contextlib.suppress(SlotcastError):
            state = records.load(OsDisk(), records.path_in(config.model_dir(model)), model)
            found += [] if state is None else [state]
    return found


def _check_disk(config: DeviceConfig) -> list[Finding]:
    if not config.state_dir.exists():
        return [_missing_folder_finding(config.state_dir)]
    disk = OsDisk()
    probe = config.state_dir / "check.tmp"
    try:
        disk.write_atomic(probe, b"check")
        disk.remove_tree(probe)
        free = disk.free_bytes(config.state_dir)
    except SlotcastError as exc:
        return [Finding("disk", passed=False, detail=str(exc))]
    low = free < DISK_LOW_BYTES
    detail = f"{config.state_dir}: writable, {free / 1e6:.0f} MB free"
    disk_finding = Finding(
        "disk", passed=not low, detail=detail + ("; free some room" if low else "")
    )
    owner = f"all of it belongs to {this_user()}"
    return [
        disk_finding,
        _access_finding("state_owner", access_check.state_problems(config), owner),
        _access_finding("state_modes", open_folders(config.state_dir), _CLOSED),
    ]


def _missing_folder_finding(state_dir: Path) -> Finding:
    """The agent makes it at its first start. This does not: it may run as another user."""
    above = next(folder for folder in state_dir.parents if folder.is_dir())
    if os.access(above, os.W_OK | os.X_OK):
        return Finding("disk", passed=True, detail=f"{state_dir}: made at the first start")
    me = short_name(os.geteuid())
    return Finding(
        "disk",
        passed=False,
        detail=f"{state_dir} is not there, and {this_user()} may not make it:"
        f" install -d -o {me} -g {me} -m 2750 {state_dir}",
    )


def _check_states(config: DeviceConfig) -> list[Finding]:
    findings = []
    for model in config.values.models:
        try:
            state = records.load(OsDisk(), records.path_in(config.model_dir(model)), model)
        except SlotcastError as exc:
            findings.append(Finding(f"state_{model}", passed=False, detail=str(exc)))
            continue
        record = None if state is None else state.active_record
        text = "nothing installed yet" if record is None else f"{record.version} is active"
        findings.append(Finding(f"state_{model}", passed=True, detail=text))
        if state is not None and state.active is not None:
            findings.append(_check_current(config, model, state.active))
    return findings


def _check_current(config: DeviceConfig, model: str, active: SlotName) -> Finding:
    """Say whether applications find what the record says is active."""
    name = f"current_{model}"
    try:
        link = SlotStore(OsDisk(), config.model_dir(model)).link()
    except SlotcastError as exc:
        return Finding(name, passed=False, detail=str(exc))
    if link.is_right and link.slot == active:
        return Finding(name, passed=True, detail=f"opens slots/{active}")
    hint = "a running agent puts it back within seconds, a start does too"
    detail = f"expected a link to 'slots/{active}', found {link.text}; {hint}"
    return Finding(name, passed=False, detail=detail)


def _check_brokers(config: DeviceConfig) -> list[Finding]:
    """Try each broker; but where the agent runs, ask it, and not the brokers.

    Some take a client's id from its certificate or user, and all let in only the last one with an
    id: another connection would push the agent off.
    """
    if is_locked(config.state_dir):
        return [_broker_finding(_wait_for_link(config))]
    book = BrokerBook(config, OsDisk(), int(time.time()))
    return [
        Finding(tried.name, tried.passed, tried.detail)
        for broker in _brokers_as_shown(config)
        for tried in try_broker(config, broker, book.of(broker.name))
    ]


def _wait_for_link(config: DeviceConfig) -> LinkStatus | None:
    """Give what the running agent says of its link; one that has just started gets some time."""
    deadline_s = time.monotonic() + _AGENT_STARTS_S
    while True:
        view = read_view(config.state_dir)
        link = None if view is None else view.link
        if _tells(link) or time.monotonic() > deadline_s:
            return link
        time.sleep(_LOOK_S)


def _tells(link: LinkStatus | None) -> TypeGuard[LinkStatus]:
    """Whether the agent has tried a broker since it started."""
    return link is not None and link.reason not in {STARTING, STOPPED}


def _brokers_as_shown(config: DeviceConfig) -> list[BrokerConfig]:
    """Give the brokers with the certificates that the agent would show them."""
    certificates = ClientCertificates(config, OsDisk())
    return [certificates.chosen(one, time.time(), 0.0) for one in config.values.brokers]


def _broker_finding(link: LinkStatus | None) -> Finding:
    if not _tells(link):
        text = "the agent runs, and has not reached a broker yet; stop it to try the brokers here"
        return Finding("broker", passed=False, detail=text)
    limits = "".join(f"; {word}" for word in link.limits)
    said = f"{link.broker}, as the running agent says: {link.reason}"
    if link.reason == CONNECTED:
        return Finding("broker", passed=True, detail=f"{said}, MQTT {link.protocol}{limits}")
    return Finding("broker", passed=False, detail=f"{said}: {link.detail}{limits}")
