"""What of a rollout must survive everything but the repository itself: `REPO/rollouts/NAME/`.

plan.toml      as a person wrote it; never changed
started.json   who started it, when, and the digest of the plan
record.json    where it stands; made durable before each offer that it causes
requests/      of persons, not answered yet; one file each, in order of their names
answered/      the last of them, with what became of each

A folder is made whole under another name and then given its own, so a start that was killed has
started nothing (docs/adr/0107). Each file is replaced whole (`durable`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from slotcast_publisher.durable import commit_dir, storage_errors, write_atomic
from slotcast_publisher.errors import Conflict, NotFound, RepositoryDamaged
from slotcast_publisher.fleet.rollout.plan import PLAN_MAX_BYTES, Plan, read_plan
from slotcast_publisher.fleet.rollout.record import RolloutRecord, new_record
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering.kept_json import read_json, to_json
from slotcast_publisher.fleet.steering.request_files import AskedFor, RequestFiles
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.plain_files import read_regular

FOLDER: Final = "rollouts"
"""The repository's folder of rollouts."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """Who started a rollout.

    Attributes:
        who: the person.
        at_s: when, seconds since 1970.
        plan_sha256: of the plan's bytes, so that a plan that was changed since is noticed.
    """

    who: str
    at_s: int
    plan_sha256: str
    format: Literal[1] = 1


class SavedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is kept."""

    record: RolloutRecord
    format: Literal[1] = 1


make_decoders(Started, SavedRecord)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One rollout as it lies there.

    Attributes:
        requests: that nobody has answered yet, in their order.
    """

    plan: Plan
    started: Started
    record: RolloutRecord
    requests: tuple[AskedFor, ...]


class RolloutFiles:
    """The rollouts of a repository.

    Args:
        repo: the repository's folder.
    """

    def __init__(self, repo: Path) -> None:
        self._folder = repo / FOLDER
        self._plans: dict[str, tuple[str, Plan]] = {}

    def names(self) -> list[str]:
        """Name the rollouts that were started, in the order of their names."""
        folders = self._folder.glob("*/plan.toml")
        return sorted(p.parent.name for p in folders if not p.parent.name.startswith("."))

    def start(
        self,
        plan: Plan,
        text: bytes,
        started: Started,
        first: AskedFor,
        note: Callable[[], None] = lambda: None,
    ) -> bool:
        """Take a rollout in, with the request to start it; gives False if it was started already.

        One whose start was refused is there and was not started: it is asked for again.

        Args:
            plan: what `text` says.
            text: the plan's bytes as they were written.
            started: who started it.
            first: the request that starts it.
            note: writes down who asks, before it counts; what it raises undoes all.

        Raises:
            Conflict: another plan was started under this name.
        """
        final = self._folder / plan.name
        if final.exists():
            return self._start_again(plan.name, text, first, note)
        staged = self._folder / f".{plan.name}.{first.request.id}"
        try:
            write_atomic(staged / "plan.toml", text)
            write_atomic(staged / "started.json", to_json(started))
            RequestFiles(staged).put_first(first)
            with storage_errors(final):
                staged.chmod(0o755)
            if final.exists():  # somebody else was faster
                self._check_same(plan.name, text)
                return False
            note()
            commit_dir(staged, final)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return True

    def _start_again(
        self, name: str, text: bytes, first: AskedFor, note: Callable[[], None]
    ) -> bool:
        self._check_same(name, text)
        if not self.is_never_started(name):
            return False
        self.ask(name, first, note)
        return True

    def is_never_started(self, name: str) -> bool:
        """Say whether a rollout that is there was refused its start, and waits for nothing."""
        # In this order: what a request came to is durable before the request is taken off.
        return not self.requests(name) and self.load(name).record.state is RolloutState.DRAFT

    def _check_same(self, name: str, text: bytes) -> None:
        if self.plan_bytes(name) != text:
            raise Conflict(
                f"a rollout named {name!r} was started with another plan; a name is used once:"
                f" choose another"
            )

    def plan_bytes(self, name: str) -> bytes:
        """Give a rollout's plan as it was written.

        Raises:
            NotFound: there is no such rollout; names those that there are.
        """
        path = self._folder / name / "plan.toml"
        if not name or name.startswith(".") or Path(name).name != name or not path.exists():
            known = ", ".join(self.names()) or "none"
            raise NotFound(f"no rollout {name!r}; there are: {known}")
        with storage_errors(path):
            return read_regular(path)[: PLAN_MAX_BYTES + 1]

    def load(self, name: str) -> Rollout:
        """Read a rollout; a record that is missing is as of one that nobody has started.

        Raises:
            NotFound: there is no such rollout.
            RepositoryDamaged: a file of it is not what was written, or the plan was changed.
        """
        text = self.plan_bytes(name)
        started = read_json(self._folder / name / "started.json", Started)
        digest = hashlib.sha256(text).hexdigest()
        if digest != started.plan_sha256:
            raise RepositoryDamaged(
                f"{self._folder / name}/plan.toml was changed since the rollout was started; put it"
                f" back (SHA-256 {started.plan_sha256[:16]}…): a plan counts for a rollout's life"
            )
        plan = self._plan(name, text, digest)
        path = self._folder / name / "record.json"
        record = read_json(path, SavedRecord).record if path.exists() else new_record(plan)
        return Rollout(plan, started, record, tuple(self.requests(name)))

    def _plan(self, name: str, text: bytes, digest: str) -> Plan:
        known = self._plans.get(name)
        if known is None or known[0] != digest:
            try:
                plan = read_plan(text.decode(), f"{self._folder / name}/plan.toml")
            except (UsageError, UnicodeDecodeError) as exc:
                raise RepositoryDamaged(f"this version cannot read it: {exc}") from exc
            known = self._plans[name] = (digest, plan)
        return known[1]

    def save_record(self, record: RolloutRecord) -> None:
        """Make a record durable.

        Raises:
            StorageFailed: it could not be written; the one before is still there.
        """
        write_atomic(
            self._folder / record.name / "record.json", to_json(SavedRecord(record=record))
        )

    # --- requests -------------------------------------------------------------------------------

    def ask(self, name: str, asked: AskedFor, note: Callable[[], None] = lambda: None) -> None:
        """Make a request durable; whoever drives the rollout carries it out.

        Args:
            name: of the rollout.
            asked: the request.
            note: writes down who asks, before it counts; what it raises undoes all.

        Raises:
            NotFound: there is no such rollout.
            Conflict: too many wait for an answer already.
        """
        self.plan_bytes(name)
        self._requests(name).ask(asked, note)

    def requests(self, name: str) -> list[AskedFor]:
        """Give the requests that wait, the oldest first; one that cannot be read is put away."""
        return self._requests(name).waiting()

    def answer(self, name: str, asked: AskedFor) -> None:
        """Note what became of a request, and take it off those that wait.

        Args:
            name: of the rollout.
            asked: the request, with its outcome.
        """
        self._requests(name).answer(asked)

    def answer_to(self, name: str, request_id: str) -> AskedFor | None:
        """Give a request with its outcome; None while nobody has answered it.

        Args:
            name: of the rollout.
            request_id: of the request.
        """
        return self._requests(name).answer_to(request_id)

    def _requests(self, name: str) -> RequestFiles:
        return RequestFiles(self._folder / name)
