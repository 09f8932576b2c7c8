"""Who may read and write what: the agent its secrets and its state, applications the model.

A device has several users: the agent's, those of applications, and root at the command line.
This says whose a state directory is, has root act as that user, and finds what is owned or open
other than it must be, with the command that puts it right. It changes nothing.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_device.application.app_report import (
    REPORTS_FOLDER_MODE,
    malformed_reports,
    read_reports,
)
from slotcast_device.runtime.users import (
    become,
    closed_at,
    group_name,
    is_there,
    owner_of,
    short_name,
    this_user,
    user_name,
)
from slotcast_schemas.plain_files import open_regular

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig

_LOG: Final = logging.getLogger("slotcast.device")
_ENTRIES_MAX: Final = 20_000
"""The most entries of a state directory that are looked at; one with more is not a device's, and is
looked at in part."""


def become_agent_user(config: DeviceConfig, *, is_logged: bool = False) -> None:
    """Where root acts on another user's state directory, go on as that user.

    What root wrote there the agent could not replace or read. The user is the one whose agent
    wrote there last (`device.json`), or ran there (`lock`), or else who owns the folder.

    Raises:
        UsageError: this process may not change its user.
    """
    if os.geteuid() != 0:
        return
    for path in (config.state_dir / "device.json", config.state_dir / "lock", config.state_dir):
        try:
            found = path.lstat()
        except OSError:
            continue
        if found.st_uid != 0:
            if is_logged:
                _LOG.info("going on as %s, whose %s is", user_name(found.st_uid), config.state_dir)
            become(found.st_uid, found.st_gid)
        return


# --- what the configuration names -----------------------------------------------------------------


def configuration_problems(config: DeviceConfig) -> Iterator[str]:
    """Say what of the configuration this user cannot read, or can be read by who must not."""
    for path, is_secret in _list_named_files(config):
        try:
            with open_regular(path):
                mode = path.stat().st_mode
        except PermissionError:
            me = short_name(os.geteuid())
            yield f"{path} cannot be read by {this_user()}: chown {me} {closed_at(path)}"
            continue
        except OSError as exc:
            yield f"{path}: {exc.strerror}"
            continue
        if is_secret and mode & stat.S_IROTH:
            yield f"{path} can be read by every user of this device: chmod o-rwx {path}"
    for broker in config.values.brokers:
        if broker.address.shows_password:
            yield (
                f"the password for {broker.name} goes over the network as it is: use mqtts://"
                " there, or a certificate, and change the password"
            )


def owner_problems(config: DeviceConfig) -> Iterator[str]:
    """Say which files of the device's owner (hooks, consent, metered) cannot be used."""
    values = config.values
    for name in (values.update.consent, values.policy.metered_file, values.update.hooks):
        if name is not None and is_there(config.folder / name) is None:
            yield f"{config.folder / name} is closed to {this_user()}: open its folder to that user"
    if values.update.hooks is None:
        return
    hooks = config.folder / values.update.hooks
    if is_there(hooks) is False:
        yield f"{hooks} is not there, so no hook is asked: make it, or take update.hooks away"
        return
    try:
        found = sorted(path for path in hooks.iterdir() if path.is_file())
    except OSError:
        return  # said above
    for path in found:
        if not os.access(path, os.X_OK):
            yield f"{path} cannot be run by {this_user()}: chmod +rx {path}"


def _list_named_files(config: DeviceConfig) -> Iterator[tuple[Path, bool]]:
    """Give each file, and whether it holds a secret."""
    brokers = config.values.brokers
    has_password = any(broker.address.password is not None for broker in brokers)
    yield config.path.absolute(), has_password
    yield config.folder / config.values.root, False
    for broker in brokers:
        for name, is_secret in (
            (broker.ca, False),
            (broker.certificate, False),
            (broker.key, True),
        ):
            if name is not None:
                yield config.folder / name, is_secret
    at_rest = config.values.at_rest
    if at_rest is not None:
        yield config.folder / at_rest.key_file, at_rest.token is None
        if at_rest.token is not None:
            yield config.folder / at_rest.token.pin_file, True


