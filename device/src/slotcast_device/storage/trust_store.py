"""Whom the device believes: the notice's signatures, with what this device has seen kept on disk.

The pinned root is given at each start, so a damaged cache can only cost versions already seen,
never trust; the sequence floor that must not be lost is kept in the state record (python-tuf
renames its files without fsync, so a power cut may take them).

A notice is verified in a copy of what was seen, and what the client stored on the way is kept only
if all of the notice is good: timestamps of all models are signed by one key (ADR 0111), and one of
another model would make this model's own look like replays. New roots are kept in any case, for all
models have them in common, and a revoked key must be forgotten as soon as may be.

A notice that is refused beside what was seen before is looked at once more by itself. If it is
good then, its signatures are not at fault: two publishers sign for this model, each with versions
of its own (a second machine, a restored backup), or somebody replays an old notice.
"""

from __future__ import annotations

import re
import shutil
import stat
from pathlib import Path
from typing import Final

from slotcast_device.storage.disk import storage_errors
from slotcast_schemas import limits, verify
from slotcast_schemas.errors import (
    BadSignature,
    Inconsistent,
    MalformedMessage,
    RefusedRelease,
    Replayed,
)
from slotcast_schemas.plain_files import read_start
from slotcast_schemas.verify import Trusted

__all__ = ["Trusted", "verify_notice"]
_TEXT_MAX_CHARS: Final = 400
"""The characters that are kept of what python-tuf says."""

_COPY: Final = "next"
"""The folder in which a notice is verified before anything of it is remembered."""

_BY_ITSELF: Final = "by-itself"
"""The folder in which a refused notice is looked at as if nothing had been seen."""

_ROOTS: Final = "root_history"
"""The folder in which TUF's client keeps roots."""

_ROOT: Final = "root.json"
"""The link with which TUF's client names the newest of them."""

_ROOT_LINK: Final = re.compile(rf"{_ROOTS}/[0-9]{{1,10}}\.root\.json")
"""Where that link leads."""


def verify_notice(
    data: bytes, model: str, pinned_root: bytes, trust_dir: Path, signed_time: int = 0
) -> Trusted:
    """Verify a notice and give what it says; see `slotcast_schemas.verify.verify_notice`.

    Args:
        data: the notice as received.
        model: the model that the topic names.
        pinned_root: root metadata that this device was provisioned with.
        trust_dir: folder where TUF keeps, for this model, the versions it has seen.
        signed_time: when the newest notice seen was signed, in seconds since 1970; 0: not known.

    Raises:
        RefusedRelease: of the kind that says what is wrong.
        StorageFailed: TUF's files cannot be written.
    """
    with storage_errors(f"write {trust_dir}"):
        _make_own_folder(trust_dir)
        try:
            return _verify_in_copy(data, model, pinned_root, trust_dir)
        except (BadSignature, Inconsistent, MalformedMessage, Replayed) as exc:
            by_itself = _verify_by_itself(data, model, pinned_root, trust_dir)
            if by_itself is None or _is_replay(exc, by_itself, signed_time):
                raise
            raise Inconsistent(
                "truly signed, but not by one who knows what this device has seen (two"
                f" publishers? a restored backup?): {exc}"[:_TEXT_MAX_CHARS]
            ) from exc


def _verify_in_copy(data: bytes, model: str, pinned_root: bytes, trust_dir: Path) -> Trusted:
    """Verify a notice beside what was seen, and remember it if it is good."""
    copy = trust_dir / _COPY
    _remove(copy)
    _copy_what_was_seen(trust_dir, copy)
    try:
        trusted = verify.verify_notice(data, model, pinned_root, copy)
        _keep(copy, trust_dir)
    except RefusedRelease:
        _keep(copy / _ROOTS, trust_dir / _ROOTS)
        raise
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    return trusted


def _keep(source: Path, target: Path) -> None:
    """Put files into a folder, each whole; TUF's client copes where a power cut takes some."""
    if not source.is_dir():
        return
    _make_own_folder(target)
    for path in sorted(source.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _keep(path, target / path.name)
        else:
            kept = target / path.name
            if kept.is_dir() and not kept.is_symlink():  # all else gives way to a rename
                shutil.rmtree(kept)
            path.replace(kept)


def _make_own_folder(path: Path) -> None:
    """Make a folder in place of whatever else is there: a file, a pipe, a link to one elsewhere."""
    if path.is_symlink() or not path.is_dir():
        _remove(path)
        path.mkdir(parents=True)


def _remove(path: Path) -> None:
    """Remove whatever has a name; missing is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


def _copy_what_was_seen(source: Path, target: Path) -> None:
    """Copy what is TUF's in a folder, and nothing that a stranger may have put there.

    Modes and names are not copied: the unit's sandbox lets nobody set a group's bit, and not every
    file system has hard links.
    """
    _copy_files(source, target)
    if not (source / _ROOTS).is_symlink() and (source / _ROOTS).is_dir():
        _copy_files(source / _ROOTS, target / _ROOTS)
    newest = source / _ROOT
    if newest.is_symlink() and _ROOT_LINK.fullmatch(str(newest.readlink())):
        (target / _ROOT).symlink_to(newest.readlink())


def _copy_files(source: Path, target: Path) -> None:
    """Copy small plain files; what is a link, a pipe, a device, a folder or large is left out."""
    target.mkdir()
    for path in sorted(source.glob("*.json")):
        about = path.lstat()
        if stat.S_ISREG(about.st_mode) and about.st_size <= limits.TARGET_MAX_BYTES:
            (target / path.name).write_bytes(read_start(path, limits.TARGET_MAX_BYTES))


def _verify_by_itself(
    data: bytes, model: str, pinned_root: bytes, trust_dir: Path
) -> Trusted | None:
    """Verify a notice as a device would that has seen nothing yet; None where it is no good."""
    folder = trust_dir / _BY_ITSELF
    _remove(folder)
    folder.mkdir()
    try:
        return verify.verify_notice(data, model, pinned_root, folder)
    except RefusedRelease:
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_replay(error: RefusedRelease, notice: Trusted, signed_time: int) -> bool:
    """Whether an older notice was signed before the newest one, as a replay must have been."""
    return isinstance(error, Replayed) and not 0 < signed_time < notice.offer.issued
