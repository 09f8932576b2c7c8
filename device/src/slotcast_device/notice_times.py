"""What the notices of a device's models say of the time, each model's for the others.

A broker that holds back one model's notices and shows an old one once the clock was set back meets
a device that knows better from its other models.
"""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from slotcast_device.core.signed_time import JUMP_S
from slotcast_device.storage import state_file as records
from slotcast_schemas.errors import SlotcastError

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.events import Now
    from slotcast_device.core.model import ModelCore
    from slotcast_device.storage.disk import Disk


class NoticeTimes:
    """Knows the signed time of each model, from its record until its core has read that.

    A start hashes the slots before a core goes by its record, and notices of other models may be
    looked at before that is done.

    Args:
        config: which models there are, and where their records lie.
        disk: the durable layer.
    """

    def __init__(self, config: DeviceConfig, disk: Disk) -> None:
        self._cores: dict[str, ModelCore] = {}
        self._recorded_s = {model: _read_s(config, disk, model) for model in config.values.models}
        self._before_s: dict[str, int] = {}

    def add(self, core: ModelCore) -> None:
        """Ask a model's core from now on, once it has read its record."""
        self._cores[core.model] = core

    def elsewhere_s(self, model: str, now: Now) -> int:
        """Give the latest time by the notices of all models but one; 0 where none says any."""
        others = (other for other in self._recorded_s if other != model)
        return max((self._of_s(other, now) for other in others), default=0)

    def _of_s(self, model: str, now: Now) -> int:
        core = self._cores.get(model)
        if core and core.is_ready:
            self._recorded_s[model] = core.signed_s(now)
        return self._recorded_s[model]

    def fell(self, now: Now) -> bool:
        """Say whether a model's others say an earlier time than when this was asked last.

        So it is where a publisher's clock was ahead when one of them was signed, and a newer notice
        has said better: what was refused for it may be good.
        """
        before_s = self._before_s
        own_s = {model: self._of_s(model, now) for model in self._recorded_s}
        first_s, second_s = nlargest(2, [*own_s.values(), 0, 0])
        self._before_s = {
            model: second_s if model_s == first_s else first_s for model, model_s in own_s.items()
        }
        return any(
            after_s < before_s.get(model, 0) - JUMP_S for model, after_s in self._before_s.items()
        )


def _read_s(config: DeviceConfig, disk: Disk, model: str) -> int:
    try:
        state = records.load(disk, records.path_in(config.model_dir(model)), model)
    except SlotcastError:  # the core says so, when it reads the record
        return 0
    return state.signed_time if state else 0
