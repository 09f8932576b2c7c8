"""Who may enter the state directory: its user, and the group of the applications.

Closing the one folder closes all that lies in it. A directory that is made is closed from the
start. One that is there and open is closed if it was installed for a group (its set-group-id bit):
its applications were told to be in that group. If one of them is not, it stays open and the agent
says so, for an update of the agent must not take an application's model away. The modes of files
are set by `os_disk`.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from slotcast_device.runtime.users import group_name, user_name

CLOSED_MODE: Final = 0o750
"""Of a state directory that the agent makes: its user, and who is in its group."""
_OTHERS: Final = stat.S_IRWXO
_REPORTS_MAX: Final = 1_000
"""The most reports of a model whose owners are looked at."""


def make_closed(state_dir: Path) -> None:
    """Make the state directory, closed to users outside its group; one that is there stays.

    Raises:
        OSError: it cannot be made.
    """
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    try:
        state_dir.mkdir(mode=CLOSED_MODE)
    except FileExistsError:
        return


def close_if_nobody_is_locked_out(state_dir: Path) -> str:
    """Close a directory that was installed for a group; say why it stays open, or nothing."""
    try:
        found = state_dir.stat()
    except OSError:
        return ""
    is_for_a_group = bool(found.st_mode & stat.S_ISGID)
    if not found.st_mode & _OTHERS or not is_for_a_group or found.st_uid != os.geteuid():
        return ""
    group = group_name(found.st_gid)
    outside = next(_users_outside(state_dir, found.st_gid), None)
    if outside is not None:
        return (
            f"{state_dir} stays open to every user, because the application of {user_name(outside)}"
            f" is not in the group {group}: put it there, and start the agent again"
        )
    try:
        state_dir.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    except OSError as exc:  # systemd's RestrictSUIDSGID, which sets the mode by itself
        return f"{state_dir} is open to every user ({exc.strerror}): chmod o-rwx {state_dir}"
    return ""


def open_folders(state_dir: Path) -> Iterator[str]:
    """Say which folders users may enter, or change, who must not."""
    try:
        found = state_dir.stat()
    except OSError:
        return
    if found.st_mode & _OTHERS and _is_reached_by_all(state_dir):
        group = group_name(found.st_gid)
        yield (
            f"{state_dir} is open to every user of this device: put the users of applications into"
            f" the group {group}, then chmod o-rwx {state_dir}"
        )
    # A group without applications is the agent's own: it may have a umask of 002.
    foreign = stat.S_IWOTH | (stat.S_IWGRP if found.st_mode & stat.S_ISGID else 0)
    models = state_dir / "models"
    for path in (state_dir, state_dir / "control", models, *models.glob("*"), *models.glob("*/*")):
        if path.name == "app" or path.is_symlink() or not path.is_dir():
            continue
        mode = path.stat().st_mode
        if mode & foreign:
            who = "every user" if mode & stat.S_IWOTH else f"the group {group_name(found.st_gid)}"
            yield f"{path} can be changed by {who}: chmod go-w {path}"


def _is_reached_by_all(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents)


def _users_outside(state_dir: Path, gid: int) -> Iterator[int]:
    """Give the users who report and are not known to be in the group."""
    inside = {0, os.geteuid()}
    for folder in state_dir.glob("models/*/app"):
        for path in islice(folder.iterdir(), _REPORTS_MAX):
            uid = path.lstat().st_uid
            if uid not in inside and not _is_in_group(uid, gid):
                yield uid
            inside.add(uid)


def _is_in_group(uid: int, gid: int) -> bool:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return False
    return gid in os.getgrouplist(entry.pw_name, entry.pw_gid)