# --- the state directory --------------------------------------------------------------------------


def state_problems(config: DeviceConfig) -> Iterator[str]:
    """Say what in the state directory does not belong to this user."""
    me = os.geteuid()
    others = [(path, uid) for path, uid in _list_owners(config) if uid != me]
    if others:
        path, uid = others[0]
        yield (
            f"{path} belongs to {user_name(uid)}, as do or may {len(others) - 1} more;"
            f" expected {this_user()}: chown -R {short_name(me)}: {config.state_dir}"
        )


def _list_owners(config: DeviceConfig) -> Iterator[tuple[Path, int]]:
    """Give each file of the agent's with its owner; what is in `app` is of the applications."""
    left = _ENTRIES_MAX
    waiting = [config.state_dir]
    while waiting and left > 0:
        path = waiting.pop()
        left -= 1
        uid = owner_of(path)
        if uid is None:
            continue
        yield path, uid
        is_reports = path.name == "app" and path.parent.parent == config.state_dir / "models"
        if path.is_dir() and not path.is_symlink() and not is_reports:
            try:
                waiting += sorted(path.iterdir(), reverse=True)
            except OSError:
                continue  # not ours, and so named already


# --- applications ---------------------------------------------------------------------------------


def application_problems(config: DeviceConfig, model: str) -> Iterator[str]:
    """Say why applications cannot read the model or report, or why their reports are of no use.

    Whether users other than the agent's are meant to is seen by the set-group-id bit of the state
    directory, with which it is installed for a group (docs/install.md).
    """
    folder = config.model_dir(model) / "app"
    try:
        found = folder.stat()
    except OSError:
        return  # the agent makes it
    if not stat.S_ISDIR(found.st_mode):
        yield f"{folder}: expected a folder; remove it, and start the agent again"
        return
    me = short_name(os.geteuid())
    if found.st_uid != os.geteuid():
        yield (
            f"{folder} belongs to {user_name(found.st_uid)}, so that old reports cannot be removed"
            f" by {this_user()}: chown {me} {folder}"
        )
    if _is_for_a_group(config):
        yield from _find_closed_folder(config, model, found.st_gid)
        if not found.st_mode & stat.S_IWGRP:
            mode = f"{stat.S_IMODE(found.st_mode) | REPORTS_FOLDER_MODE | stat.S_ISGID:o}"
            yield (
                f"{folder}: the group {group_name(found.st_gid)} may not write reports there:"
                f" chmod {mode} {folder}"
            )
    unreadable = read_reports(folder).unreadable
    if unreadable:
        yield (
            f"{folder}: {unreadable} reports cannot be read by {this_user()}: applications must"
            " write them readable (mode 0644)"
        )
    yield from (f"{folder}: {problem}" for problem in malformed_reports(folder))


def _find_closed_folder(config: DeviceConfig, model: str, gid: int) -> Iterator[str]:
    """Say which folder on the way to the model its applications' group may not enter."""
    model_dir = config.model_dir(model)
    for path in (config.state_dir, config.state_dir / "models", model_dir, model_dir / "slots"):
        try:
            found = path.stat()
        except OSError:
            continue
        is_open = found.st_mode & 0o005 == 0o005  # to everyone
        if not is_open and (found.st_gid != gid or found.st_mode & 0o050 != 0o050):
            group = group_name(gid)
            yield (
                f"{path} is closed to the group {group}, whose applications read the model:"
                f" chgrp {group} {path} && chmod g+rx {path}"
            )


def applications(config: DeviceConfig, model: str) -> str:
    """Say which applications may read the model and report."""
    folder = config.model_dir(model) / "app"
    try:
        found = folder.stat()
    except OSError:
        return f"{folder} is made when the agent starts"
    if found.st_mode & stat.S_IWGRP:
        return f"applications of the group {group_name(found.st_gid)} may report"
    return f"applications of {user_name(found.st_uid)} may report"


def _is_for_a_group(config: DeviceConfig) -> bool:
    try:
        return bool(config.state_dir.stat().st_mode & stat.S_ISGID)
    except OSError:
        return False
