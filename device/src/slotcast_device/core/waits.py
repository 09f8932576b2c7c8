"""How long a device waits where nothing in its configuration says so.

Handed in, so that a test or a simulation may have other ones.
"""

from __future__ import annotations

import msgspec


class Waits(msgspec.Struct, frozen=True):
    """Times in seconds.

    Attributes:
        first_wait_s: after which, if nothing new came, a request is made again; later waits grow.
        patience_s: for which a link that brings bytes, but nothing wanted, is believed to bring a
            chunk. It allows one of the usual size 55 bytes a second, one of the largest 212.
        part_max_s: within which a packet that has begun to come must be whole; chosen for the same
            speeds.
        progress_every_s: between two reports of how far a transfer is.
        watch_every_s: between two looks at a release on trial, at most.
        watch_again_s: to the next look when the trial's time is over and requests are still
            missing, or the application still loads.
        note_first_s: of trial after which what it has come to is saved for the first time.
        goodbye_s: to wait for the receipt of the farewell before a connection is let go of.
        owner_again_s: after which an owner who has not agreed yet is asked again; five times as
            long after a hook that failed.
    """

    first_wait_s: float = 5.0
    patience_s: float = 600.0
    part_max_s: float = 600.0
    progress_every_s: float = 15.0
    watch_every_s: float = 10.0
    watch_again_s: float = 2.0
    note_first_s: float = 10.0
    goodbye_s: float = 1.0
    owner_again_s: float = 60.0


USUAL: Waits = Waits()
"""Those of every device."""
