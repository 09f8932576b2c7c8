"""Collecting one payload: what to ask for, what to believe, how much at once. No I/O."""
