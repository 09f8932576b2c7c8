"""`slotcast release --oms`: what a trainer signed is checked, kept, shown and handed on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.repository import Repository
from slotcast_publisher.supply.check import BUNDLE_PATH
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner
from tests.support.model_signing import stock, stock_sign, write_key


def run(*arguments: object, code: int = 0) -> str:
    """Run a command, which ends with a code; gives what it says."""
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    text = done.output if done.exception is None or code == 0 else f"{done.exception}"
    assert (done.exit_code != 0) == (code != 0), text
    return text


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The trainer's key, and a policy that lets it sign `clf`."""
    write_key(tmp_path / "trainer.key")
    path = tmp_path / "policy.toml"
    path.write_text('format = 1\n[[allow]]\nmodels = ["clf"]\nkey = "trainer.pub"\n')
    return path


def test_a_stock_signature_goes_with_the_release_and_its_verifier_takes_what_devices_hold(
    repo: Repository, model_file: Path, policy: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "given.sig"
    fields = json.loads(
        run("oms", "sign", model_file, "--key", tmp_path / "trainer.key", "--out", bundle, "--json")
    )
    assert set(fields) == documented("oms sign")
    options: tuple[Any, ...] = ("--oms", bundle, "--policy", policy)
    checked = run("oms", "check", bundle, model_file, *("--model", "clf"), *options[2:], "--json")
    assert set(json.loads(checked)) == {"signer", "name", "files"} < documented("oms check")
    options = (*options, "--seed", 1)
    run("release", repo.path, "clf", "2.0", model_file, *options)
    again = run("release", repo.path, "clf", "2.0", model_file, *options, "--json")
    assert not json.loads(again)["new"]

    release = repo.store.folder("clf", "2.0")
    assert {f.path for f in release.load().files} == {"model.onnx", "samples.npz", BUNDLE_PATH}
    repo.offer("clf", "2.0")
    assert "oms     1 file of 'model.onnx', by the key" in run("inspect", repo.path, "clf")
    slot = release.files_dir  # as a device's slot has it
    judged = ("--signature", slot / BUNDLE_PATH, "--public_key", tmp_path / "trainer.pub")
    done = stock("verify", "key", slot, *judged)
    assert done.returncode == 0, done.stderr


def test_a_model_that_was_changed_or_that_nobody_may_sign_is_not_released(
    repo: Repository, model_file: Path, policy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model_file.read_bytes())
    bundle = folder / BUNDLE_PATH  # where trainers leave it
    stock_sign(folder, tmp_path / "trainer.key", tmp_path / "sig")
    bundle.write_bytes((tmp_path / "sig").read_bytes())
    options = ("--oms", bundle, "--policy", policy)
    run("release", repo.path, "clf", "2.0", folder, *options)
    run("oms", "check", bundle, folder, "--model", "clf", *options[2:])

    assert "lets nobody sign" in run("release", repo.path, "other", "1.0", folder, *options, code=1)
    assert "go together" in run("release", repo.path, "clf", "3.0", folder, "--oms", bundle, code=2)
    rebased = ("--rebase", "cosine")
    assert "another model" in run(
        "release", repo.path, "clf", "3.0", folder, *options, *rebased, code=2
    )
    changed = (folder / "model.onnx").read_bytes() + b"\0"
    (folder / "model.onnx").write_bytes(changed)
    said = run("release", repo.path, "clf", "3.0", folder, *options, code=1)
    assert "model.onnx is not what was signed" in said
    assert [r.load().version for r in repo.store.releases("clf")] == ["1.0", "2.0"]
