"""The files that somebody gives for a release: which they are, and what devices will call them.

An application in any language opens a file of its slot by name, so a name is part of what a
release promises. A trainer's file may have another name every time: `NAME=FILE` gives it the one
that stays, and a name that the release before had and this one has not is warned of.

Links are not followed: whoever may write to the folder would choose which of this machine's files
are signed and sent to every device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from slotcast_schemas import fields, limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.file_names import find_unportable
from slotcast_schemas.messages import Release

SAMPLES_PATH: Final = "samples.npz"
"""The path in a release of the samples that devices must reproduce."""

_NAME: Final = re.compile(fields.PATH_PATTERN)
NAMES_SHOWN: Final = 5
"""The number of names that a message lists."""


class GivenFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file under the name that it gets in the release, or a folder whose files go below it."""

    name: str
    path: Path


Given = Path | GivenFile


def parse_given(text: str) -> Given:
    """Read a command line's FILE or NAME=FILE; what exists as it was typed is taken as it is.

    Raises:
        UsageError: neither, such as a name without a file.
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return Path(text)
    if not name or not path:
        raise UsageError(f"expected FILE or NAME=FILE, got {text!r}")
    return GivenFile(name=name.rstrip("/"), path=Path(path))


def collect(given: Sequence[Given]) -> dict[str, Path]:
    """Give each file's path in the release, and where it is now.

    Raises:
        UsageError: a file is missing or is a link, two have the same path, or one has a name that
            cannot be.
    """
    found: dict[str, Path] = {}
    for one in given:
        for name, path in _inside(one):
            if name in found:
                raise UsageError(
                    f"two of the given files are called {name!r}: {found[name]} and {path};"
                    " give one another name (NAME=FILE)"
                )
            found[name] = path
    _check_names(found)
    return found


def _inside(given: Given) -> Iterator[tuple[str, Path]]:
    path = given if isinstance(given, Path) else given.path
    name = None if isinstance(given, Path) else given.name
    _refuse_links([path])
    if path.is_file():
        yield path.name if name is None else name, path
    elif path.is_dir():
        prefix = "" if name is None else f"{name}/"
        found = sorted(path.rglob("*"))
        _refuse_links(found)
        for file in (p for p in found if p.is_file()):
            yield prefix + str(file.relative_to(path)), file
    else:
        raise UsageError(f"expected a file or a folder at {path}")


def _refuse_links(paths: Sequence[Path]) -> None:
    links = [f"{path} (to {path.readlink()})" for path in paths if path.is_symlink()]
    if links:
        more = f" and {len(links) - NAMES_SHOWN} more" if len(links) > NAMES_SHOWN else ""
        raise UsageError(
            f"links are not followed: {', '.join(links[:NAMES_SHOWN])}{more}; give the files"
            " themselves (NAME=FILE), or copy the folder with `cp -rL`"
        )


def _check_names(found: Mapping[str, Path]) -> None:
    _check_allowed(found)
    unportable = find_unportable(found)
    if unportable:
        raise UsageError(f"{unportable}; give another name (NAME=FILE)")


def _check_allowed(found: Mapping[str, Path]) -> None:
    """Name all files that devices cannot be given, so that nobody mends one at a time."""
    unfit = [
        f"{path} (as {name!r:.200})"
        for name, path in found.items()
        if len(name) > limits.PATH_MAX_CHARS or not _NAME.match(name)
    ]
    if unfit:
        more = f" and {len(unfit) - NAMES_SHOWN} more" if len(unfit) > NAMES_SHOWN else ""
        raise UsageError(
            f"devices cannot be given a file called so: {', '.join(unfit[:NAMES_SHOWN])}{more};"
            f" expected {fields.ALLOWED[fields.PATH_PATTERN]}; give another name (NAME=FILE), or"
            " leave it out of the folder"
        )


def name_changes(before: Release, now: Release) -> list[str]:
    """Say which names a program that opens files by name would miss after an update.

    Golden samples are the agent's, and a model's external data is opened through the model.
    """
    warnings = []
    if now.entry != before.entry:
        warnings.append(
            f"the model's file is {now.entry!r}, and was {before.entry!r} in {before.version}: a"
            " program that opens it by name finds nothing after the update; to keep the name:"
            f" {before.entry}={now.entry}"
        )
    kept = {file.path for file in now.files}
    gone = sorted(
        file.path for file in before.files if file.path not in kept and file.role == "data"
    )
    if gone:
        more = f" and {len(gone) - NAMES_SHOWN} more" if len(gone) > NAMES_SHOWN else ""
        warnings.append(
            f"{', '.join(gone[:NAMES_SHOWN])}{more} of {before.version} {_are(gone)} not in this"
            " release: a program that opens files by name finds nothing after the update"
        )
    return warnings


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
