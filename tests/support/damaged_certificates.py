"""Certificates and requests whose parts cannot be read, as strangers would make them."""

from __future__ import annotations

from collections.abc import Callable

ED25519 = bytes.fromhex("06032b6570")
"""What names the kind of a key in DER."""
KEY_ID, KEY_USAGE = bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d0f")
"""Two extensions."""


def no_version(der: bytes) -> bytes:
    """Give it a version that is none."""
    for begins in (b"\xa0\x03\x02\x01\x02", b"\x02\x01\x00"):
        if begins in der:
            return der.replace(begins, begins[:-1] + b"\x05", 1)
    raise AssertionError("it has no version")


def no_kind(der: bytes) -> bytes:
    """Give it a key of a kind that nobody knows."""
    assert ED25519 in der
    return der.replace(ED25519, ED25519[:-1] + b"\x02")


def extension_twice(der: bytes) -> bytes:
    """Give it an extension that is there twice; a request has none."""
    return der.replace(KEY_ID, KEY_USAGE) if KEY_USAGE in der else no_kind(der)


CRAFTED: list[Callable[[bytes], bytes]] = [no_version, no_kind, extension_twice]
