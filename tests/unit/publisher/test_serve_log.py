"""The log of `serve`: one event is one line, whatever is in it, and nobody waits for its reader."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_publisher.serve import log as log_module
from slotcast_publisher.serve.log import LibraryLines, Log

FORGED = "gone\n2026-11-26 08:00:00 error alarm device=cam-1 \x1b[2J\x1b[31m\u202etfel\x9b2K\r\x7f"
SOME_TEXT = st.text(st.characters(), max_size=40)


def logged(
    tmp_path: Path, work: Callable[[Log], object], *, as_json: bool, colors: bool = False
) -> list[str]:
    """Give the lines that something logs."""
    path = tmp_path / "log"
    with path.open("wb") as file, Log(file.fileno(), as_json=as_json, colors=colors) as log:
        work(log)
    return path.read_bytes().decode().split("\n")[:-1]


def test_a_line_for_programs_says_when_what_and_about_whom(tmp_path: Path) -> None:
    (line,) = logged(
        tmp_path,
        lambda log: log.say("failed", share=0.5, rollout="r-1", model="clf", device="cam-1"),
        as_json=True,
    )
    fields = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", fields.pop("time"))
    assert list(fields) == ["level", "event", "device", "model", "rollout", "share"]
    assert fields == {
        "level": "info", "event": "failed", "device": "cam-1", "model": "clf", "rollout": "r-1",
        "share": 0.5,
    }  # fmt: skip


def test_a_line_for_people_says_the_same_in_words(tmp_path: Path) -> None:
    (line,) = logged(
        tmp_path,
        lambda log: log.say(
            "connected", retains=True, broker="b:1883", ratio=1.25, models=["a", "b"], why=None
        ),
        as_json=False,
    )
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d info    connected    broker=b:1883 retains=yes ratio=1\.25"
        r" models=a,b why=none",
        line,
    )


@pytest.mark.parametrize("colors", [False, True])
def test_colours_come_from_the_log_alone(tmp_path: Path, colors: bool) -> None:
    (line,) = logged(
        tmp_path, lambda log: log.say("error", detail="\x1b[31mred"), as_json=False, colors=colors
    )
    assert ("\x1b[31merror  \x1b[0m" in line) is colors
    assert ("\x1b" in line) is colors
    assert r"=\x1b[31mred" in line


def test_text_of_a_device_forges_no_line_for_people(tmp_path: Path) -> None:
    (line,) = logged(
        tmp_path, lambda log: log.say("failed", device="cam-7", detail=FORGED), as_json=False
    )
    assert line.isprintable()
    words = shlex.split(line.replace("\\", "\\\\"))  # as a reader takes it apart
    assert [word for word in words if word.startswith("device=")] == ["device=cam-7"]


def test_text_of_a_device_forges_no_line_for_programs(tmp_path: Path) -> None:
    (line,) = logged(
        tmp_path, lambda log: log.say("failed", device="cam-7", detail=FORGED), as_json=True
    )
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["detail"] == FORGED


@pytest.mark.parametrize("value", ["a b=c", 'a"', "a=b", "", "it's", "a\u00a0b"])
def test_a_value_that_could_be_taken_for_two_is_in_quotes(tmp_path: Path, value: str) -> None:
    (line,) = logged(tmp_path, lambda log: log.say("x", first=value, last="y"), as_json=False)
    assert re.search(r' first=("(?:[^"\\]|\\.)*"|[^\s"\'=]+) last=y$', line)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(SOME_TEXT, min_size=1, max_size=4), as_json=st.booleans())
def test_whatever_is_said_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], as_json: bool
) -> None:
    fields: dict[str, Any] = {"device": texts[0], "models": texts, "told": {texts[0]: texts[-1]}}
    lines = logged(
        tmp_path_factory.mktemp("log"), lambda log: log.say("said", **fields), as_json=as_json
    )
    assert len(lines) == 1
    assert lines[0].isprintable()
    if as_json:
        assert json.loads(lines[0])["event"] == "said"


def test_passwords_go_and_take_nothing_of_other_fields_with_them(tmp_path: Path) -> None:
    (line,) = logged(
        tmp_path,
        lambda log: log.say("x", device="mqtt://", detail="mqtts://cam:Blue9@h", who="me@here"),
        as_json=True,
    )
    fields = json.loads(line)
    assert (fields["device"], fields["detail"]) == ("mqtt://", "mqtts://***@h")
    assert fields["who"] == "me@here"
    assert "Blue9" not in line


def test_what_is_no_plain_value_is_made_one_and_long_texts_are_cut(tmp_path: Path) -> None:
    deep: list[Any] = []
    deep.append(deep)
    (line,) = logged(
        tmp_path,
        lambda log: log.say(
            "x", a=math.inf, b=b"\x01", c=ValueError("no"), d={"z", "y"}, e="x" * 10_000, f=deep
        ),
        as_json=True,
    )
    fields = json.loads(line)
    assert [fields[name] for name in "abcd"] == ["inf", "01", "no", ["y", "z"]]
    assert fields["e"].endswith("… (8000 more characters)")
    assert len(line) < 2_500


def test_a_reader_that_stalls_keeps_nobody_waiting_and_is_told_what_it_missed() -> None:
    reading, writing = os.pipe()
    log = Log(writing, as_json=True)
    for number in range(20_000):  # far more than pipe and queue hold
        log.say("said", number=number, padding="x" * 100)
    got: list[bytes] = []

    def read_all() -> None:
        while data := os.read(reading, 1 << 16):
            got.append(data)

    reader = threading.Thread(target=read_all)
    reader.start()
    while log._lines._waiting.qsize() >= log_module._WAITING_MAX:  # until it is read again
        threading.Event().wait(0.01)
    log.say("after")
    log.close()
    os.close(writing)
    reader.join()
    os.close(reading)
    lines = [json.loads(line) for line in b"".join(got).splitlines()]
    missed = [line["lines"] for line in lines if line["event"] == "log_dropped"]
    said = [line["number"] for line in lines if line["event"] == "said"]
    assert missed
    assert len(said) + sum(missed) == 20_000
    assert said == sorted(set(said))  # what came is whole, and in order
    assert lines[-1]["event"] == "after"


def test_a_reader_that_never_reads_does_not_keep_the_log_from_ending() -> None:
    reading, writing = os.pipe()
    log = Log(writing, as_json=True, close_s=0.05)
    for _ in range(10_000):
        log.say("said", padding="x" * 100)
    log.close()
    assert log.lost is None
    os.close(reading)  # lets go of the thread that still writes
    log._lines._thread.join()
    os.close(writing)


def test_lines_that_only_lack_a_processor_are_written_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer gets none for longer than a reader may stall; the file would take it all."""
    processor = threading.Event()

    def write(descriptor: int, data: memoryview) -> int:
        processor.wait(0.2)
        return os.write(descriptor, data)

    path = tmp_path / "log"
    with path.open("wb") as file:
        monkeypatch.setattr(log_module, "os", SimpleNamespace(write=write))
        with Log(file.fileno(), as_json=True, close_s=0.05) as log:
            for event in ("started", "connected", "stopped"):
                log.say(event)
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == ["started", "connected", "stopped"]


