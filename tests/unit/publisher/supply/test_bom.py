"""The bill of materials of a release: by the standard's own schema, whole, and always the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slotcast_publisher.cli import app
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import make_statement
from slotcast_publisher.repository import Repository
from tests.support import models
from tests.support.bills import check_bill
from tests.support.cli_runner import CliRunner


def bom_of(repo: Repository) -> str:
    """Give what the command prints."""
    done = CliRunner().invoke(app, ["inspect", str(repo.path), "clf", "--bom"])
    assert done.exit_code == 0, done.output
    return done.stdout


def values_of(component: dict[str, Any]) -> dict[str, str]:
    """Give a component's properties."""
    return {one["name"]: one["value"] for one in component["properties"]}


def test_a_releases_bill_is_valid_and_says_what_it_is_made_of_and_from(
    repo: Repository, model_file: Path, tmp_path: Path
) -> None:
    before = repo.store.folder("clf", "1.0").load()
    newer = tmp_path / model_file.name
    newer.write_bytes(models.classifier(hidden=512, drift=0.001))
    statement = make_statement("update soon", ("mends_fault",), "2035-11-30")
    request = ReleaseRequest(model="clf", version="2.0", files=(newer,), statement=statement)
    repo.build_release(request)
    repo.offer("clf", "2.0")
    text = bom_of(repo)
    check_bill(text)

    release = repo.store.folder("clf", "2.0").load()
    model = json.loads(text)["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == (
        "machine-learning-model",
        "clf",
        "2.0",
    )
    assert model["hashes"] == [{"alg": "SHA-256", "content": release.image_sha256.hex()}]
    files = {one["name"]: one["hashes"][0]["content"] for one in model["components"]}
    assert files == {file.path: file.sha256.hex() for file in release.files}
    said = values_of(model)
    assert said["slotcast:format"] == "onnx"
    assert said["slotcast:advisory"] == "update soon"
    assert said["slotcast:changes"] == "mends_fault"
    assert all(f"slotcast:input:{one.name}" in said for one in release.inputs)
    assert all(f"slotcast:output:{one.name}" in said for one in release.outputs)
    (base,) = model["pedigree"]["ancestors"]
    assert (base["version"], base["hashes"][0]["content"]) == ("1.0", before.image_sha256.hex())


def test_the_same_release_gives_the_same_bytes_and_another_one_another_number(
    repo: Repository,
) -> None:
    repo.offer("clf", "1.0")
    first = bom_of(repo)
    assert bom_of(repo) == first
    repo.build_release(ReleaseRequest(model="clf", version="2.0", same_as="1.0"))
    repo.offer("clf", "2.0")
    assert json.loads(bom_of(repo))["serialNumber"] != json.loads(first)["serialNumber"]
