"""The image that the device's container is built on: one with Python, from a registry or from here.

Environment:
    SLOTCAST_PYTHON_IMAGE: this image instead.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from tests.support.engine import NoImage, choose_image

OFFICIAL_IMAGE: Final = "python:3.11-slim"
LOCAL_IMAGE: Final = "slotcast/python:local"
_PACKAGES: Final = ("python3", "python3-venv", "passwd", "libstdc++6")
"""What the recipe and the runtime need of the base, beside the packages that every Debian has."""
_LEFT_OUT: Final = re.compile(r"/usr/share/(?:doc|man|locale|info|lintian|bug)/")
_QUERY: Final = (
    "${db:Status-Abbrev}|${Package}|${Essential}|${Provides}|${Pre-Depends}, ${Depends}\n"
)
_FRESH: Final = {
    "/etc/passwd": "/usr/share/base-passwd/passwd.master",
    "/etc/group": "/usr/share/base-passwd/group.master",
}
"""Files that a system has from its first day, and what they are then."""


@functools.cache
def image() -> str:
    """Give the image: the one asked for, else one that is here, else pulled, else made.

    Raises:
        NoImage: none of that.
    """
    return choose_image("SLOTCAST_PYTHON_IMAGE", OFFICIAL_IMAGE, LOCAL_IMAGE, _make)


def _make() -> None:
    """Make a root of the packages that are installed here: a second's work, and no download."""
    if shutil.which("dpkg-query") is None:
        raise NoImage(f"{OFFICIAL_IMAGE} cannot be pulled, and this is not Debian or Ubuntu")
    packages = _installed_closure()
    command = ["docker", "import", "-", LOCAL_IMAGE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as taking:
        assert taking.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            _pack(packages, taking.stdin)
        said = taking.communicate()[1]
    if taking.returncode != 0:
        raise NoImage(f"docker import failed: {said.decode(errors='replace')[-500:]}")


def _installed_closure() -> list[str]:
    """Give the essential packages, those that Python needs, and all that these depend on.

    Raises:
        NoImage: one of them is not installed.
    """
    depends, essential, provider = _read_packages()
    todo, found = [*essential, *_PACKAGES], set[str]()
    while todo:
        package = todo.pop()
        if package not in depends:
            raise NoImage(f"{OFFICIAL_IMAGE} cannot be pulled, and {package} is not installed")
        if package in found:
            continue
        found.add(package)
        for alternatives in depends[package].split(","):
            names = [_name(one) for one in alternatives.split("|")]
            here = [name if name in depends else provider.get(name) for name in names]
            todo += [name for name in here if name][:1]
    return sorted(found)


def _read_packages() -> tuple[dict[str, str], list[str], dict[str, str]]:
    """Give what installed packages depend on, which are essential, and who provides what."""
    depends: dict[str, str] = {}
    essential: list[str] = []
    provider: dict[str, str] = {}
    command = ["dpkg-query", "--show", "--showformat", _QUERY]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        status, package, is_essential, provides, needs = line.split("|", 4)
        if not status.startswith("ii"):
            continue
        depends[package] = needs
        essential += [package] if is_essential == "yes" else []
        provider |= {_name(one): package for one in provides.split(",") if _name(one)}
    return depends, essential, provider


def _name(said: str) -> str:
    """Give the name of `libc6:any (>= 2.36)`."""
    return said.strip().partition(" ")[0].partition(":")[0]


def _pack(packages: list[str], out: IO[bytes]) -> None:
    """Write the packages' files as an archive of a root."""
    with tarfile.open(mode="w|", fileobj=out) as archive:
        for path in _files_of(packages):
            archive.add(path, path.lstrip("/"), recursive=False)
        for path, source in _FRESH.items():
            archive.add(source, path.lstrip("/"))


def _files_of(packages: list[str]) -> Iterator[str]:
    """Give what packages have, and the links in `/` by which it may be called (`/lib`)."""
    command = ["dpkg-query", "--listfiles", *packages]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = {_without_links(line) for line in said.splitlines() if line.startswith("/")}
    links = {f"/{path.name}" for path in Path("/").iterdir() if _is_link_to_usr(path)}
    folders = {str(folder) for path in listed for folder in Path(path).parents}
    for path in sorted((listed | links | folders) - {"/", *_FRESH}):
        if not _LEFT_OUT.match(path) and os.access(path, os.R_OK, follow_symlinks=False):
            yield path


def _is_link_to_usr(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()).lstrip("/").startswith("usr/")


def _without_links(path: str) -> str:
    """Give a path below folders that are no links: `/usr/lib/x` for `/lib/x`."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return f"{Path(folder or '/').resolve()}/{name}".replace("//", "/")
