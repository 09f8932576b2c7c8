"""The recipes of containers take a base by its digest: a tag may be another image tomorrow."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = ("device/src/slotcast_device/share/Containerfile", "mosquitto/Containerfile")
DIGEST = "sha256:" + "0" * 64


def first_step(recipe: str) -> str:
    """Give the first command that a build runs, as the engine hands it to the base's shell."""
    text = (ROOT / recipe).read_text().replace("\\\n", "")
    command = re.search(r"^RUN (.*)$", text, re.MULTILINE)
    assert command is not None
    before = text[: command.start()]
    assert {"ARG BASE", "ARG ALLOW_TAG"} <= set(before.partition("FROM ")[2].splitlines())
    return command[1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_base_that_is_named_by_a_tag_alone_is_refused_with_what_to_do(recipe: str) -> None:
    def run(base: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "BASE": base, **more}
        command = ["sh", "-c", first_step(recipe)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    for base in ("python:3.11-slim", "a", "host:5000/a:b", "a:sha256"):
        done = run(base)
        assert done.returncode == 1
        assert f"BASE={base} names no digest" in done.stderr
        assert run(base, ALLOW_TAG="1").returncode == 0
    for base in (f"python@{DIGEST}", f"host:5000/python:3.11-slim@{DIGEST}"):
        assert run(base).returncode == 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_all_stages_begin_with_the_base_that_was_checked_and_the_head_says_how_to_name_it(
    recipe: str,
) -> None:
    text = (ROOT / recipe).read_text()
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    head = text.partition("\nARG ")[0]
    assert "{{index .RepoDigests 0}}" in head
    assert '--build-arg BASE="$BASE"' in head
