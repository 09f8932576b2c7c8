"""Whose fault is a request that failed: the release's, the caller's, or nobody's?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slotcast_device.hotmodel.contract import Contract
from slotcast_device.hotmodel.source import Opened, other_releases


def is_fault(
    exc: BaseException,
    session: Any,
    opened: Opened,
    output_names: Sequence[str] | None,
    input_feed: Mapping[str, Any],
    run_options: Any,
) -> bool | None:
    """Say whether a call that raised is to be held against the release; None if neither way.

    It is held neither for nor against it where the caller ended the call: by a signal, or by its
    `RunOptions`.

    Args:
        exc: what the call raised.
        session: the `InferenceSession` that it ran on.
        opened: the release of that session.
        output_names: the outputs that were asked for; None for all.
        input_feed: what was handed over.
        run_options: onnxruntime's `RunOptions`, or None.
    """
    if not isinstance(exc, Exception) or getattr(run_options, "terminate", False):
        return None
    try:
        if Contract.of_session(session).takes(output_names, input_feed):
            return True
        others = (Contract.of_release(release) for release in other_releases(opened))
        return any(other.takes(output_names, input_feed) for other in others if other)
    except Exception:  # noqa: BLE001 (what the caller handed over may raise at any touch)
        return True
