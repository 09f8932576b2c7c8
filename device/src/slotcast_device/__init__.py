"""Slotcast device."""
