"""What a real process did to a folder, read off its system calls as strace writes them down.

Every thread and child has a trace of its own (`-ff`), merged by the time at which each call
ended; strings are in hexadecimal (`-xx`), so that no byte needs guessing; descriptors come with
their paths (`-y`). Only calls that change names or bytes, or make them durable, are kept.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CALLS: Final = (
    "open,openat,creat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat"
)
_LINE: Final = re.compile(r"^(\d+\.\d+) (\w+)\((.*)\) = (-?\d+|\?)(.*?)(?: <(\d+\.\d+)>)?$")
_STRING: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FD: Final = re.compile(r"(\d+|AT_FDCWD)(?:<((?:\\x[0-9a-f]{2}|[^>\\])*)>)?")


@dataclass(frozen=True, slots=True)
class Op:
    """One change: `what` is create, open, write, truncate, sync, rename, link, unlink, mkdir.

    `data` are the bytes written, the link's target or the new name.
    """

    what: str
    path: Path
    data: bytes = b""
    offset: int | None = None


def traced(command: Sequence[str], log: Path, timeout_s: float = 660.0) -> int:
    """Run a Python command under strace; its trace goes to `log.*`. Gives the exit code.

    It is waited for longer than the device's own `--timeout`, by which that says what it lacks.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise FileNotFoundError("strace")
    options = ["-ff", "-ttt", "-T", "-y", "-xx", "-s", "1000000", "-e", f"trace={_CALLS}"]
    done = subprocess.run(
        [strace, *options, "-o", str(log), sys.executable, *command],
        timeout=timeout_s,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
    return done.returncode


def read(log: Path, folder: Path) -> list[Op]:
    """Give what was done below a folder, in order."""
    lines: list[tuple[float, str, str, str]] = []
    for file in log.parent.glob(f"{log.name}.*"):
        for line in file.read_text(errors="replace").splitlines():
            match = _LINE.match(line)
            if match is None or match[4] in {"-1", "?"}:
                continue
            ended_s = float(match[1]) + float(match[6] or 0)
            lines.append((ended_s, match[2], match[3], match[4] + match[5]))
    lines.sort(key=lambda entry: entry[0])
    ops = [op for _, call, arguments, result in lines for op in _op(call, arguments, result)]
    return [op for op in ops if op.path.is_relative_to(folder)]


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", "")) if "\\x" in escaped else escaped.encode()


def _path(base: str | None, name: bytes) -> Path:
    path = Path(name.decode())
    return path if path.is_absolute() or base is None else Path(_text(base).decode()) / path


def _strings(call: str, arguments: str) -> list[bytes]:
    found = list(_STRING.finditer(arguments))
    if any(match[2] for match in found):
        raise ValueError(f"{call}: the trace cut a string short")
    return [_text(match[1]) for match in found]


def _op(call: str, arguments: str, result: str) -> list[Op]:
    strings = _strings(call, arguments)
    # Descriptors that stand outside of strings, with their paths.
    bare = _STRING.sub("", arguments)
    bases = [m[2] for m in _FD.finditer(bare) if m[2] is not None or m[1] == "AT_FDCWD"]
    base = bases[0] if bases else None
    match call:
        case "open" | "openat" | "creat":
            return _opened(_path(base, strings[0]), bare, call)
        case "write" | "pwrite64" if base is not None and strings:
            done = int(result.split(maxsplit=1)[0].split("<", maxsplit=1)[0])
            offset = int(bare.rsplit(",", 1)[1]) if call == "pwrite64" else None
            return [Op("write", _path(None, _text(base)), strings[0][:done], offset)]
        case "fsync" | "fdatasync" if base is not None:
            return [Op("sync", _path(None, _text(base)))]
        case "ftruncate" if base is not None:
            return [Op("truncate", _path(None, _text(base)))]
        case "rename" | "renameat" | "renameat2":
            to = _path(bases[1] if len(bases) > 1 else base, strings[1])
            return [Op("rename", _path(base, strings[0]), bytes(to))]
        case "symlink" | "symlinkat":
            return [Op("link", _path(base, strings[1]), strings[0])]
        case "unlink" | "unlinkat" | "rmdir":
            return [Op("unlink", _path(base, strings[0]))]
        case "mkdir" | "mkdirat":
            return [Op("mkdir", _path(base, strings[0]))]
        case "link" | "linkat":
            raise ValueError("hard links are not expected here")
    return []


def _on_bytes(call: str, path: bytes, strings: Sequence[bytes], bare: str, result: str) -> list[Op]:
    where = Path(path.decode(errors="replace"))
    if call in {"fsync", "fdatasync"}:
        return [Op("sync", where)]
    if call == "ftruncate":
        return [Op("truncate", where)]
    done = int(result.split(maxsplit=1)[0].split("<", maxsplit=1)[0])
    offset = int(bare.rsplit(",", 1)[1]) if call == "pwrite64" else None
    return [Op("write", where, strings[0][:done], offset)] if strings else []


def _opened(path: Path, bare: str, call: str) -> list[Op]:
    if call == "creat" or "O_TRUNC" in bare:
        return [Op("create", path)]
    return [Op("open", path)] if "O_CREAT" in bare else []
