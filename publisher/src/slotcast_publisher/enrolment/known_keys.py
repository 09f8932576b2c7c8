"""The keys of enrolled devices, for whoever looks them up for each message.

A key is read once, and again when somebody enrolled or removed a device: the time of the folder
says so, at the price of one look for each batch of messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slotcast_publisher.enrolment.registry import Registry
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.identity import PublicKey


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What is known of an enrolled device.

    Attributes:
        key_id: of its key; empty where that cannot be read.
        public: its key; None where that cannot be read, so that nothing is signed by it.
    """

    key_id: str
    public: PublicKey | None


class KnownKeys:
    """Looks up devices' keys. From one thread.

    Args:
        registry: where they are kept.
        say: told of a file that cannot be read, once for each change of the folder.
    """

    def __init__(self, registry: Registry, say: Callable[[StorageFailed], None]) -> None:
        self._registry = registry
        self._say = say
        self._changed_ns = -1
        self._known: dict[str, KnownKey | None] = {}

    def look(self) -> None:
        """Forget what was read, if it may have changed; call it for each batch."""
        try:
            changed_ns = self._registry.folder.stat().st_mtime_ns
        except OSError:
            changed_ns = 0
        if changed_ns != self._changed_ns:
            self._changed_ns = changed_ns
            self._known.clear()

    def find(self, device: str) -> KnownKey | None:
        """Give what is known of a device; None where it is not enrolled."""
        if not self._changed_ns:
            return None  # there is no folder
        if device not in self._known:
            self._known[device] = self._read(device)
        return self._known[device]

    def _read(self, device: str) -> KnownKey | None:
        try:
            found = self._registry.find(device)
        except StorageFailed as exc:
            self._say(exc)
            return KnownKey("", None)
        return None if found is None else KnownKey(found.key_id, found.request.public_key)
