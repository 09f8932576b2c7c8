"""Slotcast schemas."""
