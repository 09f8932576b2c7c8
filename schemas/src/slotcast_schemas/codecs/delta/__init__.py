"""The delta codec: a new image from an old one, knowing that most bytes are tensors."""

from slotcast_schemas.codecs.delta.decoder import decode_delta

__all__ = ["decode_delta"]
