"""The delta encoder: what it takes to make a new release from an old one."""

from slotcast_publisher.delta.encode import DeltaReport, SegmentRow, default_workers, encode_delta
from slotcast_publisher.delta.known_moves import KnownMoves
from slotcast_publisher.image_files import Image

__all__ = ["DeltaReport", "Image", "KnownMoves", "SegmentRow", "default_workers", "encode_delta"]
