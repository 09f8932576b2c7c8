"""The commands of `slotcast-device`, by name: what each does, and its exit code.

What takes long to import (the agent, and with it numpy, TUF and MQTT) is imported by the commands
that use it, so that `status` answers at once (tests/unit/workspace/test_start.py).
"""

from __future__ import annotations

import base64
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device import packaged_files
from slotcast_device.access_check import become_agent_user
from slotcast_device.at_rest_check import slots_at_rest
from slotcast_device.config import DeviceConfig
from slotcast_device.core.model_status import model_status
from slotcast_device.core.signed_time import clock_word, notice_word
from slotcast_device.core.state import ModelState
from slotcast_device.exit_codes import ENDED_OTHERWISE, NO_BROKER, OK
from slotcast_device.operator_requests import Control, OperatorRequest
from slotcast_device.reporting.agent_view import AgentView, read_view
from slotcast_device.reporting.log_format import set_up_log
from slotcast_device.reporting.release_words import read_words
from slotcast_device.reporting.status_counter import read_counter
from slotcast_device.reporting.status_message import build_status
from slotcast_device.reporting.status_text import lines_of
from slotcast_device.storage import state_file as records
from slotcast_device.storage.disk import storage_errors
from slotcast_device.storage.lock import is_locked, locked
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.state_modes import close_if_nobody_is_locked_out, make_closed
from slotcast_schemas.command import STOPPED
from slotcast_schemas.errors import (
    StateLocked,
    TransferFailed,
    UsageError,
)
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import FrameType

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from slotcast_device.agent import Agent
    from slotcast_device.storage.identity import DeviceIdentity
    from slotcast_schemas.messages import Status

_LOG: Final = logging.getLogger("slotcast.device")


def carry_out(options: argparse.Namespace) -> int:
    """Carry out the command that was asked for; gives its exit code.

    Raises:
        UsageError: the configuration or an option is not fit.
        SlotcastError: what the command says.
    """
    if options.config is None:
        return list_files(options)
    config = DeviceConfig(options.config)
    log = config.values.log
    set_up_log(options.log or log.level, options.log_format or log.format)
    become_agent_user(config, is_logged=options.run == "run")
    return COMMANDS[options.run](config, options)


# --- run ----------------------------------------------------------------------------------------


