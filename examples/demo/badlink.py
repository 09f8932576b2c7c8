"""Act 2: a better model crosses a link that is slow, is cut, and loses its device once."""

from __future__ import annotations

import time
from collections.abc import Callable

from examples.demo.digits import write_onnx
from examples.demo.show import Bar, NotObserved, kilobytes
from examples.demo.stage import MODEL, POLL_S, Stage, payload_lines
from slotcast_publisher.release.build import Released
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State

_REST_TIMEOUT_S = 60.0
_TRANSFER_S = 6.0
"""How long the whole payload takes on the slow link."""
_PART = 0.3
"""Of the payload passes before the cut, as much again before the kill; there the link stalls, so
that both happen in mid-transfer on the slowest machine too."""
_SLACK_CHUNKS = 2
"""A part is not a whole number of chunks, and the notice takes some of it."""


def play(stage: Stage) -> None:
    """Train on, release 2.0, and bring it over in spite of everything.

    Raises:
        NotObserved: the transfer was not cut, not resumed, or did not end well.
    """
    show = stage.show
    show.act(2, "A better model crosses a bad link")
    before, old_readings = stage.accuracy(), stage.readings()
    stage.student.learn(epochs=4)
    model = write_onnx(stage.student.layers)
    show.say("trained on, with all the training data: every weight has moved")
    show.command(f"slotcast release repo {MODEL} 2.0 digits.onnx --samples reference.npz")
    released = stage.release("2.0", model)
    show.table(["payload", "from", "size", "chunks", "saves"], payload_lines(released))
    mark, down_before = stage.watcher.mark(), stage.link.down_bytes
    stage.link.rate_bytes_per_s = _smallest(released).size_bytes / _TRANSFER_S
    show.say(f"the link is slowed down to {kilobytes(stage.link.rate_bytes_per_s)}/s")
    _stall_after(stage, _smallest(released))
    stage.publish("2.0")
    payload = _chosen(stage, released, mark)
    kept = _disturb(stage, payload)
    status = _arrived(stage, payload, mark)
    stage.link.rate_bytes_per_s = None
    _costs(stage, released, payload, status, kept, stage.link.down_bytes - down_before)
    stage.settled("2.0", State.COMMITTED, after=mark)
    show.check(
        (stage.device.current / "digits.onnx").read_bytes() == model,
        f"2.0 is COMMITTED; current -> {stage.device.current.readlink()} holds it, byte for byte",
    )
    after, readings = stage.accuracy(), stage.readings()
    _compare(stage, [before, after], [old_readings, readings])
    show.check(after > before, f"held-out digits read rightly: {before:.1%} -> {after:.1%}")
    application = stage.application
    if application is None:
        raise NotObserved("there is no application")
    stage.until(lambda: application.answers["2.0"] > 0, "the application follows")
    show.check(
        not application.errors and application.version == "2.0",
        "the application followed the switch by itself; not one of its"
        f" {application.answers.total()} requests failed",
    )


def _smallest(released: Released) -> Payload:
    return min((r.payload for r in released.payloads), key=lambda p: p.size_bytes)


def _chosen(stage: Stage, released: Released, mark: int) -> Payload:
    """Wait until the device fetches, and give the payload that it chose."""
    stage.watcher.wait("DOWNLOADING", lambda s: s.state is State.DOWNLOADING, after=mark)
    incoming = stage.device.current.parent / "incoming"
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        for record in released.payloads:
            if (incoming / record.payload.sha256.hex()).exists():
                stage.show.say(f"the device fetches the {record.payload.codec} payload")
                return record.payload
        time.sleep(POLL_S)
    raise NotObserved("the device began no transfer")


def _disturb(stage: Stage, payload: Payload) -> int:
    """Cut the link, then kill the device, in mid-transfer; gives the chunks that it kept."""
    show, count = stage.show, payload.chunk_count
    part = int(count * _PART) - _SLACK_CHUNKS
    with show.bar("2.0 to the device") as bar:
        at_cut = _wait_for_chunks(stage, payload, part, bar.at)
        _stall_after(stage, payload)
        show.check(
            stage.link.cut() > 0 and at_cut < count,
            f"the link is cut with {at_cut} of {count} chunks there",
        )
        at_kill = _wait_for_chunks(stage, payload, at_cut + part, bar.at)
        show.check(at_kill < count, f"it reconnects by itself and goes on: {at_kill} of {count}")
        pid = stage.device.pid
        show.check(stage.device.kill() == 9, f"kill -9 {pid}: the device's process is gone")
        kept = stage.device.chunks_on_disk(payload, stage.payload_file("2.0", payload))
        show.check(at_kill <= kept < count, f"on its disk: {kept} of {count} chunks, whole")
        stage.link.hold_at_bytes = None
        mark = stage.watcher.mark()
        stage.device.start()
        show.say(f"restarted; it asks for the other {count - kept}")
        _follow(stage, payload, mark, bar)
    return kept


