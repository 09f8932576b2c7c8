"""What must hold at every step, whatever happens; each check names what it found."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import msgspec

from slotcast_device.core.state import Update
from slotcast_device.core.transfer.broker_limits import SUBSCRIPTIONS_MAX
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from tests.simulation.broker import Client
from tests.simulation.catalog import DELTA_WAIT_S, MODELS, UNFIT_IN_PROBE, UNFIT_ON_TRIAL, Catalog
from tests.simulation.device import CREDIT_CHUNKS, SimDevice
from tests.simulation.ramdisk import RamDisk

_LOOKS = frozenset({"read", "open", "list", "read_link", "sync", "sync_dir", "make_read_only"})
_NEVER_SAID = (
    "switched_by_hand",  # the record ran ahead of `current`
    "took slot",
    "the record was missing",
    "state.json.damaged",
    "was damaged",
)
_SAID_OF_LOSSES = frozenset({"was damaged"})
_RECORDS_MAX_BYTES = 64 * 1024
_LATE_S = 120.0
"""For a job under way, and waits after storage that failed."""
_BEFORE_TRIAL = frozenset({State.DOWNLOADING, State.DOWNLOADED, State.VERIFIED})
_OTHERS_WISH = frozenset({"canceled", "by_hand"})


class Broken(AssertionError):
    """An invariant does not hold."""


@functools.lru_cache(maxsize=4096)
def _below_model(path: str) -> tuple[Path, str]:
    """Split a path into the model's folder and what is below it."""
    head, _, tail = path.partition("/models/")
    model, _, below = tail.partition("/")
    return Path(head) / "models" / model, below


