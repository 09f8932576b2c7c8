"""Slotcast publisher."""
