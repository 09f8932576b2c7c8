"""What is known of one broker: what was delivered when and to whom, and which payloads are unused.

`REPO/push/<broker>/ledger.json`, for `slotcast list` and for what is taken off after a time of
grace. It is memory, not truth: without it everything works, and begins to be remembered anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.delivery.removal_rules import Unused
from slotcast_publisher.durable import write_atomic
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.messages import Offer
from slotcast_schemas.messages.offer import Group, Progress
from slotcast_schemas.plain_files import read_regular

FILE_NAME: Final = "ledger.json"
_DELIVERIES_MAX: Final = 256
"""The number of deliveries that are remembered for one broker, the newest."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """One notice that a broker was given, and gave back."""

    model: str
    version: str
    sequence: int
    state: Progress
    deployment: str
    groups: tuple[Group, ...]
    at_s: float


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """One broker's record.

    Attributes:
        broker: its name.
        deliveries: in order, the newest last.
        unused: payloads there that no offer uses, by hex digest.
        looked_s: when the broker was last asked which payloads it keeps; 0 for never.
        sizes: of payloads there that this repository made, in bytes by hex digest.
    """

    broker: str
    deliveries: tuple[Delivered, ...] = ()
    unused: dict[str, Unused] = {}
    looked_s: float = 0.0
    sizes: dict[str, int] = {}

    def with_delivery(self, offer: Offer, now_s: float) -> Ledger:
        """Note a delivery; the same offer again changes nothing, and the oldest are forgotten."""
        new = Delivered(
            model=offer.model,
            version=offer.version,
            sequence=offer.sequence,
            state=offer.state,
            deployment=offer.deployment,
            groups=offer.groups,
            at_s=now_s,
        )
        last = next((d for d in reversed(self.deliveries) if d.model == offer.model), None)
        if last is not None and msgspec.structs.replace(last, at_s=now_s) == new:
            return self
        kept = (*self.deliveries, new)[-_DELIVERIES_MAX:]
        return msgspec.structs.replace(self, deliveries=kept)


make_decoders(Ledger)


def load_ledger(folder: Path, broker: str) -> Ledger:
    """Read a broker's ledger; an empty one if there is none.

    Raises:
        RepositoryDamaged: it is there, and cannot be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Ledger(broker=broker)
    try:
        return msgspec.json.decode(read_regular(path), type=Ledger)
    except (OSError, *UNDECODABLE) as exc:
        raise RepositoryDamaged(f"could not read {path}: {exc}; you may remove it") from exc


def save_ledger(folder: Path, ledger: Ledger) -> None:
    """Write a broker's ledger.

    Raises:
        StorageFailed: it could not be written.
    """
    data = msgspec.json.format(msgspec.json.encode(ledger), indent=1)
    write_atomic(folder / FILE_NAME, data)


def all_ledgers(repo: Path) -> list[Ledger]:
    """Read the ledgers of all brokers that a repository was ever published to."""
    return [load_ledger(path.parent, "") for path in sorted(repo.glob(f"push/*/{FILE_NAME}"))]
