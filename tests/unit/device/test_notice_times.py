"""What the notices of a device's models say of the time, each model's for the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from slotcast_device.config import DeviceConfig
from slotcast_device.core.events import Now
from slotcast_device.core.model import ModelCore
from slotcast_device.core.signed_time import JUMP_S
from slotcast_device.notice_times import NoticeTimes
from slotcast_device.storage.os_disk import OsDisk

NOW = Now(0.0, 0)
MODELS = ("a", "b", "c", "d")
STEP_S = 2 * int(JUMP_S)
"""More than two looks at one clock differ by."""


class SaidTime:
    """As much of a model's core as is asked for the time."""

    is_ready = True

    def __init__(self, model: str) -> None:
        self.model = model
        self.said_s = 0

    def signed_s(self, now: Now) -> int:
        return self.said_s


def device_with(folder: Path, models: Sequence[str]) -> tuple[NoticeTimes, list[SaidTime]]:
    """A device's models, none of which has a record, and what their cores say."""
    (folder / "device.toml").write_text(
        f'format = 1\ndevice = "cam-1"\nmodels = {list(models)}\n'
        '[[brokers]]\nurl = "mqtt://127.0.0.1:9"\n'
    )
    (folder / "root.json").write_text("{}")
    times = NoticeTimes(DeviceConfig(folder / "device.toml"), OsDisk())
    cores = [SaidTime(model) for model in models]
    for core in cores:
        times.add(cast("ModelCore", core))
    return times, cores


def test_what_a_model_alone_says_is_no_word_of_others(tmp_path: Path) -> None:
    times, (alone,) = device_with(tmp_path, ["a"])
    alone.said_s = 10 * STEP_S
    assert not times.fell(NOW)
    alone.said_s = 0
    assert not times.fell(NOW)
    assert times.elsewhere_s("a", NOW) == 0


def test_the_one_that_was_ahead_falls_for_the_others(tmp_path: Path) -> None:
    times, (ahead, other) = device_with(tmp_path, ["a", "b"])
    ahead.said_s = 10 * STEP_S
    times.fell(NOW)
    other.said_s = STEP_S
    assert not times.fell(NOW), "what rises has not fallen"
    ahead.said_s = 2 * STEP_S
    assert times.fell(NOW)
    assert not times.fell(NOW), "said once"


FAR = st.integers(0, 4).map(lambda steps: steps * STEP_S)
COURSES = st.integers(1, len(MODELS)).flatmap(
    lambda count: st.lists(st.lists(FAR, min_size=count, max_size=count), min_size=2, max_size=6)
)


@given(courses=COURSES)
def test_it_fell_where_it_did_for_any_model(courses: list[list[int]]) -> None:
    with TemporaryDirectory() as folder:
        times, cores = device_with(Path(folder), MODELS[: len(courses[0])])
        before: dict[str, int] = {}
        for said in courses:
            for core, said_s in zip(cores, said, strict=True):
                core.said_s = said_s
            after = {core.model: times.elsewhere_s(core.model, NOW) for core in cores}
            fell = any(after[model] < before.get(model, 0) - JUMP_S for model in after)
            assert times.fell(NOW) is fell
            before = after
