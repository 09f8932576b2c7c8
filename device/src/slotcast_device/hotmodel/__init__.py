"""What an application holds instead of an `InferenceSession`: it follows the switch by itself."""

from slotcast_device.hotmodel.model import HotModel

__all__ = ["HotModel"]
