"""The files that come with the device client for whoever installs it (`share/` beside this module).

Units, recipes and examples are of use on a device, which has no clone of the repository: they are
part of what pip installs, and `slotcast-device files` shows and copies them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slotcast_schemas.errors import UsageError

SHARE: Final = Path(__file__).with_name("share")
"""The folder of the files that are installed with this package."""
DESCRIPTIONS: Final = {
    "slotcast-device.service": "the agent as a service of systemd",
    "slotcast-application.service": "an application of another user beside it, under systemd",
    "slotcast-device.openrc": "the agent as a service of OpenRC",
    "slotcast-device.runit": "the agent as a service of runit: its `run`",
    "run-agent.sh": "the agent as its user, by a plain script: for other supervisors, and for cron",
    "Containerfile": "the agent in a container, from a folder of wheels",
    "service.py": "an application in Python: HTTP in, one HotModel inside",
    "probe_command.py": "tries models of a format of your own, for the agent (docs/formats.md)",
    "follow.sh": "starts a program of any language again at each switch",
}
"""What each of these files is for, by its name."""


def copy_to(folder: Path) -> list[Path]:
    """Copy all files into a folder, which is made if it is missing; give where they are.

    Raises:
        UsageError: the folder cannot be made or written, or a file in it is another's.
    """
    copied = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in DESCRIPTIONS:
            data = (SHARE / name).read_bytes()
            target = folder / name
            target.write_bytes(data)
            target.chmod(0o755 if data.startswith(b"#!") else 0o644)
            copied.append(target)
    except OSError as exc:
        raise UsageError(f"--copy-to: {exc.filename or folder}: {exc.strerror}") from exc
    return copied
