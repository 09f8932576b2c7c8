"""Which commands there are, by name: a command's module is imported when the command is called.

Together the modules bring TUF, MQTT and the fleet's database, which take half a second of processor
time; `--help`, `--version` and completion of names need none of that.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command, or one group of commands.

    Attributes:
        module: in this package, or a whole name; its `register` adds the command to an app.
        summary: the first line of the command's own help.
    """

    module: str
    summary: str

    @property
    def module_name(self) -> str:
        """The whole name of the module."""
        name = self.module
        return name if "." in name else f"slotcast_publisher.cli.{name}"


COMMANDS: Final = {
    "init": CommandEntry("repositories", "Make a repository: keys, signed root, settings."),
    "provision": CommandEntry(
        "repositories",
        "Write a device's configuration, pinned root and, with TLS, its certificate.",
    ),
    "release": CommandEntry(
        "releases", "Build, check, pack and sign a release; the same again changes nothing."
    ),
    "limits": CommandEntry(
        "config",
        "Print every limit of probe and trial, as a file for `slotcast release --settings`.",
    ),
    "list": CommandEntry(
        "listing",
        "Show models, their releases, what is offered, and what was published when and to whom.",
    ),
    "delta": CommandEntry(
        "delta", "Try a delta between two models: make, apply, compare, measure."
    ),
    "publish": CommandEntry(
        "publishing", "Offer a release and push it; run again, only what is missing is sent."
    ),
    "withdraw": CommandEntry("publishing", "Cancel what is offered for a model."),
    "adopt": CommandEntry(
        "publishing",
        "Take over what a copy of this repository that is lost has published to the brokers.",
    ),
    "refresh": CommandEntry(
        "publishing", "Date the signatures again, and send every model's notice."
    ),
    "serve": CommandEntry(
        "serving",
        "Answer what devices miss, renew signatures, re-announce lost notices; until stopped.",
    ),
    "check": CommandEntry(
        "checking",
        "Try at brokers what publishing and devices need; says what is missing, and who must act.",
    ),
    "inspect": CommandEntry(
        "inspection",
        "Explain a notice: who signed it, what it says, whether a device would believe it.",
    ),
    "config": CommandEntry("config", "The repository's settings (slotcast.toml)."),
    "oms": CommandEntry("oms", "Signatures of models, as OpenSSF's model-signing makes."),
    "keys": CommandEntry("keys", "Who signs for what."),
    "recipients": CommandEntry("recipients", "For whom a model's releases are encrypted."),
    "devices": CommandEntry(
        "devices", "Which devices' own keys are known: whose reports count as signed."
    ),
    "certificates": CommandEntry(
        "certificates", "Whom brokers let in: devices, publishers, and the broker itself."
    ),
    "fleet": CommandEntry(
        "slotcast_publisher.fleet.commands.fleet",
        "Show who is there: what runs, what is wanted, in what state it is; and one device"
        " closely.",
    ),
    "alarms": CommandEntry(
        "slotcast_publisher.fleet.commands.alarms",
        "Show what of the fleet needs a person, and what did lately.",
    ),
    "page": CommandEntry(
        "slotcast_publisher.fleet.commands.page",
        "Show the fleet's page in a browser, without `slotcast serve`; until stopped.",
    ),
    "note": CommandEntry(
        "slotcast_publisher.fleet.commands.note",
        "Write a note beside a device or a release, list them, or take one away.",
    ),
    "users": CommandEntry(
        "slotcast_publisher.fleet.commands.users",
        "Who may sign in to the fleet's page, and what they may do there.",
    ),
    "tokens": CommandEntry(
        "slotcast_publisher.fleet.commands.tokens",
        "What programs sign in with at the fleet's API.",
    ),
    "audit": CommandEntry(
        "slotcast_publisher.fleet.commands.audit",
        "Show who changed what, the newest first: users, tokens, rollouts, notes, sign-ins.",
    ),
    "simulate": CommandEntry(
        "slotcast_publisher.fleet.commands.simulate",
        "Run many simulated devices against the repository's brokers, and say what happened.",
    ),
    "rollout": CommandEntry(
        "slotcast_publisher.fleet.commands.rollout",
        "Roll a release out through the groups of a fleet, by what its devices report.",
    ),
}


class LazyCommands(TyperGroup):
    """A group that shows entries of `COMMANDS`, and imports the command that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Give the name of the command that was called, the command, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if command is None else load(str(name)), rest


def register_entries(app: typer.Typer) -> None:
    """Add every entry to an app whose class is `LazyCommands`."""
    for name, entry in COMMANDS.items():
        app.command(name, help=entry.summary)(_not_loaded)


@functools.cache
def load(name: str) -> Any:
    """Import the module of a command; gives what typer made of the command."""
    app = typer.Typer(rich_markup_mode=None)
    module = importlib.import_module(COMMANDS[name].module_name)
    module.register(app)
    return typer.main.get_group(app).commands[name]


def _not_loaded() -> None:
    """Stand in for a command in the list; `LazyCommands` puts the command itself in its place."""
    raise AssertionError("expected LazyCommands to load the command")
