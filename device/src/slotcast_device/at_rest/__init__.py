"""Slots that are encrypted at rest: the format of their files, and the key."""
