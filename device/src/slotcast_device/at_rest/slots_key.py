"""The slots' key: where it is, and how it is read. It is never written to the state directory.

It is a file of 32 bytes, on other storage than the slots or handed over by systemd, which can
unseal it with a TPM; or a file with those bytes wrapped for an RSA key in a token (PKCS#11, which
TPMs speak too), which unwraps them. `STATE_DIR/at-rest.json` tells applications where it is, and
holds no secret.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from slotcast_device.at_rest.file_format import KEY_BYTES
from slotcast_device.runtime.users import this_user
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import SlotsKeyMissing
from slotcast_schemas.plain_files import open_plain, read_start

if TYPE_CHECKING:
    from slotcast_device.at_rest.encrypted_file import SlotsKey
    from slotcast_device.config import DeviceConfig

FILE_NAME: Final = "at-rest.json"
"""The name, in the state directory, of what tells applications where the key is."""
DESCRIPTION_MAX_BYTES: Final = 16 * 1024
"""The most bytes of that file that are read."""
_WRAPPED_MAX_BYTES: Final = 1024
"""The most bytes of a wrapped key: those of an RSA key of 8192 bits."""
_PIN_MAX_BYTES: Final = 256
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP
"""Rights that a key's file gives to nobody: its group may read, for applications open slots too."""

_AbsolutePath = Annotated[str, Meta(min_length=2, max_length=4096, pattern="^/")]


class TokenPlace(msgspec.Struct, frozen=True, kw_only=True):
    """The RSA key in a token that unwraps.

    Attributes:
        uri: which key in which token, such as `hsm:2?label=camera`.
        module: the PKCS#11 library.
        pin_file: a file with the PIN.
    """

    uri: Annotated[str, Meta(max_length=256)]
    module: _AbsolutePath
    pin_file: _AbsolutePath


class KeyPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key is.

    Attributes:
        key_file: with the key, or what the token unwraps.
        token: unwraps it, where there is one.
    """

    key_file: _AbsolutePath
    token: TokenPlace | None = None


make_decoders(KeyPlace)


def place_of(config: DeviceConfig) -> KeyPlace | None:
    """Say where a device's slots' key is; None where its slots are not encrypted."""
    given = config.values.at_rest
    if given is None:
        return None
    token = given.token
    folder = config.folder.absolute()
    return KeyPlace(
        key_file=str(folder / given.key_file),
        token=None
        if token is None
        else TokenPlace(uri=token.uri, module=token.module, pin_file=str(folder / token.pin_file)),
    )


def read_place(state_dir: Path) -> KeyPlace | None:
    """Read where the key is, as an application; None where nothing says it.

    Raises:
        PermissionError: this user may not read it.
    """
    try:
        said = read_start(state_dir / FILE_NAME, DESCRIPTION_MAX_BYTES)
        return msgspec.json.decode(said, type=KeyPlace)
    except PermissionError:
        raise
    except (OSError, *UNDECODABLE):
        return None


def open_slots_key(place: KeyPlace) -> SlotsKey:
    """Give the key.

    Raises:
        SlotsKeyMissing: it is not there, may not be read, is open to others, or is no key; or the
            token does not unwrap it.
    """
    path = Path(place.key_file)
    if place.token is not None:
        from slotcast_device.at_rest.token_unwrap import unwrap  # few devices have one

        wrapped = read_closed(path, _WRAPPED_MAX_BYTES, is_secret=False)
        pin = read_closed(Path(place.token.pin_file), _PIN_MAX_BYTES).decode(errors="replace")
        secret = unwrap(place.token, pin.strip(), wrapped)
    else:
        secret = read_closed(path, KEY_BYTES + 1)
    if len(secret) != KEY_BYTES:
        raise SlotsKeyMissing(
            f"{path}: expected a slots' key of {KEY_BYTES} bytes, got {len(secret)} or more; make"
            f" one by `head -c {KEY_BYTES} /dev/urandom`"
        )
    from slotcast_device.at_rest.encrypted_file import SlotsKey  # few devices need cryptography

    return SlotsKey(secret)


def read_closed(path: Path, limit_bytes: int, *, is_secret: bool = True) -> bytes:
    """Read a small file that others may not read; at most `limit_bytes` of it.

    Args:
        path: the file.
        limit_bytes: how much of it is read.
        is_secret: whether it matters who else may read it.

    Raises:
        SlotsKeyMissing: it cannot be read, or is open to every user.
    """
    try:
        with os.fdopen(open_plain(path.resolve(), os.O_RDONLY), "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(limit_bytes)
    except OSError as exc:
        raise SlotsKeyMissing(
            f"the slots' key cannot be had: {path}: {exc.strerror}, as {this_user()}"
        ) from exc
    if is_secret and mode & _OTHERS:
        raise SlotsKeyMissing(f"{path} is open to others (mode {mode:o}): chmod 600 {path}")
    return data
