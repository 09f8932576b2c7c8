"""Whether a release is offered small, too, beside the payload that every device can decode.

How that is packed is `weights_payload`'s, which is imported only where one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_publisher.durable import storage_errors
from slotcast_publisher.release.payloads import PayloadCandidate, Progress

if TYPE_CHECKING:
    from slotcast_publisher.store import ReleaseFolder

CODEC: Final = "full+weights"
"""The codec's name in offers."""

WORTH_A_SMALL_PAYLOAD: Final = 0.97
"""The largest share of the easy payload at which a small one is offered beside it; every broker
keeps both."""

DECODER_MEMORY_BYTES: Final = 16 * 1024 * 1024
"""The bytes that decoding needs at most, whatever the model's size; `make bench` measures it."""


class WeightsBuilder:
    """Packs the whole image small, where that saves enough for a second payload to pay."""

    name: Final = "weights"
    """The name that repositories remember."""

    def build(
        self,
        release: ReleaseFolder,
        earlier: Sequence[ReleaseFolder],
        out: Path,
        progress: Progress,
    ) -> Sequence[PayloadCandidate]:
        """Give the small payload, or none where the easy one is about as small.

        Args:
            release: the release to pack; its easy payload was made before.
            earlier: the releases before it, of which none is needed.
            out: an empty folder for the payload's file.
            progress: told what is being done.
        """
        # The encoder brings numpy, and a name that a repository remembers is asked for without it.
        from slotcast_publisher.delta.layout import find_tensors
        from slotcast_publisher.release.weights_payload import encode_weights_payload

        del earlier
        easy_bytes = min(
            (
                each.payload.size_bytes
                for each in release.payloads()
                if each.is_image and each.payload.base is None
            ),
            default=release.load().image_size_bytes,
        )
        files = release.images()
        if not find_tensors(files):
            return []
        target = out / "weights.bin"
        with storage_errors(target):
            frames = encode_weights_payload(files, target, progress=partial(progress, "pack small"))
        if sum(frames) > easy_bytes * WORTH_A_SMALL_PAYLOAD:
            return []
        return [
            PayloadCandidate(
                codec=CODEC, file=target, memory_bytes=DECODER_MEMORY_BYTES, frames=frames
            )
        ]
