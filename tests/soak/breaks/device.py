"""Breaks of the device: what is durable, in which order, and what it does about faults."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.one_break import Break

CUTS: Final = ("-m", "pytest", "-q", "-x", "tests/crash/test_power_cut.py", "-k", "recovers")
CORE: Final = ("-m", "pytest", "-q", "-x", "tests/unit/device/core/test_notices_when_busy.py")
STEPS: Final = ("-m", "pytest", "-q", "-x", "tests/simulation/test_steps.py")

DEVICE_BREAKS: Final = (
    # --- each fsync ---
    Break(
        "fsync: the bytes of an atomic write",
        "storage/disk.py",
        "                writer.close_synced()\n            finally:",
        "                writer.close()\n            finally:",
        CUTS,
    ),
    Break(
        "fsync: the name of an atomic write",
        "storage/disk.py",
        "        self.sync_dir(folder)\n\n    def make_dir",
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
        "            self._disk.sync_dir(folder)\n        words = ",
        "            pass\n        words = ",
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
        'return "a" if self.active is None else other_slot(self.active)',
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
)