class Watch:
    """Holds a device to its promises over all its restarts."""

    def __init__(self, world: Catalog) -> None:
        self._world = world
        self._floors = dict.fromkeys(MODELS, 0)
        self._committed = dict.fromkeys(MODELS, 0)
        self._had_release = dict.fromkeys(MODELS, False)
        self._touched = set(MODELS)
        self._mending: set[str] = set()
        self._had_losses = False

    # --- what was taken from the disk on purpose ------------------------------------------------

    def lost(self, model: str) -> None:
        """`current` or its slot was taken away: it may be so for a while."""
        self._mending.add(model)
        self._had_losses = True

    def is_mending(self, model: str) -> bool:
        """Whether something was taken away and `current` opens no whole release since."""
        return model in self._mending

    def must_be_mended(self, disk: RamDisk, folder: Path) -> None:
        """`current` opens a whole release whenever a slot holds one that may serve."""
        able = self._able(disk, folder)
        target = self._current(disk, folder)
        if able and not self._is_whole(disk, folder, target):
            raise Broken(f"{folder.name}: {able} may serve, and `current` opens {target}")

    def _able(self, disk: RamDisk, folder: Path) -> list[str]:
        return [slot for slot in ("slots/a", "slots/b") if self._may_serve(disk, folder, slot)]

    def _may_serve(self, disk: RamDisk, folder: Path, target: str) -> bool:
        """Whether a slot holds a whole release that is good and no newer than a committed one.

        A newer one is still on its way through its probe, and is opened by that.
        """
        signed = disk.peek(folder / f"{target}.release") or b""
        release = self._world.releases.get(hashlib.sha256(signed).digest())
        return (
            release is not None
            and release.sequence <= self._committed[folder.name]
            and release.version not in {UNFIT_IN_PROBE, UNFIT_ON_TRIAL}
            and self._is_whole(disk, folder, target)
        )

    def _is_whole(self, disk: RamDisk, folder: Path, target: str | None) -> bool:
        try:
            self._release_at(disk, folder, target or "", durable=False)
        except Broken:
            return False
        return True

    # --- told by the disk, before each step -----------------------------------------------------

    def step(self, disk: RamDisk, what: str, path: Path) -> None:
        """The active slot is never written; what becomes active is whole and durable."""
        if what in _LOOKS:
            return
        model_dir, below = _below_model(str(path))
        if below.startswith(("current", "slots", "state.json")):
            self._touched.add(model_dir.name)
        current = self._current(disk, model_dir)
        if current is not None and (below == current or below.startswith(f"{current}/")):
            raise Broken(f"{what} {below}: the active slot is written")
        if what == "rename" and below == "current":
            target = self._current(disk, model_dir, "current.tmp")
            for durable in (False, True):
                self._release_at(disk, model_dir, target or "", durable=durable)

    # --- told what the device says ----------------------------------------------------------------

    def heard(self, model: str, text: str) -> None:
        """A start never finds what only somebody's hand, or a missing sync, can leave."""
        for sign in _NEVER_SAID:
            if sign in text and not (self._had_losses and sign in _SAID_OF_LOSSES):
                raise Broken(f"{model}: said {text!r}")

    # --- told after each event ------------------------------------------------------------------

    def look(self, device: SimDevice, client: Client | None) -> None:
        """Floors only rise; nothing grows past its bound."""
        for model, core in device.cores.items():
            update = core.state.update
            if update is not None and update.state is State.COMMITTED:
                self._committed[model] = max(self._committed[model], update.sequence)
            if core.state.floor > self._committed[model]:
                raise Broken(f"{model}: floor {core.state.floor} of what was never committed")
            if core.state.floor < self._floors[model] and core.is_settled:
                raise Broken(f"{model}: floor fell from {self._floors[model]}")
            fetch = core.transfer
            if fetch is not None and fetch.in_flight > CREDIT_CHUNKS:
                raise Broken(f"{model}: {fetch.in_flight} chunks under way")
        if client is not None and len(client.filters) > SUBSCRIPTIONS_MAX:
            raise Broken(f"{len(client.filters)} filters on one connection")

    def disk_is_new(self) -> None:
        """The disk was made anew by a power cut: nothing on it was looked at."""
        self._touched.update(MODELS)

    def look_at_disk(self, disk: RamDisk, state_dir: Path) -> None:
        """`current` opens a verified release once one was committed; records and space hold."""
        if not self._touched:
            return
        for model in sorted(self._touched):
            folder = state_dir / "models" / model
            self._record(disk, folder, model)
            target = self._current(disk, folder)
            if model in self._mending:
                if self._is_whole(disk, folder, target):
                    self._mending.discard(model)
                    # What mends it may be on trial, with nothing to go back to if that ends badly.
                    self._had_release[model] &= bool(self._able(disk, folder))
            elif target is not None:
                self._release_at(disk, folder, target, durable=False)
            elif self._had_release[model]:
                raise Broken(f"{model}: `current` is gone")
        self._touched.clear()
        most = len(MODELS) * (4 * self._world.image_max_bytes + _RECORDS_MAX_BYTES)
        if disk.used_bytes > most:
            raise Broken(f"{disk.used_bytes} bytes on disk, expected at most {most}")

    def _record(self, disk: RamDisk, folder: Path, model: str) -> None:
        data = disk.peek(folder / "state.json")
        if data is None:
            if self._floors[model]:
                raise Broken(f"{model}: the record is gone")
            return
        try:
            found = msgspec.json.decode(data)
        except msgspec.DecodeError as exc:
            raise Broken(f"{model}: the record cannot be read: {exc}") from exc
        if found["floor"] < self._floors[model]:
            raise Broken(f"{model}: floor {found['floor']} on disk after {self._floors[model]}")
        durable = disk.peek(folder / "state.json", durable=True)
        if durable:
            self._floors[model] = max(self._floors[model], msgspec.json.decode(durable)["floor"])
        update = found.get("update")
        if update is not None and update["state"] == State.COMMITTED:
            self._had_release[model] = True

    # --- reading --------------------------------------------------------------------------------

    def _current(self, disk: RamDisk, folder: Path, name: str = "current") -> str | None:
        data = disk.peek(folder / name)
        return None if data is None else data.decode()

    def _release_at(self, disk: RamDisk, folder: Path, target: str, *, durable: bool) -> None:
        """Check that a slot holds, whole, a release that the publisher signed."""
        signed = disk.peek(folder / f"{target}.release", durable=durable)
        release = self._world.releases.get(hashlib.sha256(signed or b"").digest())
        if release is None:
            raise Broken(f"{folder.name}: {target} holds no signed release (durable={durable})")
        for file in release.files:
            data = disk.peek(folder / target / file.path, durable=durable) or b""
            if hashlib.sha256(data).digest() != file.sha256:
                raise Broken(f"{folder.name}: {target}/{file.path} is damaged (durable={durable})")