def test_a_reader_that_went_away_and_a_full_disk_are_known_at_the_end() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with Log(writing, as_json=True) as gone:
        gone.say("one")
        gone.say("two")
    os.close(writing)
    assert isinstance(gone.lost, BrokenPipeError)
    full = os.open("/dev/full", os.O_WRONLY)
    with Log(full, as_json=True) as log:
        log.say("one")
    os.close(full)
    assert log.lost is not None
    assert log.lost.strerror == "No space left on device"


def test_a_line_that_a_full_disk_cut_is_ended_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.write, iter([5, None])

    def write(descriptor: int, data: memoryview) -> int:
        room = next(calls, 0)
        if room is None:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:room] if room else data)

    monkeypatch.setattr("slotcast_publisher.serve.log.os.write", write)

    def say_two(log: Log) -> None:
        log.say("one")
        log.say("two")

    cut, whole = logged(tmp_path, say_two, as_json=True)
    assert cut == '{"tim'
    assert json.loads(whole)["event"] == "two"


def test_warnings_of_libraries_are_lines_like_others(tmp_path: Path) -> None:
    logger = logging.getLogger("slotcast.tests.a_library")

    def warn(log: Log) -> None:
        handler = LibraryLines(log.say)
        logger.addHandler(handler)
        logger.propagate = False  # pytest's own handler does not forgive a wrong format
        logger.warning("lost %s", "a\nb")
        logger.info("not told")
        logger.warning("%d", "no number")
        logger.removeHandler(handler)

    (line,) = logged(tmp_path, warn, as_json=True)
    fields = json.loads(line)
    assert (fields["event"], fields["level"]) == ("library", "warning")
    assert (fields["library"], fields["detail"]) == (logger.name, "lost a\nb")


def test_an_error_that_a_library_logs_says_where_it_came_from(tmp_path: Path) -> None:
    logger = logging.getLogger("slotcast.tests.a_failing_library")

    def dig(depth: int) -> None:
        if depth:
            dig(depth - 1)
            return
        raise ValueError("mqtt://ada:secret@host is full")

    def fail(log: Log) -> None:
        handler = LibraryLines(log.say)
        logger.addHandler(handler)
        logger.propagate = False
        try:
            dig(100)
        except ValueError:
            logger.exception("it failed")
        logger.removeHandler(handler)

    (line,) = logged(tmp_path, fail, as_json=True)
    trace = json.loads(line)["trace"]
    assert "test_serve_log.py" in trace
    assert trace.endswith("host is full")
    assert "secret" not in trace
