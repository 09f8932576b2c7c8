"""Checks that stop attacks, each taken out to be noticed by the test that plays the attack.

Attacks are named, and their tests chosen, as in the tables of docs/security.md; a unit test holds
both together.
"""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.one_break import DEVICE, Break

SCHEMAS: Final = "schemas/src/slotcast_schemas"
PUBLISHER: Final = "publisher/src/slotcast_publisher"
MOSQUITTO: Final = "mosquitto"
GROUP: Final = "attacks: "
"""What the name of each of these begins with, for `--only`."""


def attack_break(attack: str, check: str, test: str, path: str, old: str, new: str) -> Break:
    """A check taken out.

    Args:
        attack: that it stops, as docs/security.md names it.
        check: what is taken out.
        test: that plays the attack, below `tests`.
        path: the file with the check.
        old: the check.
        new: what is left of it.
    """
    package = next(p for p in (DEVICE, SCHEMAS, PUBLISHER, MOSQUITTO) if path.startswith(f"{p}/"))
    arguments = ("-m", "pytest", "-q", "-x", f"tests/{test}")
    file = path.removeprefix(f"{package}/")
    return Break(f"{GROUP}{attack}", file, old, new, arguments, package, check)
