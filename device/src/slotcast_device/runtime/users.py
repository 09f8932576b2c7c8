"""Users: who this process is, whose a file is, and becoming another user.

Slotcast's parts run as different users: the agent as one, applications as others, a person at the
command line as root. What one writes the other must be able to use, so errors and checks name
users as people know them.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from pathlib import Path

from slotcast_schemas.errors import UsageError


def user_name(uid: int) -> str:
    """Give a user's name with the number, or the number where it has no name."""
    with contextlib.suppress(KeyError):
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    return f"uid {uid}"


def short_name(uid: int) -> str:
    """Give a user as a command takes it: the name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Give a group as a command takes it: the name, or the number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def this_user() -> str:
    """Give the name of the user that this process acts as."""
    return user_name(os.geteuid())


def owner_of(path: Path) -> int | None:
    """Give the uid of a file's owner; None where there is no such file, or it cannot be seen."""
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def is_there(path: Path) -> bool | None:
    """Say whether a file is there; None where this user may not look."""
    try:
        path.stat()
    except PermissionError:
        return None
    except OSError:
        return False
    return True


def closed_at(path: Path) -> Path:
    """Say where the way to a file that this user may not open is closed: a folder, or itself."""
    folders = reversed(path.absolute().parents)
    return next((folder for folder in folders if not os.access(folder, os.X_OK)), path)


def become(uid: int, gid: int) -> None:
    """Go on as another user for good, with that user's groups.

    Args:
        uid: the user.
        gid: the group of a user that has no entry among the system's users.

    Raises:
        UsageError: this process may not.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        groups = [gid]
    else:
        gid = entry.pw_gid
        groups = os.getgrouplist(entry.pw_name, gid)
    try:
        os.setgroups(groups)
        os.setgid(gid)
        os.setuid(uid)
    except OSError as exc:
        raise UsageError(
            f"expected to go on as {user_name(uid)}, which {this_user()} may not"
            f" ({exc.strerror}); run this as that user"
        ) from exc
