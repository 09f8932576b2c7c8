"""Slotcast publisher: builds, signs and pushes releases of models. The command is `slotcast`."""

__version__ = "0.1.0"
