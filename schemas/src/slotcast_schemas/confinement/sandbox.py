"""Puts the layers on, in the order in which each still may be put on; says which do not hold.

A layer that this kernel has not is left out: a good model is never refused for it. What is closed
depends on what runs the model (docs/adr/0150):

* `RUNTIME`, a runtime of ours on the CPU: it reads the model, itself and what a system says of its
  processor; it starts threads and nothing else, and opens nothing for writing.
* `DEVICE`, a runtime of ours with an accelerator: it may read all but what is closed, and open
  devices; it starts no process.
* `COMMAND`, the owner's own program: it may start processes, which end with it, and is who it was.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Final

from slotcast_schemas.confinement import call_filter, kernel, landlock, privileges


class Kind(Enum):
    """What runs the model."""

    RUNTIME = "runtime"
    DEVICE = "device"
    COMMAND = "command"


NETWORK: Final = "network"
CALLS: Final = "calls"
FILES: Final = "files"
USER: Final = "user"


@dataclass(frozen=True, slots=True)
class Lack:
    """A layer that does not hold, and why."""

    layer: str
    why: str


_SYSTEM: Final = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/sys",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld-musl-x86_64.path",
    "/etc/ld-musl-aarch64.path",
    "/etc/alternatives",
]
"""What a runtime may read of the system: libraries, and what it is told of the processor."""
_RUNTIMES: Final = ("numpy", "msgspec", "onnxruntime", "ai_edge_litert", "onnx")
_WRITABLE: Final = ("/dev", "/tmp", "/var/tmp")  # noqa: S108 (no file is made there here)
"""Where accelerators and the owner's programs write: devices, and passing files."""
_ENTRIES_MAX: Final = 2_000
"""The most entries of a folder with something closed in it that are opened one by one."""


def close_network(kind: Kind) -> list[Lack]:
    """Let this process make no socket to a network; say if that does not hold."""
    try:
        call_filter.close_network(is_local_allowed=kind is not Kind.RUNTIME)
    except OSError as exc:
        return [Lack(NETWORK, exc.strerror or str(exc))]
    return []


def close_in(
    kind: Kind, slots: Sequence[Path], *, closed: Iterable[str] = (), files: Sequence[Path] = ()
) -> list[Lack]:
    """Close this process in, for good, with all that it starts; say which layers do not hold.

    It is to be called before there are other threads. `PR_SET_PDEATHSIG` is to be set anew.

    Args:
        kind: what runs the model.
        slots: the folders of the models that it loads.
        closed: paths that it must not read even where all else may be read; but for `slots`.
        files: more that it must read.
    """
    if not kernel.machine():
        return [Lack(layer, "not Linux") for layer in (USER, FILES, CALLS)]
    kernel.process_control(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.process_control(kernel.PR_SET_CHILD_SUBREAPER, 1)
    needed = [*slots, *files]
    return [
        *_close_user(kind, needed),
        *_close_files(kind, needed, frozenset(Path(path) for path in closed)),
        *_close_calls(kind),
    ]


def _close_user(kind: Kind, needed: Sequence[Path]) -> list[Lack]:
    """Become a user that owns nothing, where root does not run what needs its rights."""
    if os.geteuid() != 0:
        return [Lack(USER, "only an agent that runs as root can change it")]
    why = "a program of the owner's, and drivers, keep the agent's"
    if kind is Kind.RUNTIME:
        why = _change_user(needed)
        if not why:
            return []
    try:
        privileges.drop_capabilities(
            keeps_files=kind is not Kind.RUNTIME, can_work=lambda: _are_readable(needed)
        )
    except OSError as exc:
        why += f"; it keeps its capabilities ({exc.strerror})"
    return [Lack(USER, why)]


def _change_user(needed: Sequence[Path]) -> str:
    """Become a user that owns nothing; say why that is not done, or nothing."""
    if not privileges.can_change_user():
        return "root may not change it here (CAP_SETUID, CAP_SETGID, CAP_KILL)"
    try:
        return privileges.become_nobody([*_all_of(needed), *_runtime_folders()])
    except OSError as exc:
        return str(exc)


def _all_of(paths: Iterable[Path]) -> list[Path]:
    """Give files, and folders with what lies in them."""
    return [below for path in paths for below in (path, *islice(path.rglob("*"), _ENTRIES_MAX))]


def _are_readable(paths: Iterable[Path]) -> bool:
    return all(os.access(path, os.R_OK, effective_ids=True) for path in _all_of(paths))


def _close_files(kind: Kind, needed: Sequence[Path], closed: frozenset[Path]) -> list[Lack]:
    if not landlock.version():
        return [Lack(FILES, "this kernel has no Landlock (Linux 5.13), or it is switched off")]
    real = frozenset(path.resolve() for path in closed)
    rights: dict[Path, int] = {}

    def give(allowed: int, paths: Iterable[Path]) -> None:
        for path in paths:
            for part in open_around(path, real):
                rights[part] = rights.get(part, 0) | allowed

    if kind is Kind.RUNTIME:
        give(landlock.READ, [*map(Path, _SYSTEM), *_runtime_folders()])
        rights[Path(f"/proc/{os.getpid()}")] = landlock.READ
        rights[Path("/dev/null")] = landlock.READ | landlock.WRITE_FILE
    else:
        give(landlock.READ, [Path("/")])
        give(landlock.CHANGE, map(Path, _WRITABLE))
        rights[Path("/")] = rights.get(Path("/"), 0) | landlock.READ_DIR
    for path in needed:
        rights[path] = rights.get(path, 0) | landlock.READ
    _keep_own_folder()
    try:
        landlock.restrict(rights)
    except OSError as exc:
        return [Lack(FILES, f"Landlock: {exc.strerror}")]
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        return [Lack(FILES, "this process had other threads already")]
    return []


def _keep_own_folder() -> None:
    """Keep this process's folder in /proc open: a rule is of its inode, and ends with that."""
    os.open("/proc/self/", os.O_PATH | os.O_CLOEXEC)


def open_around(path: Path, closed: frozenset[Path]) -> list[Path]:
    """Give a path, or where something in it is closed, all that is in it but that."""
    path = path.resolve()
    if any(path == shut or path.is_relative_to(shut) for shut in closed):
        return []
    if not any(shut.is_relative_to(path) for shut in closed):
        return [path]
    try:
        with os.scandir(path) as entries:
            found = [Path(entry.path) for entry in islice(entries, _ENTRIES_MAX)]
    except OSError:
        return []
    return [part for each in found if not each.is_symlink() for part in open_around(each, closed)]


def _close_calls(kind: Kind) -> list[Lack]:
    try:
        call_filter.close_calls(
            starts_processes=kind is Kind.COMMAND, opens_devices=kind is not Kind.RUNTIME
        )
    except OSError as exc:
        return [Lack(CALLS, exc.strerror or str(exc))]
    return []


def _runtime_folders() -> list[Path]:
    """Give the folders of Python, its packages and the libraries that the environment names."""
    named = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path]
    named += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    folders = {Path(name) for name in named if name and name != "/"}
    for name in _RUNTIMES:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            continue
        if spec is not None and spec.origin is not None:
            folders.add(Path(spec.origin).resolve().parent)
    return sorted(folder for folder in folders if folder.exists())
