"""One line that is changed on purpose, and what must notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
DEVICE: Final = "device/src/slotcast_device"
SIMULATION: Final = ("-m", "tests.simulation", "--count", "400")


@dataclass(frozen=True, slots=True)
class Break:
    """One change to one file, and which sweep it is to be seen by.

    Attributes:
        name: what goes wrong.
        file: in the package.
        old: the text that is changed; it is there once.
        new: what it becomes.
        test: arguments of Python that run what must notice.
        package: the folder of the distribution's package.
        check: of an attack, the check that is taken out.
    """

    name: str
    file: str
    old: str
    new: str
    test: tuple[str, ...] = SIMULATION
    package: str = DEVICE
    check: str = ""

    @property
    def path(self) -> str:
        """Where the file lies in the tree."""
        return f"{self.package}/{self.file}"
