"""`slotcast keys`: who signs for what; add, rotate and revoke."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from securesystemslib.signer import Key

from slotcast_publisher.cli.common import Json, Repo, emit, open_repository
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust import ceremonies
from slotcast_schemas.errors import UsageError
from slotcast_schemas.named_files import read_named

Role = Annotated[
    str,
    typer.Argument(
        help="root, targets, snapshot, timestamp, offers, release-MODEL, or online for the three"
        " roles of the online key.",
        show_default=False,
    ),
]
Uri = Annotated[
    str | None,
    typer.Option(
        help="Where the private key is, as securesystemslib writes it (gcpkms:, hsm:...)."
    ),
]
PublicKey = Annotated[Path | None, typer.Option(help="With --uri: its public key, as PEM.")]
Scheme = Annotated[
    str | None, typer.Option(help="With --uri: the TUF signing scheme, if not the key's usual one.")
]
NoPassphrase = Annotated[
    bool, typer.Option("--no-passphrase", help="Leave the new key's file unencrypted.")
]
Threshold = Annotated[int | None, typer.Option(min=1, help="How many keys must sign from now on.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Who signs for what.", no_args_is_help=True, rich_markup_mode=None)
    keys.command("list")(_list)
    keys.command("add")(_add)
    keys.command("rotate")(_rotate)
    keys.command("revoke")(_revoke)
    keys.command("separate")(_separate)
    keys.command("floor")(_floor)
    app.add_typer(keys, name="keys")


def _list(repo: Repo, json: Json = False) -> None:
    """Show each role's keys, and until when its signatures count."""
    repository = open_repository(repo)
    found = ceremonies.list_roles(repository.roles, repository.ring)
    lines = []
    for role in found:
        until = role.expires.date().isoformat() if role.expires else "not signed yet"
        lines.append(
            f"{role.role}: {role.threshold} of {len(role.keys)},"
            f" version {role.version}, until {until}"
        )
        lines += [
            f"  {key.keyid[:12]} {key.name} at {key.where}"
            f"{'' if key.is_reachable else ' (not reachable from here)'}"
            for key in role.keys
        ]
    emit(json, {"roles": [msgspec.to_builtins(role) for role in found]}, lines)


def _add(
    repo: Repo,
    role: Role,
    uri: Uri = None,
    public_key: PublicKey = None,
    scheme: Scheme = None,
    threshold: Threshold = None,
    no_passphrase: NoPassphrase = False,
    json: Json = False,
) -> None:
    """Let one more key sign for a role: a new file, or one in a KMS or HSM."""
    repository = open_repository(repo)
    with repository.locked(), repository.ring.unchanged_on_conflict():
        make = _maker(repository, uri, public_key, scheme, no_passphrase)
        key = ceremonies.add_key(repository.roles, role, make, threshold)
    _say_changed_key(repository, role, key, "added", json)


def _rotate(
    repo: Repo,
    role: Role,
    uri: Uri = None,
    public_key: PublicKey = None,
    scheme: Scheme = None,
    no_passphrase: NoPassphrase = False,
    json: Json = False,
) -> None:
    """Replace a role's keys by a new one."""
    repository = open_repository(repo)
    with repository.locked(), repository.ring.unchanged_on_conflict():
        make = _maker(repository, uri, public_key, scheme, no_passphrase)
        key = ceremonies.rotate_keys(repository.roles, role, make)
    _say_changed_key(repository, role, key, "rotated", json)


def _revoke(
    repo: Repo,
    key: Annotated[str, typer.Argument(help="Key id, or its beginning.", show_default=False)],
    threshold: Threshold = None,
    json: Json = False,
) -> None:
    """Let a key sign for nothing any more."""
    repository = open_repository(repo)
    with repository.locked():
        names = ceremonies.revoke_key(repository.roles, repository.ring, key, threshold)
    fields = {
        "key": key,
        "roles": names,
        "root_version": repository.roles.root().signed.version,
        "action": "revoked",
    }
    emit(
        json,
        fields,
        [f"Key {key} signs for nothing any more; it did for {', '.join(names)}", _ADVICE],
    )


def _separate(repo: Repo, json: Json = False) -> None:
    """Give every model roles of its own, in a repository whose models share one set."""
    repository = open_repository(repo)
    models = repository.separate()
    lines = ["Every model has roles of its own already."]
    if models:
        lines = [f"Given roles of their own: {', '.join(models)}", _ADVICE]
    emit(json, {"models": models}, lines)


def _floor(
    repo: Repo,
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    sequence: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Where devices above --most go back to; unless given the highest sequence that is"
            " signed here.",
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(
            min=1, help="The highest sequence that counts; unless given a million above the floor."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Bring devices back whose sequences a thief of the release key has used up."""
    repository = open_repository(repo)
    word = repository.move_floor(model, sequence, most)
    fields = {"model": model, "sequence": word.sequence, "sequence_max": word.sequence_max}
    said = (
        f"{model}: sequences above {word.sequence_max} count no more; devices above it go back to"
        f" {word.sequence}"
    )
    emit(json, fields, [said, _ADVICE])


_PUBLIC_KEY_MAX_BYTES: Final = 64 * 1024
"""The most bytes of a public key's file; one of RSA with 16,384 bits has 3 kB."""
_ADVICE = "Devices learn of it by the next notice: run `slotcast refresh`."


def _maker(
    repository: Repository,
    uri: str | None,
    public_key: Path | None,
    scheme: str | None,
    no_passphrase: bool,
) -> Callable[[str], Key]:
    if uri is None:
        encrypted = repository.ring.is_encrypted and not no_passphrase
        return lambda name: repository.ring.generate(name, encrypted=encrypted)
    if public_key is None:
        raise UsageError("--uri: give its public key too, --public-key FILE.pem")
    pem = read_named(public_key, _PUBLIC_KEY_MAX_BYTES)
    return lambda name: repository.ring.register(name, uri, pem, scheme)


def _say_changed_key(
    repository: Repository, role: str, key: Key, action: str, as_json: bool
) -> None:
    fields = {
        "key": key.keyid,
        "roles": [role],
        "root_version": repository.roles.root().signed.version,
        "action": action,
    }
    emit(as_json, fields, [f"{role}: key {key.keyid[:12]} {action}", _ADVICE])
