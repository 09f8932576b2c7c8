"""Whether the files of a release are what somebody signed who may: of the repository's copies."""

from __future__ import annotations

from pathlib import Path

from slotcast_publisher.release.given_files import SAMPLES_PATH
from slotcast_publisher.release.release_request import ReleaseRequest, collect_model
from slotcast_publisher.supply.bundle import BUNDLE_MAX_BYTES
from slotcast_publisher.supply.check import BUNDLE_PATH, Checked, check_signed_model
from slotcast_publisher.supply.policy import read_file, read_policy
from slotcast_schemas.errors import UsageError


def check_given_signature(request: ReleaseRequest, files_dir: Path, now_s: float) -> Checked | None:
    """See that files are what somebody signed who may sign this model; None where nobody asks.

    Args:
        request: what to release.
        files_dir: the copies of its files, which nobody changes.
        now_s: seconds since 1970.

    Raises:
        BadSignature: nobody who is allowed has signed them, or something else.
        UsageError: the request asks for other files than those that are given.
    """
    if request.signature is None:
        return None
    if request.rebase is not None:
        raise UsageError(
            "--rebase makes another model than the one that was signed: sign the rebased model, or"
            " release without --oms"
        )
    return check_signed_model(
        read_file(files_dir / BUNDLE_PATH, BUNDLE_MAX_BYTES),
        read_policy(request.signature.policy),
        request.model,
        {path: files_dir / path for path in collect_model(request)[0]},
        now_s,
    )


def notes_of_signature(signed: Checked | None, *, has_added_samples: bool) -> tuple[str, ...]:
    """Say where the bundle that is handed on will not verify for what is in the release.

    Args:
        signed: what the bundle says; None for no bundle.
        has_added_samples: whether the release has samples that nobody signed.
    """
    if signed is None or not has_added_samples or SAMPLES_PATH in signed.ignored:
        return ()
    note = (
        f"{SAMPLES_PATH}, which this release adds, was not left out when the model was signed: a"
        f" verifier of {BUNDLE_PATH} on a device refuses the folder; sign with `slotcast oms sign`,"
        f" or leave {SAMPLES_PATH} out (--ignore-paths) in both"
    )
    return (note,)
