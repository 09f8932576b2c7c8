"""Makes one delta as a process of its own: it may be ended at any moment, and takes memory apart.

    python -m slotcast_publisher.fleet.steering.delta_child REPO MODEL VERSION BASE WORKERS

It works beside the repository's lock and takes it only to hand in what is done and proven; two of
them never work on the same release.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from slotcast_publisher.durable import exclusive, storage_errors
from slotcast_publisher.release.delta_payloads import DeltaBuilder
from slotcast_publisher.release.for_recipients import encrypt_for
from slotcast_publisher.release.payloads import cut, no_progress, prove
from slotcast_publisher.repository import Repository
from slotcast_publisher.store import PayloadRecord, ReleaseFolder
from slotcast_schemas.errors import SlotcastError

NICENESS: Final = 10
"""How far it stands back for what else the machine does."""
LOCK_WAIT_S: Final = 60.0
"""The seconds to wait for the repository; signing takes a moment."""
_WORK: Final = ".deltas"
"""The folder of a release that it works in."""


def make_delta(repo: Repository, model: str, version: str, base: str, workers: int) -> None:
    """Make, prove and hand in the delta to a release from one base, if it pays.

    Args:
        repo: the repository.
        model: of the release.
        version: of the release.
        base: the version to start from.
        workers: processes at once.

    Raises:
        StateLocked: another process makes deltas to this release.
        SlotcastError: what keeps it from being made.
    """
    release = repo.store.folder(model, version)
    builder = DeltaBuilder((base,), workers=workers)
    with exclusive(release.path / ".deltas.lock", f"deltas to {model} {version}"):
        work = release.path / _WORK
        shutil.rmtree(work, ignore_errors=True)  # of one that was ended
        with storage_errors(work):
            work.mkdir()
        try:
            made = _made(repo, release, builder, work)
            with repo.locked(wait_s=LOCK_WAIT_S):
                for staged, record in made:
                    release.add_payload(staged, record)
                release.mark_built(builder.name)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _made(
    repo: Repository, release: ReleaseFolder, builder: DeltaBuilder, work: Path
) -> list[tuple[Path, PayloadRecord]]:
    start_s, found = time.monotonic(), []
    sequence = release.load().sequence
    earlier = [f for f in repo.store.releases(release.load().model) if f.load().sequence < sequence]
    encrypt = encrypt_for(release, repo.settings.chunk_size_bytes)
    for number, built in enumerate(builder.build(release, earlier, work, no_progress)):
        candidate = encrypt(built)
        prove(candidate, release)
        staged = work / str(number)
        payload = cut(candidate, staged, repo.settings.chunk_size_bytes)
        record = PayloadRecord(
            payload=payload,
            image_size_bytes=release.load().image_size_bytes,
            build_s=round(time.monotonic() - start_s, 3),
        )
        found.append((staged, record))
    return found


def main() -> int:
    """Run what the command line asks for; gives 1, with the reason on stderr, if it failed."""
    path, model, version, base, workers = sys.argv[1:]
    os.nice(NICENESS)
    try:
        make_delta(Repository(Path(path)), model, version, base, int(workers))
    except SlotcastError as exc:
        sys.stderr.write(f"{exc.reason}: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
