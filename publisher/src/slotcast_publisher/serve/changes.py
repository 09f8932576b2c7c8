"""Finds out which models' notices may have changed, by the stamps of files, not by reading them.

A notice is a function of the root and of what the model's timestamp stands for. Every signature
writes the timestamp of its set of roles, and then one file that the whole repository has in
common: so a look at a repository in which nothing happened costs two calls of stat, whatever the
number of models. Once in a while all timestamps are looked at all the same, for the process that
was killed between those two writes.
How often a look is taken is decided by `service`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tuf.api.metadata import Root

from slotcast_publisher.trust.repository_roles import RepositoryRoles

LOOKS_PER_SCAN: Final = 24
"""The number of looks after which all timestamps are looked at, whether or not anything changed:
every two minutes, by the usual time between two looks."""

Stamp = tuple[int, int, int] | None
"""The inode, the size in bytes and the time of change in nanoseconds of a file, if it is there."""


class Changes:
    """What changed in a repository since it was last asked.

    Args:
        roles: the repository's signed roles.
    """

    def __init__(self, roles: RepositoryRoles) -> None:
        self._roles = roles
        self._common: tuple[Stamp, Stamp] | None = None
        self._known: Mapping[str, tuple[int, Stamp]] = {}
        self._looks_left = 0

    def take(self) -> set[str]:
        """Name the models that came, went, or were signed for since the last call; all at first."""
        common = _stamp(self._roles.signed_at_file), _stamp(self._roles.folder)
        if common == self._common and self._looks_left > 0:
            self._looks_left -= 1
            return set()
        self._looks_left = LOOKS_PER_SCAN
        self._common = common  # taken before the scan: what is signed meanwhile is seen again
        before, self._known = self._known, self._scan()
        return {name for name, _ in before.items() ^ self._known.items()}

    def _scan(self) -> dict[str, tuple[int, Stamp]]:
        root = self._roles.shared.newest_version(Root.type)
        shared = (root, _stamp(self._roles.shared.timestamp_file))
        found = dict.fromkeys(self._roles.shared_models(), shared)
        for model in self._roles.separate_models():
            found[model] = (root, _stamp(self._roles.own(model).timestamp_file))
        return found


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
