"""How the slots of a device lie on its disk, for `check` and `status`; the key is never shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from slotcast_device.at_rest.file_format import read_header
from slotcast_device.at_rest.slots_key import place_of
from slotcast_device.storage import state_file as records
from slotcast_device.storage.os_disk import OsDisk
from slotcast_schemas.errors import SlotcastError

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.state import SlotRecord

Lies = Literal["encrypted", "clear"]
"""How a slot lies on the disk."""
CLOSES_OUT: Final = (
    "applications open models through HotModel alone (onnx, litert), commands of [formats] none"
)
"""What does not work on a device with encrypted slots."""


def slots_at_rest(config: DeviceConfig, model: str) -> dict[str, Lies]:
    """Say of each slot of a model that holds a release how it lies on the disk.

    Nothing is said of a device that has nothing to do with encryption at rest. No key is needed.
    """
    folder = config.model_dir(model)
    try:
        state = records.load(OsDisk(), records.path_in(folder), model)
    except SlotcastError:
        return {}  # said where states are checked
    slots = {} if state is None else state.slots
    found = {slot: _how_it_lies(folder / "slots" / slot, slots[slot]) for slot in sorted(slots)}
    if config.values.at_rest is None and "encrypted" not in found.values():
        return {}
    return {str(slot): how for slot, how in found.items()}


def _how_it_lies(folder: Path, record: SlotRecord) -> Lies:
    try:
        sealed = [read_header(folder / file.path, file.size_bytes) for file in record.files]
    except OSError:
        return "clear"
    return "encrypted" if all(sealed) else "clear"


def describe_at_rest(config: DeviceConfig) -> str | None:
    """Say how slots are encrypted; None where they are not, and never were.

    Raises:
        SlotsKeyMissing: the key cannot be had, or an encrypted slot has none.
    """
    lies = {model: slots_at_rest(config, model) for model in config.values.models}
    given = config.values.at_rest
    if given is None and not any(lies.values()):
        return None
    from slotcast_device.storage.slot_files import SlotsKeyring  # brings more than `status` needs

    key = SlotsKeyring.of(config).key()
    where = "a token" if given is not None and given.token is not None else "a file"
    doing = "new slots are encrypted" if config.encrypts_slots else "new slots lie in the clear"
    clear = [f"{model}/{slot}" for model, slots in lies.items() for slot in slots_in_clear(slots)]
    said = f"{doing}, with the key {key.key_id.hex()} from {where}; {CLOSES_OUT}"
    if clear and config.encrypts_slots:
        said += f"; in the clear until the agent starts or replaces them: {', '.join(clear)}"
    return said


def slots_in_clear(lies: dict[str, Lies]) -> list[str]:
    """Give the slots that whoever has the disk can read."""
    return [slot for slot, how in lies.items() if how == "clear"]


def at_rest_problems(config: DeviceConfig) -> Iterator[str]:
    """Say what makes encryption at rest worth nothing."""
    place = place_of(config)
    if place is None or place.token is not None or not config.encrypts_slots:
        return
    key, state = Path(place.key_file), config.state_dir
    if key.exists() and state.exists() and key.stat().st_dev == state.stat().st_dev:
        yield (
            f"{key} lies on the same file system as the slots, so that whoever takes the disk has"
            " both: keep the key in a token, or have systemd hand it over"
            " (LoadCredentialEncrypted=, docs/encryption.md)"
        )
