"""The tag that parts good devices from bad ones is found by itself, and chance is not."""

from __future__ import annotations

import random

from slotcast_publisher.fleet.figures.tags import parted_by


def fleet(count: int, seed: int) -> dict[str, dict[str, str]]:
    """Devices with eight tags that mean nothing, and a serial number each."""
    rng = random.Random(seed)
    return {
        f"d{i}": {"serial": str(i)} | {f"tag{t}": f"v{rng.randrange(4)}" for t in range(8)}
        for i in range(count)
    }


def test_only_on_one_board_is_found_among_many_tags_that_mean_nothing() -> None:
    devices = fleet(60, seed=1)
    for i, tags in enumerate(devices.values()):
        tags["board"] = "rev-b" if i % 5 == 0 else "rev-a"
        tags["hw"] = "2" if i % 5 == 0 else "1"
    bad = {d for i, d in enumerate(devices) if i % 5 == 0 and i != 0} | {"d3"}

    found = parted_by(devices, bad, 0.95)

    assert found[0].tags == (("board", "rev-b"), ("hw", "2"))  # the very same devices: one finding
    assert str(found[0].inside) == "11 of 12"
    assert str(found[0].outside) == "1 of 48"
    assert found[0].chance < 1e-6
    assert {tag for parting in found for tag, _ in parting.tags} == {"board", "hw"}


def test_in_hundreds_of_fleets_where_no_tag_matters_one_is_found_as_seldom_as_was_asked() -> None:
    wrong = 0
    for seed in range(300):
        rng = random.Random(seed)
        devices = fleet(40, seed)
        bad = {device for device in devices if rng.random() < 0.2}
        wrong += bool(parted_by(devices, bad, 0.95))
    assert wrong <= 300 * 0.05 + 3 * (300 * 0.05 * 0.95) ** 0.5


def test_serial_numbers_cost_nothing() -> None:
    devices = {f"d{i}": {"board": "b" if i < 5 else "a"} for i in range(20)}
    bad = {f"d{i}" for i in range(5)}
    without = parted_by(devices, bad, 0.95)
    for i, tags in enumerate(devices.values()):
        tags["serial"] = str(i)

    assert parted_by(devices, bad, 0.95)[0].chance == without[0].chance


def test_nothing_is_found_where_all_or_none_are_bad_or_nobody_is_there() -> None:
    devices = fleet(30, seed=2)
    assert parted_by(devices, set(), 0.95) == []
    assert parted_by(devices, set(devices), 0.95) == []
    assert parted_by({}, {"d1"}, 0.95) == []
