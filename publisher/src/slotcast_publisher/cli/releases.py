"""`slotcast release` and `slotcast list`: build releases, and see what there is."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slotcast_publisher.cli.common import (
    Json,
    Model,
    Repo,
    Version,
    emit,
    open_repository,
    progress,
    size,
)
from slotcast_publisher.cli.limit_options import NO_LIMITS, with_limit_options
from slotcast_publisher.release.chosen_limits import ChosenLimits, read_limits
from slotcast_publisher.release.delta_payloads import all_builders
from slotcast_publisher.release.given_files import parse_given
from slotcast_publisher.release.rebase.wanted import RebaseWanted
from slotcast_publisher.release.release_request import ReleaseRequest, SignatureWanted
from slotcast_publisher.release.statement import make_statement
from slotcast_publisher.store import PayloadRecord
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.messages.release import CHANGES
from slotcast_schemas.plural import several

if TYPE_CHECKING:
    from slotcast_publisher.release.build import Released


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("release")(with_limit_options(_release))


def _release(
    repo: Repo,
    model: Model,
    version: Version,
    file: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files or folders of the release; NAME=FILE gives one another name in it.",
            show_default=False,
        ),
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(help="The file that the runtime opens, by its name in the release."),
    ] = None,
    model_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="What kind of model it is: onnx, litert, gguf, opaque, or opaque_NAME; by the"
            " file's name unless given.",
        ),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Inputs (.npz) whose outputs devices must reproduce.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Without samples: make inputs from this seed.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="The size of a made input: NAME=1x3x224x224; repeatable.", metavar="NAME=SIZES"
        ),
    ] = None,
    numbers: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            help="The numbers of a made input: NAME=LOW:HIGH; repeatable.",
            metavar="NAME=LOW:HIGH",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            help="Limits of probe and trial, a TOML file as `slotcast limits` prints one; options"
            " win over it."
        ),
    ] = None,
    memory_mb: Annotated[int, typer.Option(help="Free memory needed, in MB; 0: unknown.")] = 0,
    sequence: Annotated[
        int | None, typer.Option(help="Higher than the last; the next one unless given.")
    ] = None,
    same_as: Annotated[
        str | None, typer.Option(help="Release the files of this earlier version again.")
    ] = None,
    notes: Annotated[str, typer.Option(help="For people.")] = "",
    advisory: Annotated[
        str, typer.Option(help="What those who run older releases should know; signed with it.")
    ] = "",
    mends_vulnerability: Annotated[
        bool, typer.Option("--mends-vulnerability", help="Say that it mends a vulnerability.")
    ] = False,
    mends_fault: Annotated[
        bool, typer.Option("--mends-fault", help="Say that it mends a fault.")
    ] = False,
    adds_function: Annotated[
        bool, typer.Option("--adds-function", help="Say that it adds a function.")
    ] = False,
    supported_until: Annotated[
        str | None,
        typer.Option(
            help="The last day of its support, by UTC, such as 2028-11-30.", metavar="DATE"
        ),
    ] = None,
    oms: Annotated[
        Path | None,
        typer.Option(
            help="The model-signing bundle of the files: checked by --policy, kept as model.sig.",
            metavar="BUNDLE",
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Who may sign which model, a TOML file; with --oms.")
    ] = None,
    rebase: Annotated[
        str | None,
        typer.Option(
            help="Release a model moved onto what devices hold, for a far smaller delta:"
            " 'cosine' or 'accuracy' on --samples says how near it must stay.",
        ),
    ] = None,
    at_least: Annotated[float, typer.Option(help="What that measure must reach.")] = 0.9999,
    base: Annotated[
        list[str] | None,
        typer.Option(help="Make a delta from this release; repeatable. Else from the last three."),
    ] = None,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt",
            help="Encrypt what travels, for the model's recipients; as `slotcast recipients always`"
            " says unless given.",
            show_default=False,
        ),
    ] = None,
    no_probe: Annotated[
        bool,
        typer.Option(
            "--no-probe",
            help="Do not ask devices' probe what it will say: for a model that this machine cannot"
            " run.",
        ),
    ] = False,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave a new model's key file unencrypted.")
    ] = False,
    json: Json = False,
    limits: ChosenLimits = NO_LIMITS,
) -> None:
    """Build, check, pack and sign a release; the same again changes nothing."""
    chosen = limits if settings is None else limits.over(read_limits(settings))
    request = ReleaseRequest(
        model=model,
        version=version,
        files=tuple(parse_given(text) for text in file or ()),
        entry=entry,
        format=model_format,
        samples=samples,
        seed=seed,
        same_as=same_as,
        sequence=sequence,
        limits=chosen,
        memory_bytes=memory_mb * 1_000_000,
        notes=notes,
        rebase=_rebase_wanted(rebase, at_least, base),
        is_probed=not no_probe,
        shapes=dict(_parse_shape(text) for text in shape or ()),
        ranges=dict(_parse_range(text) for text in numbers or ()),
        statement=make_statement(
            advisory,
            _chosen_changes(mends_vulnerability, mends_fault, adds_function),
            supported_until,
        ),
        encrypt=encrypt if encrypt is not None else chosen.encrypt,
        signature=_signature_wanted(oms, policy),
    )
    repository = open_repository(repo)
    with progress(quiet=json) as advance:
        done = repository.build_release(
            request,
            progress=advance,
            builders=all_builders(tuple(base) if base else None),
            encrypted=False if no_passphrase else None,
        )
    for warning in done.warnings:
        sys.stderr.write(f"slotcast: warning: {warning}\n")
    emit(json, released_fields(done), released_lines(done))


def _signature_wanted(bundle: Path | None, policy: Path | None) -> SignatureWanted | None:
    if (bundle is None) != (policy is None):
        raise UsageError("--oms BUNDLE and --policy FILE go together: who may sign it is asked")
    if bundle is None or policy is None:
        return None
    return SignatureWanted(bundle=bundle, policy=policy)


def _chosen_changes(*is_chosen: bool) -> tuple[str, ...]:
    """Give the words of `CHANGES` that were chosen, in their order."""
    return tuple(word for word, chosen in zip(CHANGES, is_chosen, strict=True) if chosen)


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.rpartition("=")
    parts = sizes.replace(",", "x").split("x") if sizes else []
    if not equals or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--shape: expected NAME=1x3x224x224, got {text!r}")
    return name, tuple(int(part) for part in parts)


def _parse_range(text: str) -> tuple[str, tuple[float, float]]:
    name, equals, ends = text.rpartition("=")
    try:
        low, high = (float(part) for part in ends.split(":"))
    except ValueError:
        low, high = 1.0, 0.0
    if not equals or not low <= high or not math.isfinite(high - low):
        raise UsageError(f"--range: expected NAME=LOW:HIGH, got {text!r}")
    return name, (low, high)


def _rebase_wanted(
    measure: str | None, at_least: float, base: list[str] | None
) -> RebaseWanted | None:
    if measure is None:
        return None
    fields = {"measure": measure, "at_least": at_least, "base": base[0] if base else None}
    return convert(fields, RebaseWanted, "--rebase, --at-least")


def released_fields(done: Released) -> dict[str, Any]:
    """Give what a release did, for programs."""
    release = done.release
    return {
        "model": release.model,
        "version": release.version,
        "sequence": release.sequence,
        "format": release.runtime.format,
        "encrypted": release.encryption is not None,
        "new": done.is_new,
        "image_size_bytes": release.image_size_bytes,
        "image_sha256": release.image_sha256.hex(),
        "warnings": list(done.warnings),
        "rebased": _rebased_fields(done),
        "files": [
            {
                "path": item.path,
                "size_bytes": item.size_bytes,
                "sha256": item.sha256.hex(),
                "role": item.role,
            }
            for item in release.files
        ],
        "payloads": [payload_fields(record) for record in done.payloads],
    }


def _rebased_fields(done: Released) -> dict[str, Any] | None:
    """Give how far the release is from what was given; None where it is just that."""
    said = done.release.rebased
    if said is None:
        return None
    return {
        "given_sha256": said.given_sha256.hex(),
        "measure": said.measure,
        "value": said.distance,
        "step": said.step,
    }


def payload_fields(record: PayloadRecord) -> dict[str, Any]:
    """Give what a payload is and saves, for programs."""
    payload = record.payload
    return {
        "codec": payload.codec,
        "base": payload.base.version if payload.base else None,
        "sha256": payload.sha256.hex(),
        "size_bytes": payload.size_bytes,
        "chunks": payload.chunk_count,
        "saved_share": round(record.saved_share, 6),
        "build_s": record.build_s,
    }


def released_lines(done: Released) -> list[str]:
    """Give what a release did, for people: a table of what each payload saves."""
    release = done.release
    verb = "Released" if done.is_new else "Nothing new:"
    head = (
        f"{verb} {release.model} {release.version} (sequence {release.sequence}):"
        f" {several(len(release.files), 'file')}, {size(release.image_size_bytes)}"
        f"{', encrypted' if release.encryption is not None else ''}"
    )
    lines = [
        head,
        f"  {'payload':<20} {'from':<12} {'size':>10} {'chunks':>7} {'saves':>7} {'built in':>9}",
    ]
    for record in done.payloads:
        payload = record.payload
        base = payload.base.version if payload.base else "-"
        lines.append(
            f"  {payload.codec:<20} {base:<12} {size(payload.size_bytes):>10}"
            f" {payload.chunk_count:>7} {record.saved_share:>7.1%} {record.build_s:>7.1f} s"
        )
    if done.rebasing is not None:
        from slotcast_publisher.release.rebase.search import table  # brings numpy

        lines += ["", f"Rebased on {done.rebasing.base_version}; it is NOT the model given:"]
        lines += [f"  {line}" for line in table(done.rebasing.report)]
    return lines
