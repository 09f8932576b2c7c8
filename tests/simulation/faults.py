"""The faults of the simulation: what a run's seed draws from, one method a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.catalog import MODELS
from tests.simulation.ramdisk import Loss

if TYPE_CHECKING:
    from tests.simulation.world import World

KEEPALIVE_S: Final = 45.0
ON_MESSAGES: Final = frozenset({"reorder", "duplicate"})
"""Kinds that the link draws for each message by itself."""
KINDS: Final = (
    *("link", "silent", "broker", "wipe", "spoil", "cut", "kill", "full", "error"),
    *("clock", "stop", "replay", "service", "probe", "reorder", "duplicate", "lost"),
)


class Faults:
    """Does to a world what its seed says.

    Args:
        kinds: the kinds of this run, out of `KINDS`.
    """

    def __init__(self, world: World, kinds: set[str]) -> None:
        self._world = world
        self.kinds = kinds

    def happen(self) -> None:
        """Have one more fault, of a kind of this run."""
        kinds = sorted(self.kinds - ON_MESSAGES - {"probe"})
        if "cut" in kinds:
            kinds += ["cut"] * 4  # a cut waits for the disk to be used, and falls anywhere in that
        if "lost" in kinds:
            kinds += ["lost"] * 2  # there is nothing to lose before the first commit
        if kinds:
            kind = self._world.rng.choice(kinds)
            self._world.log(f"fault: {kind}")
            getattr(self, f"_on_{kind}")()

    def _on_link(self) -> None:
        self._world.counts.links += 1
        self._world.lose_link()

    def _on_silent(self) -> None:
        """A half-open connection: nothing comes, and nobody says so until the keep-alive does."""
        link = self._world.link
        if link is not None:
            self._world.counts.links += 1
            link.is_silent = True
            self._world.after(
                KEEPALIVE_S, lambda: self._world.lose_link() if self._world.link is link else None
            )

    def _on_broker(self) -> None:
        self._restart_broker(keeps_retained=True)

    def _on_wipe(self) -> None:
        self._world.counts.wiped += 1
        self._restart_broker(keeps_retained=False)

    def _restart_broker(self, *, keeps_retained: bool) -> None:
        self._world.counts.restarts += 1
        self._world.broker.stop(keeps_retained=keeps_retained)
        self._world.lose_link()
        self._world.after(self._world.rng.uniform(1.0, 60.0), self._world.broker.start)

    def _on_spoil(self) -> None:
        """The broker changes or loses some of what it retains."""
        topics = [
            t for level in self._world.broker.retained.values() for t in level if "/payloads/" in t
        ]
        for topic in self._world.rng.sample(topics, min(len(topics), 4)):
            self._world.counts.spoiled += 1
            size_bytes = len(self._world.broker.retained[topic.rpartition("/")[0]][topic])
            self._world.broker.spoil(topic, self._world.rng.choice((None, b"", bytes(size_bytes))))

    def _on_cut(self) -> None:
        """The power goes some steps of the disk from now."""
        self._world.device.disk.cut_at = self._world.device.disk.ops + self._world.rng.randint(
            1, self._world.rng.choice((5, 60))
        )

    def _on_kill(self) -> None:
        """The process dies; what it wrote is in the page cache."""
        if self._world.device.is_on:
            self._world.counts.kills += 1
            self._world.power_lost(Loss.EVERYTHING)

    def _on_stop(self) -> None:
        """The device is told to stop, and started again later."""
        if self._world.device.is_on:
            self._world.counts.stops += 1
            self._world.stop_in_order()

    def _on_full(self) -> None:
        self._world.counts.full += 1
        self._world.is_full = True
        disk = self._world.device.disk
        disk.set_capacity(disk.used_bytes + self._world.rng.randint(0, 8_000))
        self._world.after(self._world.rng.uniform(5.0, 200.0), self._world.room_back)

    def _on_error(self) -> None:
        self._world.counts.errors += 1
        self._world.device.disk.fail_at = self._world.device.disk.ops + self._world.rng.randint(
            1, 40
        )

    def _on_clock(self) -> None:
        self._world.counts.jumps += 1
        days = self._world.rng.choice((-8000.0, -1.0, -0.001, 0.0005, 0.05, 30.0, 4000.0))
        self._world.set_clock(max(0.0, self._world.wall_offset_s + days * 86400))

    def _on_lost(self) -> None:
        """`current`, or the slot that it opens, is gone or something else."""
        world = self._world
        model = world.rng.choice(MODELS)
        folder = world.said.config.model_dir(model)
        current, disk = folder / "current", world.device.disk
        target = disk.peek(current)
        if target is None or world.is_mending(model):
            return
        world.counts.lost += 1
        how = world.rng.choice(("gone", "gone", "elsewhere", "folder", "slot"))
        if how == "slot":
            disk.lose(folder / target.decode())
        else:
            disk.lose(current)
        if how == "elsewhere":
            disk.put_link(current, "/elsewhere")
        elif how == "folder":
            disk.put_dir(current)
        world.lost(model, how)

    def _on_replay(self) -> None:
        """Somebody publishes an old notice again."""
        model = self._world.rng.choice(MODELS)
        if self._world.publisher.sent[model] > 0:
            old = self._world.said.said[model][
                self._world.rng.randrange(self._world.publisher.sent[model])
            ]
            self._world.broker.publish(
                self._world.said.config.topics.notice(model), old.data, retain=True
            )

    def _on_service(self) -> None:
        self._world.publisher.is_serving = False
        self._world.after(self._world.rng.uniform(10.0, 300.0), self._world.publisher.serve)