def _stall_after(stage: Stage, payload: Payload) -> None:
    """Have the link stall when one more part of the payload has passed."""
    stage.link.hold_at_bytes = stage.link.down_bytes + int(payload.size_bytes * _PART)


def _follow(stage: Stage, payload: Payload, mark: int, bar: Bar) -> None:
    """Show the rest of the transfer, until the device says that it is whole."""
    published = stage.payload_file("2.0", payload)
    deadline_s = time.monotonic() + _REST_TIMEOUT_S
    while not any(s.state is State.DOWNLOADED for s in stage.watcher.since(mark)):
        if time.monotonic() > deadline_s:
            raise NotObserved(f"the rest did not come within {_REST_TIMEOUT_S:.0f} s")
        found = stage.device.chunks_on_disk(payload, published)
        bar.at(max(1, found) * payload.chunk_size_bytes, payload.size_bytes)
        time.sleep(POLL_S)


def _wait_for_chunks(
    stage: Stage,
    payload: Payload,
    wanted: int,
    tell: Callable[[float, float], None],
    timeout_s: float = 30.0,
) -> int:
    published = stage.payload_file("2.0", payload)
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = stage.device.chunks_on_disk(payload, published)
        tell(found * payload.chunk_size_bytes, payload.size_bytes)
        if found >= wanted:
            return found
        time.sleep(POLL_S)
    raise NotObserved(f"expected {wanted} chunks on the device's disk, got {found}")


def _arrived(stage: Stage, payload: Payload, mark: int) -> ModelStatus:
    return stage.watcher.wait(
        "DOWNLOADED with its progress",
        lambda s: (
            s.state is State.DOWNLOADED
            and s.progress is not None
            and s.progress.payload == payload.sha256
        ),
        after=mark,
        timeout_s=60,
    )


def _costs(
    stage: Stage, released: Released, payload: Payload, status: ModelStatus, kept: int, down: int
) -> None:
    """Check what the transfer cost, by the device's word and by the link's count."""
    progress = status.progress
    if progress is None:
        raise NotObserved("the status has no progress")
    image_bytes = released.release.image_size_bytes
    kept_bytes = kept * payload.chunk_size_bytes
    show = stage.show
    show.check(
        progress.reused_bytes >= kept_bytes,
        f"its status says: {kilobytes(progress.reused_bytes)} found on disk and not fetched again,"
        f" {kilobytes(progress.received_bytes)} received since the restart",
    )
    show.check(
        progress.received_bytes <= payload.size_bytes - kept_bytes + payload.chunk_size_bytes,
        "not one of the chunks that it had came a second time",
    )
    show.check(
        down < payload.size_bytes * 1.6,
        f"over the link, with cut and kill: {kilobytes(down)} for a payload of"
        f" {kilobytes(payload.size_bytes)} ({down / payload.size_bytes:.2f} x)",
    )
    saved = image_bytes - payload.size_bytes
    show.check(
        progress.codec == payload.codec and progress.saved_bytes == max(0, saved),
        f"its status says: {kilobytes(progress.saved_bytes)} ({saved / image_bytes:.0%}) saved"
        f" by {progress.codec} against the whole image",
    )


def _compare(stage: Stage, accuracy: list[float], readings: list[list[int]]) -> None:
    truth = [int(digit) for digit in stage.digits.held_y[: len(readings[0])]]
    stage.show.say("held-out digits " + " ".join(f"{digit:^3}" for digit in truth))
    for name, row, share in zip(["1.0 reads", "2.0 reads"], readings, accuracy, strict=True):
        cells = [f" {d} " if d == t else f"({d})" for d, t in zip(row, truth, strict=True)]
        count = len(stage.digits.held_y)
        stage.show.say(f"{name:<15} {' '.join(cells)}   {share:.1%} of {count}")
