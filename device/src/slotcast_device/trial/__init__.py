"""Gathers what a trial or a probe shows, and judges it."""
