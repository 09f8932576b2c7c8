"""Breaks device and rollout engine on purpose, one line at a time, and says which test notices.

    python -m tests.soak.breaks [--only NAME]

Each break is made in a copy of the source tree; the tests run from the copy. A break that nothing
notices is a hole in the tests, and ends the run with 1. docs/reliability.md quotes the table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DEVICE: Final = "device/src/slotcast_device"
SCHEMAS: Final = "schemas/src/slotcast_schemas"
PUBLISHER: Final = "publisher/src/slotcast_publisher"
FLEET: Final = "publisher/src/slotcast_publisher/fleet"
SIMULATION: Final = ("-m", "tests.simulation", "--count", "400")
CUTS: Final = ("-m", "pytest", "-q", "-x", "tests/crash/test_power_cut.py", "-k", "recovers")

CORE: Final = ("-m", "pytest", "-q", "-x", "tests/unit/device/core/test_notices_when_busy.py")
STEPS: Final = ("-m", "pytest", "-q", "-x", "tests/simulation/test_steps.py")


ROLLOUTS: Final = ("-m", "tests.fleet_simulation", "--count", "600", "--failures", "1")

ATTACKS: Final = (
    *("-m", "pytest", "-q", "-x"),
    *("tests/security/test_encrypted_payloads.py", "tests/security/test_content_keys.py"),
    *("tests/security/test_encrypted_recipients.py", "tests/unit/codecs/test_encrypted.py"),
)

NAMES: Final = {
    ATTACKS: "attacks on encryption",
    CUTS: "power cuts",
    STEPS: "single steps",
    CORE: "the core's steps",
    ROLLOUTS: "simulated rollouts",
}


@dataclass(frozen=True, slots=True)
class Break:
    """One change to one file, and which sweep it is to be seen by."""

    name: str
    file: str
    old: str
    new: str
    test: tuple[str, ...] = SIMULATION
    package: str = DEVICE

    @property
    def path(self) -> str:
        """Where the file lies in the tree."""
        return f"{self.package}/{self.file}"


def _encryption(name: str, package: str, file: str, old: str, new: str) -> Break:
    """A check of encrypted releases taken out, to be seen by the attacks that it stops.

    Args:
        name: what goes wrong.
        package: the folder of the distribution's package.
        file: in it.
        old: the text that is changed.
        new: what it becomes.
    """
    return Break(f"encryption: {name}", file, old, new, ATTACKS, package)


def _rollout(name: str, file: str, old: str, new: str) -> Break:
    """A change to the rollout engine, to be seen by simulated rollouts."""
    return Break(f"rollout: {name}", file, old, new, ROLLOUTS, FLEET)


BREAKS: Final = (
    # --- each fsync ---
    Break(
        "fsync: the bytes of an atomic write",
        "storage/disk.py",
        "            writer.close_synced()\n        finally:",
        "            writer.close()\n        finally:",
        CUTS,
    ),
    Break(
        "fsync: the name of an atomic write",
        "storage/disk.py",
        "        self.sync_dir(path.parent)\n\n    def make_dir",
        "\n    def make_dir",
    ),
    Break(
        "fsync: the name of a new folder",
        "storage/disk.py",
        "            self._unsynced.add(folder)",
        "            pass",
    ),
    Break(
        "fsync: the name of a folder, after a sync that failed",
        "storage/disk.py",
        "sorted(self._unsynced)",
        "missing",
        STEPS,
    ),
    Break(
        "fsync: the name of `current`",
        "storage/disk.py",
        "        self.sync_dir(path.parent)\n\n    def remove_link",
        "\n    def remove_link",
        CUTS,
    ),
    Break(
        "fsync: the bytes of a slot's file",
        "storage/image_writer.py",
        "            self._writer.close_synced()",
        "            self._writer.close()",
        CUTS,
    ),
    Break(
        "fsync: the names of a slot's files",
        "storage/slots.py",
        "            self._disk.sync_dir(folder)\n        if notice:\n",
        "            pass\n        if notice:\n",
        CUTS,
    ),
    Break(
        "fsync: that `current` is gone, on the way back to nothing",
        "storage/disk.py",
        "        self.unlink(path)\n        self.sync_dir(path.parent)\n",
        "        self.unlink(path)\n",
        STEPS,
    ),
    Break(
        "fsync: the bytes of collected chunks",
        "storage/spool.py",
        "            self._data.sync()\n",
        "            pass\n",
        STEPS,
    ),
    Break(
        "fsync: the name of collected chunks",
        "storage/spool.py",
        "                self._disk.sync_dir(self._folder)\n",
        "                pass\n",
        STEPS,
    ),
    # --- order and recovery ---
    Break(
        "order: `current` is moved before the record says so",
        "core/switch_and_commit.py",
        "        return [*record.save(), *self._switch_slot(now)]",
        "        return [*self._switch_slot(now), *record.save()]",
    ),
    Break(
        "recovery: storage that fails in the switch is not looked at",
        "core/model.py",
        "            self._is_ready = False\n            return self._switching.storage_failed(",
        "            return self._switching.storage_failed(",
        CORE,
    ),
    # --- each other class of fault ---
    Break(
        "floor: raised before the commit",
        "core/switch_and_commit.py",
        "        record.move(Happening.FIT, Reason.SWITCHING, now)\n",
        "        record.move(Happening.FIT, Reason.SWITCHING, now)\n        record.raise_floor()\n",
    ),
    Break(
        "active slot: written",
        "core/state.py",
        'return "a" if self.active is None else other(self.active)',
        'return "a" if self.active is None else self.active',
    ),
    Break(
        "link: nothing is asked for on a new connection",
        "core/collecting.py",
        "        return self._translate(self.transfer.connection_made(now.mono_s), now)\n",
        "        return []\n",
    ),
    Break(
        "silent drops: nothing is asked for again",
        "core/transfer/transfer.py",
        "        self.deadline_s = now_s + self.waits.first_wait_s + slack_s"
        " + self._backoff.next_s()\n",
        "        self.deadline_s = None\n",
    ),
    Break(
        "wants: never published",
        "core/transfer/transfer.py",
        "            actions.append(self._publish_want(now_s))\n",
        "            pass\n",
    ),
    Break(
        "spoiled chunks: believed",
        "core/transfer/chunk_map.py",
        "            hashlib.sha256(data).digest() == want\n        )",
        "            True\n        )",
    ),
    Break(
        "full disk: not tried again",
        "core/agenda.py",
        "        self.wake_in(self._retry.next_s(), now)",
        "        self.sleep()",
    ),
    Break(
        "clock: the trial's time is the time of day",
        "core/switch_and_commit.py",
        "        return self._watched_s\n",
        "        return float(now.wall_s - self._record.update.trial_began)\n",
    ),
    Break(
        "restart: the trial's time begins anew in the middle of it",
        "core/switch_and_commit.py",
        "        self._record.note_watched(self._count_elapsed_s(now), stopped=stopped)\n",
        "        self._record.note_watched(2 * self._count_elapsed_s(now), stopped=stopped)\n",
    ),
    Break(
        "stop: an orderly stop counts as a crash",
        "core/recovery.py",
        "    if update.stopped or not is_start:",
        "    if not is_start:",
    ),
    Break(
        "lost: a start does not put `current` back",
        "core/recovery.py",
        "    current = found.current or _find_last_active(state, found)",
        "    current = found.current",
    ),
    Break(
        "lost: a running agent does not put `current` back",
        "core/model.py",
        "                return self._mending.found(event, now)",
        "                return []",
    ),
    Break(
        "lost: nothing is opened where what was built cannot be probed",
        "core/model.py",
        "        self._mending.look_for_another()\n",
        "",
    ),
    Break(
        "clock: what was refused as expired is not looked at again",
        "core/notice_box.py",
        "        self._waiting, self._expired = self._waiting or self._expired, None",
        "        self._expired = None",
    ),
    # --- encrypted releases ---
    _encryption(
        "a thief's content key is taken",
        SCHEMAS,
        "content_key.py",
        "    if commitment_to(content_key) != committed:",
        "    if not content_key:",
    ),
    _encryption(
        "chunks can be left off",
        SCHEMAS,
        "codecs/sealed_blocks.py",
        'return struct.pack(">QQ", index, self.count)',
        'return struct.pack(">Q", index)',
    ),
    _encryption(
        "a delta opens from another base",
        SCHEMAS,
        "codecs/encrypted.py",
        "        base_sha256,\n        plain_sha256,\n        struct",
        "        plain_sha256,\n        struct",
    ),
    _encryption(
        "a list of recipients counts that nobody signed",
        PUBLISHER,
        "trust/role_reading.py",
        "if not self._is_vouched(name, role) or not isinstance(said, str):",
        "if not isinstance(said, str):",
    ),
    _encryption(
        "a list of recipients counts that is not the signed one",
        PUBLISHER,
        "trust/recipients.py",
        "        if hashlib.sha256(data).digest() != digest:",
        "        if not data:",
    ),
    _encryption(
        "an encryption key is enrolled that the device did not sign",
        PUBLISHER,
        "enrolment/request.py",
        "    if key is None:\n        return\n",
        "    if key is None or signature:\n        return\n",
    ),
    _encryption(
        "a later delta is made in the clear",
        PUBLISHER,
        "fleet/steering/delta_child.py",
        "        candidate = encrypt(built)\n",
        "        candidate = built\n",
    ),
    _encryption(
        "a payload in the clear gets into an encrypted release",
        PUBLISHER,
        "store.py",
        "        if is_encrypted(record.payload) != is_sealed:",
        "        if is_encrypted(record.payload) and not is_sealed:",
    ),
    # --- rollouts ---
    _rollout(
        "a group opens before the one before it passed",
        "rollout/engine.py",
        "                if self._record.groups[index].state is not GroupState.PASSED:\n"
        "                    return\n",
        "                pass\n",
    ),
    _rollout(
        "a group passes with too few devices committed",
        "rollout/engine.py",
        "        return tally.succeeded >= least and share >= self._success_share(planned)\n",
        "        return tally.succeeded >= least\n",
    ),
    _rollout(
        "a group without devices passes",
        "rollout/engine.py",
        "            return is_last or planned.devices_min == 0\n",
        "            return True\n",
    ),
    _rollout(
        "a clock that jumps passes a soak",
        "rollout/engine.py",
        "is_watched = record.looked_s > 0 and 0 <= gap_s <= LOOK_MAX_S",
        "is_watched = record.looked_s > 0 and 0 <= gap_s",
    ),
    _rollout(
        "half a fleet is taken for all of it, after a database was lost",
        "rollout/engine.py",
        "left_s = self._plan.listen_s - listened_s\n",
        "left_s = 0.0\n",
    ),
    _rollout(
        "a gate is not asked",
        "rollout/engine.py",
        "        missing = [kind for kind in planned.gate.kinds if kind not in group.agreed]\n",
        "        missing: list[str] = []\n",
    ),
    _rollout(
        "a pause that is found in the signed offer is not followed",
        "rollout/reconcile.py",
        '    if offer.state == "paused":\n        record, more',
        '    if offer.state == "nothing":\n        record, more',
    ),
    _rollout(
        "what a person paused goes on, as if no person had to undo it",
        "rollout/offers.py",
        "    if record.state is RolloutState.PAUSED:\n",
        "    if record.pause is not None and record.pause.by != 'person':\n",
    ),
    _rollout(
        "a request of a person that comes twice counts twice",
        "rollout/person.py",
        "    if request.id in record.answered:\n        return record\n",
        "",
    ),
    _rollout(
        "what the signed offer lets in is not followed",
        "rollout/reconcile.py",
        "    record = record.with_groups(groups)\n    if offer",
        "    if offer",
    ),
    _rollout(
        "a resume is lost where the process dies before it signs",
        "rollout/reconcile.py",
        "    if offer is None or mark == record.seen_offer:\n",
        "    if offer is None:\n",
    ),
    _rollout(
        "a verdict on fewer observations than its confidence allows",
        "figures/shares.py",
        "    return chance_of_at_least(share.hits, share.of, limit) <= tail(confidence)\n",
        "    return True\n",
    ),
    _rollout(
        "a failure of an earlier attempt counts",
        "rollout/observations.py",
        "        if target.deployment != deployment:\n",
        "        if not deployment:\n",
    ),
    _rollout(
        "the cap on devices under way is passed",
        "rollout/ramp.py",
        "    free = plan.max_under_way - under_way\n",
        "    free = plan.max_under_way\n",
    ),
    _rollout(
        "devices that vanish hold a group up for ever",
        "rollout/tally.py",
        "            if not is_gone:\n                tally",
        "            if True:\n                tally",
    ),
    _rollout(
        "a rollout does not say what it waits for",
        "rollout/waiting.py",
        '            return [*waits, *(text for text in at_work if text)] or ["the next look"]\n',
        "            return [*waits]\n",
    ),
    _rollout(
        "an offer that is signed is asked for again",
        "rollout/engine.py",
        "        if wanted is not None and not self._is_said() and not self._is_superseded():\n",
        "        if wanted is not None and not self._is_superseded():\n",
    ),
    _rollout(
        "the next release begins before the stone has passed all groups",
        "rollout/engine.py",
        "        groups = [group.begun_anew() for group in record.groups]\n",
        "        groups = list(record.groups)\n",
    ),
)


def copy_tree(to: Path) -> None:
    """Copy what the tests need."""
    for name in ("schemas", "device", "publisher", "tests", "mosquitto"):
        shutil.copytree(
            ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    shutil.copy(ROOT / "pyproject.toml", to)


def is_noticed(broken: Break, tree: Path) -> str | None:
    """Break, run, mend; gives the line by which it was noticed, or None."""
    file = tree / broken.path
    text = file.read_text()
    if text.count(broken.old) != 1:
        raise ValueError(f"{broken.name}: expected its text once in {broken.path}")
    file.write_text(text.replace(broken.old, broken.new))
    sources = [tree, *(tree / name / "src" for name in ("schemas", "device", "publisher"))]
    try:
        done = subprocess.run(
            [sys.executable, *broken.test],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources))},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        file.write_text(text)
    if done.returncode == 0:
        return None
    said = [line for line in done.stdout.splitlines() if line.startswith(("  ", "E  "))]
    found = [s for s in said if any(w in s for w in ("Broken:", "DidNotEnd:", "Error:", "Move:"))]
    return (found or said or ["?"])[0].strip()[:150]


def main() -> int:
    """Make every break; 1 if one is not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.breaks")
    parser.add_argument("--only", default="", help="breaks whose name has this in it")
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="slotcast-breaks-") as folder:
        copy_tree(Path(folder))
        for broken in BREAKS:
            if options.only not in broken.name:
                continue
            noticed = is_noticed(broken, Path(folder))
            missed += noticed is None
            by = NAMES.get(broken.test, "simulation")
            print(f"{broken.name} | {by} | {noticed or 'NOT NOTICED'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
