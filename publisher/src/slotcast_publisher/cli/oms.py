"""`slotcast oms`: sign a model as OpenSSF's model-signing does, and check such a signature."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from slotcast_publisher.cli.common import Json, ask_passphrase, emit
from slotcast_publisher.durable import write_atomic
from slotcast_publisher.release.given_files import SAMPLES_PATH, collect, parse_given
from slotcast_publisher.supply.bundle import BUNDLE_MAX_BYTES
from slotcast_publisher.supply.check import BUNDLE_PATH, check_signed_model
from slotcast_publisher.supply.policy import read_file, read_policy
from slotcast_publisher.supply.sign import read_signing_key, sign_model
from slotcast_schemas.errors import UsageError
from slotcast_schemas.plural import several

Files = Annotated[
    list[str], typer.Argument(help="Files or folders of the model; NAME=FILE gives another name.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("sign")(_sign)
    group.command("check")(_check)
    app.add_typer(group, name="oms", help="Signatures of models, as OpenSSF's model-signing makes.")


def _sign(
    file: Files,
    key: Annotated[Path, typer.Option(help="The private key, PEM, on P-256, P-384 or P-521.")],
    out: Annotated[Path, typer.Option(help="Where to write the bundle.")],
    certificates: Annotated[
        Path | None,
        typer.Option(help="The key's certificate and those that vouch for it, one PEM file."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the model; the first file unless given.")
    ] = None,
    json: Json = False,
) -> None:
    """Sign files of a model; any verifier of model-signing v1.0 takes the bundle."""
    signing = read_signing_key(key, certificates, ask_passphrase())
    files = collect([parse_given(text) for text in file])
    if not files:
        raise UsageError("expected at least one file")
    ignored = () if SAMPLES_PATH in files else (SAMPLES_PATH,)  # which a release may add
    write_atomic(out, sign_model(name or next(iter(files)), files, signing, ignored))
    emit(
        json,
        {"bundle": str(out), "files": len(files)},
        [f"{out}: {several(len(files), 'file')} signed"],
    )


def _check(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    file: Files,
    model: Annotated[str, typer.Option(help="Which model of the policy it is.")],
    policy: Annotated[Path, typer.Option(help="Who may sign which model, a TOML file.")],
    json: Json = False,
) -> None:
    """Check a bundle over files as `slotcast release --oms` does."""
    files = collect([parse_given(text) for text in file])
    data = read_file(bundle, BUNDLE_MAX_BYTES)
    beside = files.get(BUNDLE_PATH)
    if beside is not None and beside.samefile(bundle):
        del files[BUNDLE_PATH]  # no file of the model, where it lies among them
    found = check_signed_model(data, read_policy(policy), model, files, time.time())
    fields = {"signer": found.signer, "name": found.name, "files": found.files}
    emit(
        json,
        fields,
        [f"{several(found.files, 'file')} of {found.name!r}, signed by {found.signer}"],
    )
