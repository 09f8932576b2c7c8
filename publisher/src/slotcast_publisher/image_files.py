"""The files of an image, end to end: where each lies here, and its path in the release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Image = Sequence[tuple[str, Path]]
"""A release's files in manifest order: each file's path in the release, and where it is now."""
