"""Runs commands of `slotcast` in this process, as typer's own runner does, with options made once.

typer makes what it needs of all commands anew for each call: in tests of one command after the
other, that was more than what the commands did.
"""

from __future__ import annotations

import functools
from typing import Any
from unittest.mock import patch

import typer
from typer import testing


class CliRunner(testing.CliRunner):
    """Calls an app with arguments, and keeps what it said and how it ended."""

    def invoke(self, *given: Any, **more: Any) -> testing.Result:
        """Call an app; takes what typer's own runner does."""
        with patch.object(testing, "_get_command", _make_command):
            return super().invoke(*given, **more)


@functools.cache
def _make_command(app: typer.Typer) -> Any:
    return typer.main.get_command(app)