def run_agent(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Receive and install updates until stopped, or with `--once` until they are settled."""
    from slotcast_device.agent import Agent
    from slotcast_device.runtime.arena import share_one_arena
    from slotcast_device.runtime.garbage import look_for_garbage_less_often
    from slotcast_schemas.confinement.privileges import hide_memory

    share_one_arena()
    look_for_garbage_less_often()
    hide_memory()  # models are tried in children of the same user
    with storage_errors(f"make {config.state_dir}"):
        make_closed(config.state_dir)
    if said := close_if_nobody_is_locked_out(config.state_dir):
        _LOG.warning("%s", said)
    with locked(config.state_dir):
        agent = Agent(config)
        stops: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            del frame
            stops.append(number)
            agent.stop()

        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            numbers.append(signal.SIGHUP)
        for number in numbers:
            signal.signal(number, stop)
        if not options.once:
            agent.run()
            return OK
        deadline_s = None if options.timeout is None else time.monotonic() + options.timeout
        agent.run(lambda a: _is_enough(a, deadline_s))
        return STOPPED if stops else _choose_exit_code(agent)


def _is_enough(agent: Agent, deadline_s: float | None) -> bool:
    if deadline_s is not None and time.monotonic() > deadline_s:
        return True
    return all(core.is_settled or core.is_unreadable for core in agent.cores)


def _choose_exit_code(agent: Agent) -> int:
    codes = []
    for core in agent.cores:
        status = core.status()
        done = core.is_settled and (
            status.state is State.COMMITTED or status.reason == Reason.UP_TO_DATE
        )
        text = f"{core.model}: {status.state} ({status.reason}) {status.detail}".rstrip()
        sys.stderr.write(text + "\n")
        if done:
            codes.append(OK)
        elif not core.notices_seen and isinstance(agent.last_error, TransferFailed):
            sys.stderr.write(f"{core.model}: {agent.last_error}\n")
            codes.append(NO_BROKER)
        elif not core.is_settled and not core.is_unreadable:
            sys.stderr.write(f"{core.model}: not settled in the time given\n")
            codes.append(NO_BROKER)
        else:
            codes.append(ENDED_OTHERWISE)
    return max(codes)


# --- requests -------------------------------------------------------------------------------------


def leave_request(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Leave the request; where no agent runs, carry it out here, without a broker.

    Raises:
        UsageError: `--model` names none of this device's, or must be given.
        StorageFailed: the request cannot be written.
    """
    models = config.values.models
    model = options.model or (models[0] if len(models) == 1 else None)
    if model not in models:
        raise UsageError(f"--model: expected one of {', '.join(models)}, got {model!r}")
    control = Control(OsDisk(), config.state_dir)
    control.ask(OperatorRequest(do=options.do, model=model, sequence=options.sequence))

    from slotcast_device.agent import Agent

    try:
        with locked(config.state_dir):
            agent = Agent(config, is_offline=True)
            agent.run(lambda a: a.is_idle)
    except StateLocked:
        sys.stdout.write("the running agent was asked; see `slotcast-device status`\n")
        return OK
    status = next(m for m in read_status(config).models if m.model == model)
    sys.stdout.write(f"{model}: {status.state} ({status.reason})\n")
    return OK


def ping_agent(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Ask the running agent for a sign of life."""
    if Control(OsDisk(), config.state_dir).ping(options.timeout):
        sys.stdout.write(f"{config.values.device}: the agent is alive\n")
        return OK
    sys.stderr.write(
        f"slotcast-device: no agent of {config.values.device} gave a sign of life within"
        f" {options.timeout:g} s: none runs, or it hangs\n"
    )
    return ENDED_OTHERWISE


def list_files(options: argparse.Namespace) -> int:
    """List the files that came with this distribution, or copy them."""
    if options.copy_to is None:
        for name, description in packaged_files.DESCRIPTIONS.items():
            sys.stdout.write(f"{name:30} {description}\n")
        return OK
    for path in packaged_files.copy_to(options.copy_to):
        sys.stdout.write(f"{path}\n")
    return OK


# --- status and check -----------------------------------------------------------------------------


def read_status(config: DeviceConfig, *, with_inventory: bool = False) -> Status:
    """Build the status from the durable records alone; needs no running agent and no lock."""
    disk, wall_s = OsDisk(), time.time()
    states = []
    for model in config.values.models:
        state = records.load(disk, records.path_in(config.model_dir(model)), model)
        states.append(state or ModelState(model=model))
    known_s = max(wall_s, *(state.signed_time for state in states))  # a clock may be behind
    models = [model_status(s, is_stale=notice_word(s, known_s) == "stale") for s in states]
    clock = clock_word(wall_s, states, config.root_expires_s)
    view = read_view(config.state_dir)
    link = None if view is None else view.link
    counter = read_counter(config, disk)
    return build_status(config, models, counter, clock, link, with_inventory=with_inventory)


def as_json(value: object) -> str:
    """Write messages as JSON: digests in hexadecimal, everything else as it is."""

    def plain(item: object) -> object:
        if isinstance(item, bytes):
            return item.hex() if len(item) == 32 else base64.b64encode(item).decode()
        if isinstance(item, dict):
            return {key: plain(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(inner) for inner in item]
        return item

    builtins = plain(msgspec.to_builtins(value, builtin_types=(bytes,)))
    return msgspec.json.format(msgspec.json.encode(builtins), indent=2).decode()


def show_status(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Say where each model stands, for people or as JSON."""
    status = read_status(config, with_inventory=options.json)
    view = read_view(config.state_dir)
    is_running = is_locked(config.state_dir)
    if view is not None and is_running:
        models = tuple(view.completed(model) for model in status.models)
        status = msgspec.structs.replace(status, models=models)
    at_rest = {m.model: slots_at_rest(config, m.model) for m in status.models}
    words = {
        m.model: read_words(OsDisk(), config.model_dir(m.model), m.active) for m in status.models
    }
    if options.json:
        fields = msgspec.to_builtins(status, builtin_types=(bytes,))
        for model in fields["models"]:
            model["release_says"] = msgspec.to_builtins(words[model["model"]])
            if lies := at_rest[model["model"]]:
                model["at_rest"] = lies
        fields["agent"] = {"is_running": is_running} | _describe_view(view)
        sys.stdout.write(as_json(fields) + "\n")
        return OK
    lines = lines_of(
        status,
        view,
        is_running=is_running,
        with_evidence=options.evidence,
        words=words,
        at_rest=at_rest,
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return OK


def _describe_view(view: AgentView | None) -> dict[str, object]:
    """Give what is said of the agent to programs; its models are said with the others."""
    fields = {} if view is None else msgspec.structs.asdict(view)
    fields.pop("models", None)
    return fields


def check_device(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Check that this device can work, and say what was found."""
    from slotcast_device.self_check import check

    findings = check(config)
    if options.json:
        sys.stdout.write(as_json([finding.as_dict() for finding in findings]) + "\n")
    else:
        for finding in findings:
            mark = "ok  " if finding.passed else "FAIL"
            sys.stdout.write(f"{mark} {finding.name:16} {finding.detail}\n")
    return OK if all(finding.passed for finding in findings) else ENDED_OTHERWISE


# --- enrolment ------------------------------------------------------------------------------------


def write_enrolment_request(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Write what tells the publisher which key is this device's; made now if there is none.

    A key that is there is only read, so an agent may run meanwhile.
    """
    from slotcast_schemas.content_key import public_bytes
    from slotcast_schemas.enrolment import write_enrolment

    if options.out is not None:
        _check_takes_files("--out", options.out.absolute().parent)
    key, private = _keys_to_enrol(config, are_new=options.new_key)
    recipient = b"" if private is None else public_bytes(private)
    request = write_enrolment(key.make_request(config.values.device, recipient))
    if options.out is None:
        sys.stdout.write(request.decode())
        return OK
    OsDisk().write_atomic(options.out.absolute(), request)
    sys.stdout.write(
        f"{options.out}: the request of {config.values.device}, with key {key.key_id[:16]}; give it"
        " to the publisher: slotcast devices enrol REPO FILE\n"
    )
    return OK


def _check_takes_files(option: str, folder: Path) -> None:
    """Refuse a folder in which no file can be made, before a key is replaced for it.

    Raises:
        UsageError: it is none, or closed to this user.
    """
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UsageError(f"{option}: expected a file in a folder that can be written, got {folder}")


def _keys_to_enrol(
    config: DeviceConfig, *, are_new: bool
) -> tuple[DeviceIdentity, X25519PrivateKey | None]:
    """Give the device's own key, and its encryption key if it has one or can have one made now.

    Raises:
        UsageError: new ones are asked for, and the device's own is in a token.
        StateLocked: an agent runs, and there is no key of its own yet.
    """
    from slotcast_device.storage import encryption_key, identity
    from slotcast_device.storage.slot_files import SlotsKeyring

    if are_new and config.values.identity is not None:
        raise UsageError(
            "this device's key is in a token: make a new one there, and name it in device.toml"
        )
    disk, state_dir, keyring = OsDisk(), config.state_dir, SlotsKeyring.of(config)
    key = None if are_new else identity.load_own_identity(config, disk)
    private = None if are_new else encryption_key.load_encryption_key(disk, state_dir, keyring)
    if key is not None and private is not None:
        return key, private
    with storage_errors(f"make {state_dir}"):
        make_closed(state_dir)
    try:
        with locked(state_dir):
            make = identity.make_identity if are_new else identity.load_or_make_identity
            key = key or make(disk, state_dir)
            private = private or encryption_key.make_encryption_key(disk, state_dir, keyring)
    except StateLocked:
        if key is None:
            raise
        sys.stderr.write(
            "slotcast-device: no encryption key is made while an agent runs; stop it and enrol"
            " once more, should encrypted releases be meant for this device\n"
        )
    return key, private


def tend_certificate(config: DeviceConfig, options: argparse.Namespace) -> int:
    """Ask for a certificate by hand, or install one."""
    from slotcast_device import certificate_commands

    commands = {
        "request": certificate_commands.write_request,
        "install": certificate_commands.install,
    }
    return commands[options.do](config, options)


COMMANDS: Final[Mapping[str, Callable[[DeviceConfig, argparse.Namespace], int]]] = {
    "run": run_agent,
    "status": show_status,
    "check": check_device,
    "enrol": write_enrolment_request,
    "certificate": tend_certificate,
    "ask": leave_request,
    "ping": ping_agent,
}
"""What each command of `slotcast-device` does, by its name; it gives the exit code."""
