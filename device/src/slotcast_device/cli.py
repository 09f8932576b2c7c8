"""`slotcast-device`: run the client, say where it stands, check that it can work.

Exit codes: 0 committed or already there (`run --once`), or all well; 1 the update ended
otherwise; 2 wrong usage or configuration; 3 no broker, or nothing came in time; 4 storage;
130 stopped from outside, where that is not how the command ends (`run`).

Here is what is asked; what is done is in `commands`, which is imported when it is known that
something is to be done. So `--help` and completion answer at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from slotcast_device import __version__, completion
from slotcast_device.exit_codes import ENDED_OTHERWISE, OK, STORAGE, USAGE
from slotcast_schemas.command import run_command
from slotcast_schemas.errors import SlotcastError, StorageFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = _make_parser()
    answer = completion.answer(parser, sys.argv[1:] if arguments is None else arguments)
    if answer is not None:
        sys.stdout.write(answer)
        return OK
    try:
        options = parser.parse_args(arguments)
        from slotcast_device import commands

        return commands.carry_out(options)
    except UsageError as exc:
        sys.stderr.write(f"slotcast-device: {exc}\n")
        return USAGE
    except SlotcastError as exc:
        sys.stderr.write(f"slotcast-device: {exc.reason}: {exc}\n")
        return STORAGE if isinstance(exc, StorageFailed) else ENDED_OTHERWISE


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slotcast-device", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=f"slotcast-device {__version__}")
    completion.add_options(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, default=Path("device.toml"))
    common.add_argument("--log", choices=["debug", "info", "warning", "error"], help="log level")
    common.add_argument("--log-format", choices=["text", "json"], help="json: an object a line")
    run = commands.add_parser("run", parents=[common], help="receive and install updates")
    run.add_argument("--once", action="store_true", help="exit when the present notice is settled")
    run.add_argument("--timeout", type=float, default=None, help="with --once: seconds at most")
    run.set_defaults(run="run")
    status = commands.add_parser("status", parents=[common], help="say where each model stands")
    status.add_argument("--json", action="store_true")
    status.add_argument(
        "--evidence", action="store_true", help="also what probe and trial found, check by check"
    )
    status.set_defaults(run="status")
    doctor = commands.add_parser("check", parents=[common], help="check that this device can work")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run="check")
    enrol = commands.add_parser(
        "enrol", parents=[common], help="write the request by which the publisher knows this device"
    )
    enrol.add_argument("--out", type=Path, default=None, metavar="FILE", help="else it is printed")
    enrol.add_argument("--new-key", action="store_true", help="replace this device's key first")
    enrol.set_defaults(run="enrol")
    _add_certificate_commands(commands, common)
    _add_request_commands(commands, common)
    files = commands.add_parser("files", help="units, recipes and examples that came with this")
    files.add_argument("--copy-to", type=Path, default=None, metavar="FOLDER")
    files.set_defaults(run="files", config=None, log="info")
    return parser


def _add_certificate_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    certificate = commands.add_parser(
        "certificate", help="ask for the certificate that brokers want, and install it"
    )
    parts = certificate.add_subparsers(required=True, metavar="WHAT")
    request = parts.add_parser("request", parents=[common], help="ask for the next one")
    request.add_argument("--out", type=Path, metavar="FILE", help="else it is printed")
    request.set_defaults(run="certificate", do="request")
    install = parts.add_parser("install", parents=[common], help="show this one from now on")
    install.add_argument("file", type=Path, metavar="FILE")
    install.set_defaults(run="certificate", do="install")


def _add_request_commands(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    back = commands.add_parser(
        "rollback", parents=[common], help="go back to the release in the standby slot"
    )
    again = commands.add_parser(
        "unbench", parents=[common], help="let a release that was rolled back be tried again"
    )
    again.add_argument("--sequence", type=int, default=None, help="only this one; else all")
    for command in (back, again):
        command.add_argument("--model", default=None, help="needed where there are several")
    reset = commands.add_parser(
        "reset-to-provisioned",
        parents=[common],
        help="go back to the first release that this device committed, and hold updates",
    )
    resume = commands.add_parser(
        "resume", parents=[common], help="go on with updates after reset-to-provisioned"
    )
    for command, do in ((reset, "reset"), (resume, "resume")):
        command.add_argument("--model", default=None, help="needed where there are several")
        command.set_defaults(run="ask", do=do, sequence=None)
    ping = commands.add_parser(
        "ping", parents=[common], help="ask the running agent for a sign of life"
    )
    ping.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for it")
    ping.set_defaults(run="ping")
    back.set_defaults(run="ask", do="rollback", sequence=None)
    again.set_defaults(run="ask", do="unbench")


def entry() -> NoReturn:
    """End the process with what `main` gives: the console script of earlier installations.

    A virtual environment whose packages were exchanged and whose scripts were not still calls it.
    """
    run_command("slotcast-device", lambda: main)
