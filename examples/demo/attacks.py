"""Act 3: somebody who can write to the broker changes a chunk, and replays an old notice."""

from __future__ import annotations

from examples.demo.digits import write_onnx
from examples.demo.show import kilobytes
from examples.demo.stage import MODEL, Stage, told
from slotcast_publisher.release.build import Released
from slotcast_schemas.states import State


def play(stage: Stage) -> None:
    """Tamper with 3.0, replay 1.0's notice, and let 3.0 in when it is whole again.

    Raises:
        NotObserved: the device took what it must not take, or did not recover.
    """
    stage.show.act(3, "Somebody tampers with what is on the broker")
    stage.student.learn(epochs=1)
    model = write_onnx(stage.student.layers)
    released = stage.release("3.0", model)
    with stage.unharmed():
        _tamper(stage, released)
    with stage.unharmed():
        _replay(stage)
    _heal(stage, model)


def _tamper(stage: Stage, released: Released) -> None:
    show, topics = stage.show, stage.repo.topics
    stage.link.is_down = True
    stage.link.cut()
    stage.publish("3.0")
    for payload in (record.payload for record in released.payloads):
        topic = topics.chunk(payload.sha256, payload.chunk_count // 2)
        chunk = bytearray(stage.watcher.fetch(topic))
        chunk[len(chunk) // 2] ^= 1
        stage.watcher.publish(topic, bytes(chunk))
    show.say("3.0 is published; then one bit in one retained chunk of each payload is flipped")
    mark = stage.watcher.mark()
    stage.link.is_down = False
    status = stage.settled("3.0", State.FAILED, State.COMMITTED, after=mark)
    show.check(
        status.state is State.FAILED and status.reason == "chunk_corrupt",
        f"the device says {told(status)}",
    )


def _replay(stage: Stage) -> None:
    show = stage.show
    mark = stage.watcher.mark()
    stage.watcher.publish(stage.repo.topics.notice(MODEL), stage.first_notice)
    show.say("the notice of 1.0, truly signed in its day, is put back in its place")
    status = stage.watcher.wait("REJECTED", lambda s: s.state is State.REJECTED, after=mark)
    show.check(
        status.reason == "replayed",
        f"the device says {told(status)}",
    )


def _heal(stage: Stage, model: bytes) -> None:
    show = stage.show
    mark, down = stage.watcher.mark(), stage.link.down_bytes
    show.command(f"slotcast publish repo {MODEL} 3.0 --all")
    stage.publish("3.0", send_all=True)
    stage.settled("3.0", State.COMMITTED, after=mark)
    took = kilobytes(stage.link.down_bytes - down)
    show.check(
        (stage.device.current / "digits.onnx").read_bytes() == model,
        f"published anew, 3.0 is COMMITTED; {took} came over the link for it,"
        " the rest was on the device's disk",
    )
    stage.until(lambda: _version(stage) == "3.0", "the application follows")


def _version(stage: Stage) -> str:
    return "" if stage.application is None else stage.application.version
