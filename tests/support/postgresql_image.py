"""The image in which PostgreSQL runs where a container engine does: from a registry, or from here.

Environment:
    SLOTCAST_POSTGRESQL_IMAGE: this image instead.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.support.engine import NoImage, choose_image

OFFICIAL_IMAGE: Final = "postgres:15"
LOCAL_IMAGE: Final = "slotcast/postgresql:local"
_DEBIAN: Final = Path("/usr/lib/postgresql")
_USER: Final = "999"
_START: Final = """\
#!/bin/sh
set -e
cd /data
bin=$(echo /usr/lib/postgresql/*/bin)
"$bin/initdb" -D /data/cluster -U postgres --auth=trust --no-sync --locale=C --encoding=UTF8
echo 'host all all all trust' >>/data/cluster/pg_hba.conf
exec "$bin/postgres" -D /data/cluster -c listen_addresses='*' -c unix_socket_directories=/tmp
"""
"""Does what the official image does when it starts; nobody but the tests can reach it."""


@functools.cache
def image() -> str:
    """Give the image: the one asked for, else one that is here, else pulled, else made.

    Raises:
        NoImage: none of that.
    """
    return choose_image("SLOTCAST_POSTGRESQL_IMAGE", OFFICIAL_IMAGE, LOCAL_IMAGE, _make)


def _make() -> None:
    """Make a small root of Debian's package: its programs, and the libraries that they need."""
    versions = sorted(_DEBIAN.glob("*/bin/postgres"))
    if not versions:
        raise NoImage(f"{OFFICIAL_IMAGE} cannot be pulled, and Debian's postgresql is not here")
    home = versions[-1].parent.parent
    with tempfile.TemporaryDirectory(prefix="slotcast-image-") as folder:
        root = Path(folder) / "root"
        for tree in (home, Path("/usr/share/postgresql") / home.name, Path("/usr/share/zoneinfo")):
            shutil.copytree(tree, root / tree.relative_to("/"), symlinks=True)
        _copy_libraries(root, [*(home / "bin").iterdir(), *(home / "lib").glob("*.so")])
        _write_rest(root)
        _import(root, Path(folder) / "root.tar")


def _copy_libraries(root: Path, programs: list[Path]) -> None:
    needed = subprocess.run(
        ["ldd", "/bin/sh", *map(str, programs)], capture_output=True, text=True, check=False
    ).stdout
    found = {word for line in needed.splitlines() for word in line.split() if word[0] == "/"}
    for library in sorted(word for word in found if not word.endswith(":")):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)


def _write_rest(root: Path) -> None:
    for name in ("bin", "etc", "tmp", "data"):
        (root / name).mkdir(exist_ok=True)
    shutil.copy2("/bin/sh", root / "bin/sh")
    passwd = f"root:x:0:0::/:/bin/sh\npostgres:x:{_USER}:{_USER}::/data:/bin/sh\n"
    (root / "etc/passwd").write_text(passwd)
    (root / "etc/group").write_text(f"root:x:0:\npostgres:x:{_USER}:\n")
    for name in ("tmp", "data"):
        (root / name).chmod(0o1777)
    (root / "start").write_text(_START)
    (root / "start").chmod(0o755)


def _import(root: Path, archive: Path) -> None:
    commands = [
        ["tar", "-C", str(root), "--owner=0", "--group=0", "-cf", str(archive), "."],
        [
            *("docker", "import", "--change", 'ENTRYPOINT ["/start"]', "--change", f"USER {_USER}"),
            *("--change", "EXPOSE 5432", str(archive), LOCAL_IMAGE),
        ],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoImage(
                f"{command[0]} could not make {LOCAL_IMAGE}: {done.stderr.strip()[-500:]}"
            )