class DeltaWaits:
    """A device waits for a delta no longer than its offer says, and only where a model serves.

    A clock that is set back makes it wait anew: it cannot tell for how long it has waited. So does
    another release, whose delta is another one.

    Attributes:
        count: waits that began.
    """

    def __init__(self) -> None:
        self.count = 0
        self._release: dict[str, bytes] = {}
        self._since_s: dict[str, float] = {}
        self._clock_was_set: dict[str, int] = {}

    def look(self, device: SimDevice, now_s: float) -> None:
        """Told after each event of a device that is on."""
        for model, core in device.cores.items():
            update = core.state.update
            is_waiting = (
                core.is_ready
                and update is not None
                and (update.state, update.reason) == (State.QUEUED, Reason.AWAITS_DELTA)
            )
            if update is None or not is_waiting:
                self._since_s.pop(model, None)
                continue
            if core.state.active_record is None:
                raise Broken(f"{model}: waits for a delta, and nothing serves")
            if model not in self._since_s or self._release[model] != update.release_sha256:
                self.count += 1
                self._release[model] = update.release_sha256
                self._since_s[model], self._clock_was_set[model] = now_s, 0
            waited_s = now_s - self._since_s[model]
            if waited_s > DELTA_WAIT_S * (1 + self._clock_was_set[model]) + _LATE_S:
                raise Broken(f"{model}: waits for a delta for {waited_s:.0f} s")

    def clock_set(self) -> None:
        """Told when the device's clock is set."""
        self._clock_was_set = {model: n + 1 for model, n in self._clock_was_set.items()}

    def is_off(self) -> None:
        """Told when the device ends: it waits on when it begins again."""
        self._since_s.clear()


class Trials:
    """No trial is shorter than was asked, and no good release is rolled back.

    Holds each end of a trial against the simulation's own time and its own count of crashes.

    Attributes:
        ended: trials that ended.
    """

    def __init__(self, world: Catalog) -> None:
        self.ended = 0
        self._config = world.config
        self._trials = {release.sequence: release.trial for release in world.releases.values()}
        self._phases = dict.fromkeys(MODELS, State.IDLE)
        self._watched_s = dict.fromkeys(MODELS, 0.0)
        self._crashes = dict.fromkeys(MODELS, 0)
        self._looked_s = 0.0

    def look(self, device: SimDevice, now_s: float) -> None:
        """Told after each event of a device that is on."""
        for model, core in device.cores.items():
            update = core.state.update
            if update is None or not update.sequence:  # the record was not read (yet)
                continue
            was, self._phases[model] = self._phases[model], update.state
            if was is State.TRIAL:
                self._watched_s[model] += now_s - self._looked_s
                self._judge(model, update)
            elif update.state in _BEFORE_TRIAL:
                self._watched_s[model], self._crashes[model] = 0.0, 0
        self._looked_s = now_s

    def began(self, now_s: float) -> None:
        """Told when the device begins: what went by before is nobody's trial."""
        self._looked_s = now_s

    def crashed(self, device: SimDevice, now_s: float) -> None:
        """Told when the device ends without order, perhaps while it made a trial's end durable.

        It may have known of that end for long, on a disk that was full: what is on disk counts.
        """
        before = dict(self._phases)
        self.look(device, now_s)
        for model, phase in self._phases.items():
            seen = {before[model], phase, *self._on_disk(device.disk, model)}
            self._crashes[model] += State.TRIAL in seen

    def _on_disk(self, disk: RamDisk, model: str) -> set[str]:
        """Give where the record on disk says that the update stands, and where a cut may put it."""
        path = self._config.model_dir(model) / "state.json"
        found = [disk.peek(path, durable=durable) for durable in (False, True)]
        updates = [msgspec.json.decode(data).get("update") for data in found if data]
        return {update["state"] for update in updates if update is not None}

    def _judge(self, model: str, update: Update) -> None:
        trial = self._trials[update.sequence]
        if update.state is State.COMMITTED:
            self.ended += 1
            if self._watched_s[model] < trial.duration_s - 1e-6:
                raise Broken(
                    f"{model}: {update.version} committed after {self._watched_s[model]:.1f} s"
                    f" of {trial.duration_s:.0f}"
                )
        if update.state is State.ROLLED_BACK:
            self.ended += 1
            is_crashing = self._crashes[model] > trial.max_restarts
            allowed = _OTHERS_WISH | ({"restarts", "no_way_back"} if is_crashing else set())
            if update.version != UNFIT_ON_TRIAL and update.reason not in allowed:
                raise Broken(
                    f"{model}: {update.version}, a good release, rolled back: {update.reason}"
                    f" {update.detail} after {self._crashes[model]} crashes"
                )
