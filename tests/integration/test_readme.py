"""README's "Use it" works as it is typed: its blocks are taken from the page and run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.brokers import mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
BROKER = "localhost:1883"


def blocks(section: str, language: str) -> list[str]:
    """Give the fenced blocks of a section that are in a language."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def typed(folder: Path, script: str) -> str:
    """Run what a person would type into a shell; a command that fails ends it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_readme_says_to_type_installs_a_model(tmp_path: Path) -> None:
    """In a folder that looks like a clone; `make dev` was run, or this test would not."""
    for name in (".venv", "examples"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    publisher, device = blocks("Use it", "sh")
    (python,) = blocks("Use it", "python")
    first, rest = publisher.split("\n", 1)
    assert first.startswith("make dev ")
    script = f"{rest}\n{device}\npython - <<'END'\n{python}\nassert scores.shape == (64, 10)\nEND\n"
    assert BROKER in script
    with mosquitto("development") as broker:
        said = typed(tmp_path, script.replace(BROKER, f"{broker.host}:{broker.port}"))
    assert "digits    COMMITTED (committed)" in said
    assert "active    1.0 (sequence 1), slot a" in said
    key = next((tmp_path / "try" / "repo" / "keys").glob("*.pem")).read_text()
    assert "ENCRYPTED" in key  # with the passphrase of the page, not asked for, not left out
    opened = re.search(r"opens `(camera-7/state/\S+)`", README)
    assert opened is not None
    model = tmp_path / "try" / opened[1]
    assert model.read_bytes() == (tmp_path / "try" / "digits.onnx").read_bytes()
