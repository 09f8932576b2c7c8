"""The old release's figures, against which a trial is judged, kept over restarts of the agent.

They lie in the application's reports, and go with them: a process that ends on purpose takes its
reports along. A trial that went on without them would hold against the new release what the old
one could not do either. Small, written a few times in a trial; what cannot be kept is done without.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.trial.live_figures import LiveFigures
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    from slotcast_device.storage.disk import Disk

REFERENCE_MAX_BYTES: Final = 64 * 1024
"""The most bytes of the file that are read."""
_GROWTH: Final = 2
"""The number of times as many requests that must be known for the reference to be written again."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Whose trial it is for, and the figures."""

    image_sha256: bytes
    figures: LiveFigures


make_decoders(_Kept)


class Reference:
    """The best that is known of the old release.

    Args:
        disk: the durable layer.
        path: of the file.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._kept: _Kept | None = None
        self._is_read = False

    def best(self, live: LiveFigures, trial_of: bytes) -> LiveFigures:
        """Give the figures with more requests: those of the reports now, or those kept before.

        Args:
            live: as added up from the reports that are there.
            trial_of: digest of the image on trial.
        """
        kept = self._read(trial_of)
        known = 0 if kept is None else kept.requests
        if live.requests >= max(1, _GROWTH * known):
            self._kept = _Kept(image_sha256=trial_of, figures=live)
            with contextlib.suppress(StorageFailed):
                self._disk.write_atomic(self._path, msgspec.json.encode(self._kept))
        return live if kept is None or live.requests >= known else kept

    def _read(self, trial_of: bytes) -> LiveFigures | None:
        if not self._is_read:
            self._is_read = True
            with contextlib.suppress(StorageFailed, *UNDECODABLE):
                data = self._disk.read(self._path, REFERENCE_MAX_BYTES)
                self._kept = None if data is None else msgspec.json.decode(data, type=_Kept)
        if self._kept is None or self._kept.image_sha256 != trial_of:
            return None
        return self._kept.figures
