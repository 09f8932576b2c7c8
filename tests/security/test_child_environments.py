"""No child of a command finds what opens signing keys: each notes what it was started with.

Every Python process of a command notes its environment as it starts, whoever started it: the probe
of a model, what makes deltas, its pool of workers and what watches over that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slotcast_publisher.repository import Repository
from tests.support import models

SECRETS = {
    "SLOTCAST_PASSPHRASE": "four long words here",
    "SLOTCAST_PIN": "80154711",
    "SLOTCAST_WEBHOOK_SECRET": "sixteen letters or more",
}
NOTE = """\
import json, os, sys
with open(f"{NOTES}/{os.getpid()}", "a") as note:
    note.write(json.dumps([sys.orig_argv, dict(os.environ)]) + "\\n")
"""
MIB = 1024 * 1024


class Noted:
    """Runs commands of which each process notes its environment.

    Args:
        folder: for the notes, and for what makes them.
    """

    def __init__(self, folder: Path) -> None:
        self._notes, self._start = folder / "notes", folder / "start"
        self._notes.mkdir()
        self._start.mkdir()
        (self._start / "sitecustomize.py").write_text(f"NOTES = {str(self._notes)!r}\n{NOTE}")

    def run(self, *words: str | Path) -> list[str]:
        """Run a command with all secrets; gives arguments and environments of its children."""
        extra = SECRETS | {"PYTHONPATH": os.pathsep.join((str(self._start), *sys.path))}
        command = [sys.executable, "-m", "slotcast_publisher", *map(str, words)]
        with subprocess.Popen(
            command, env=os.environ | extra, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()
        (self._notes / str(process.pid)).unlink()
        return [line for path in self._notes.iterdir() for line in path.read_text().splitlines()]


def write_weights(path: Path, seed: int) -> Path:
    """Write five tensors of 4 MiB, of which other seeds have others: enough for a pool."""
    head = {}
    for number in range(5):
        ends = [number * 4 * MIB, (number + 1) * 4 * MIB]
        head[f"w{number}"] = {"dtype": "F32", "shape": [1024, 1024], "data_offsets": ends}
    text = json.dumps(head).encode()
    base = np.random.default_rng(0).standard_normal(5 * MIB, dtype=np.float32)
    moved = base + np.random.default_rng(seed).standard_normal(5 * MIB, dtype=np.float32) * 1e-4
    path.write_bytes(len(text).to_bytes(8, "little") + text + moved.astype(np.float32).tobytes())
    return path


def test_what_makes_deltas_and_its_workers_find_none(tmp_path: Path) -> None:
    old, new = (write_weights(tmp_path / f"{n}.safetensors", n) for n in (1, 2))
    noted = Noted(tmp_path).run("delta", old, new, "--workers", "2")
    assert sum("spawn_main" in line for line in noted) >= 2
    assert not [line for line in noted if any(text in line for text in SECRETS.values())]


def test_no_child_of_a_release_finds_one(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    Repository.init(repo, encrypted=True, passphrase=lambda _: SECRETS["SLOTCAST_PASSPHRASE"])
    noted = Noted(tmp_path)
    for number, version in enumerate(("1", "2"), start=1):
        model = tmp_path / "model.onnx"
        model.write_bytes(models.classifier(1, hidden=64, drift=number / 1000))
        weights = write_weights(tmp_path / "weights.safetensors", number)
        lines = noted.run("release", repo, "clf", version, model, weights)
    assert any("model_check" in line or "probe" in line for line in lines)
    assert not [line for line in lines if any(text in line for text in SECRETS.values())]


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_the_command_itself_still_has_it(name: str) -> None:
    code = (
        "from slotcast_schemas.environment import secret, take_secrets; take_secrets();"
        f"import os; print(secret({name!r}), {name!r} in os.environ)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | SECRETS, capture_output=True, check=True
    )
    assert done.stdout.decode().split("\n")[0] == f"{SECRETS[name]} False"
