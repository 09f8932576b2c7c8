"""Invented fleets, and the real rollout engine over them, on bad days. Each run from its seed."""
