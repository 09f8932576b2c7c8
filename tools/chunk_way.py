"""Counts the files that a chunk passes in the device, from the socket to the disk, by watching one.

    python tools/chunk_way.py               the tree as it is
    python tools/chunk_way.py b00f5db       the device of an older commit

A release is published to a Mosquitto of its own, and a device fetches it; an older one takes
today's notices, too. While the device takes a packet with a chunk, each function of the device that
is entered is noted: its file, in the order in which the files are entered first, and every step
from one file to another. What decodes early runs in a thread of its own and is not seen. Printed is
the way that most chunks took.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
SOURCES: Final = ("schemas/src", "device/src")
ENTRY: Final = "_take"
"""The method of `Link` that takes one packet, message or not."""
STORED: Final = "store_chunk"
"""The function that writes a chunk; a packet that does not come to it held no chunk."""
MODEL_BYTES: Final = 4 * 1024 * 1024
"""The size of the model: some 64 chunks."""
TIMEOUT_S: Final = 120


class Watcher:
    """Notes, as a profile function of `sys`, which files one packet passes.

    Args:
        package: the folder of the device's package.
    """

    def __init__(self, package: Path) -> None:
        self._package = f"{package}/"
        self._entry: FrameType | None = None
        self._files: list[str] = []
        self._is_chunk = False
        self.ways: Counter[tuple[str, ...]] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Note a call, or the end of the packet."""
        if event not in {"call", "return"}:
            return
        code = frame.f_code
        if not code.co_filename.startswith(self._package):
            return
        if event == "return":
            if frame is self._entry:
                self._end()
            return
        if self._entry is None and code.co_name == ENTRY:
            self._entry, self._files, self._is_chunk = frame, [], False
        if self._entry is not None:
            self._is_chunk |= code.co_name == STORED
            file = code.co_filename.removeprefix(self._package).removesuffix(".py")
            if not self._files or self._files[-1] != file:
                self._files.append(file)

    def _end(self) -> None:
        self._entry = None
        if self._is_chunk:
            self.ways[tuple(self._files)] += 1


def watch_device(config: str) -> int:
    """Run the device of the present path until it has the release; print the way of its chunks."""
    from slotcast_device import cli

    package = Path(cli.__file__).parent
    watcher = Watcher(package)
    sys.setprofile(watcher)
    code = cli.main(["run", "--config", config, "--once", "--timeout", str(TIMEOUT_S)])
    sys.setprofile(None)
    if code or not watcher.ways:
        print(f"the device ended with {code}, {watcher.ways.total()} chunks seen", file=sys.stderr)
        return 1
    way, count = watcher.ways.most_common(1)[0]
    files = list(dict.fromkeys(way))
    rooms = list(dict.fromkeys(file.rpartition("/")[0] or file for file in files))
    print(f"{count} of {watcher.ways.total()} chunks took this way")
    print(f"files: {len(files)}: {' '.join(files)}")
    print(f"rooms: {len(rooms)}: {' '.join(rooms)}")
    print(f"steps from one file to another: {len(way) - 1}")
    return 0


def run(*words: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a command and give what it prints; end with what it said if it failed.

    Args:
        words: the command.
        environment: of the process; this one's by default.
    """
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{words[0]} failed: {done.stderr or done.stdout}")
    return done.stdout


def sources(commit: str | None, folder: Path) -> str:
    """Give the path on which the device's packages of a commit are found.

    Args:
        commit: which; None for the tree as it is.
        folder: where to put an older one.
    """
    root = ROOT
    if commit is not None:
        command = ["git", "-C", str(ROOT), "archive", commit, *SOURCES]
        data = subprocess.run(command, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not in 3.11.2
            archive.extractall(folder)
        root = folder
    return os.pathsep.join(str(root / source) for source in SOURCES)


def main(arguments: list[str]) -> int:
    """Publish a release, and watch a device fetch it."""
    if arguments[:1] == ["--watch"]:
        return watch_device(arguments[1])
    sys.path.insert(0, str(ROOT))
    from benchmarks.transfer_world import generated_model
    from tests.support.brokers import mosquitto

    slotcast = Path(sys.executable).with_name("slotcast")
    with tempfile.TemporaryDirectory() as name, mosquitto("development") as broker:
        work = Path(name)
        path = sources(arguments[0] if arguments else None, work / "sources")
        model = generated_model(work / "model.onnx", MODEL_BYTES, seed=1)
        run(slotcast, "init", work / "repo", "--broker", broker.url, "--no-passphrase")
        run(slotcast, "release", work / "repo", "m", "1", model, "--no-passphrase")
        run(slotcast, "publish", work / "repo", "m", "1")
        out = work / "device"
        run(slotcast, "provision", work / "repo", "cam-1", out, "--model", "m")
        environment = {**os.environ, "PYTHONPATH": path}
        config = out / "device.toml"
        print(run(sys.executable, __file__, "--watch", config, environment=environment), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
