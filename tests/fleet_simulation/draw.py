"""Draws a plan as a person might write it, and the fleet that it goes to."""

from __future__ import annotations

import random

from slotcast_publisher.fleet.rollout.plan import Plan, read_plan
from tests.fleet_simulation.fleet import SimDevice, draw_fate
from tests.support.rollouts import HEAD, NEW, OLD, STONE


def draw_plan(rng: random.Random) -> Plan:
    """Draw a plan of one to four groups."""
    lines = [
        f"success_share = {rng.choice((0.5, 0.8, 0.95, 1.0))}",
        f"soak_s = {rng.choice((0, 120, 400))}",
        f"unseen_s = {rng.choice((600, 1500))}",
        f"prepare_s = {rng.choice((0, 300))}",
        'go_back_to = "1.0.post1"',
        f'on_broken_limit = "{rng.choice(("pause",) * 6 + ("cancel", "go_back"))}"',
    ]
    if rng.random() < 0.4:
        lines.append(f"max_under_way = {rng.choice((1, 2, 5))}")
    if rng.random() < 0.15:
        lines.append('stepping_stones = ["1.5"]')
    if rng.random() < 0.15:
        lines.append('windows = ["14:30-15:10", "16:00-23:00"]')
    lines += ["[limits]", f"confidence = {rng.choice((0.8, 0.95, 0.99))}", "silent_s = 900"]
    if rng.random() < 0.3:
        lines.append(f"stop_after_failures = {rng.choice((1, 2, 4))}")
    if rng.random() < 0.3:
        lines.append('max_failed_share = "none"')
    names = ["canary", "early", "late"][: rng.randrange(4)]
    lines += [line for name in names for line in _group(rng, name)]
    lines += ["[[groups]]", 'name = "rest"', *_how(rng, "rest")]
    return read_plan(HEAD + "\n".join(lines) + "\n", "plan.toml")


def _group(rng: random.Random, name: str) -> list[str]:
    who = [f'tags = {{ring = "{name}"}}', f"percent = {rng.choice((20, 40))}"]
    return ["[[groups]]", f'name = "{name}"', rng.choice(who), *_how(rng, name)]


def _how(rng: random.Random, name: str) -> list[str]:
    lines = []
    if rng.random() < 0.3:
        lines.append(f"steps = {rng.choice(('[30, 100]', '[10, 50, 100]'))}")
        lines.append(f"step_soak_s = {rng.choice((0, 100))}")
    if name != "rest" and rng.random() < 0.3:
        lines.append("devices_min = 0")
    gate = rng.choice((*("",) * 5, "person = true", 'command = ["c"]', 'url = "https://g.example"'))
    return [*lines, f"gate = {{ {gate} }}"] if gate else lines


def draw_devices(rng: random.Random, faults_s: float) -> list[SimDevice]:
    """Draw the fleet: most of it good, some of it bad, slow, away, or gone for ever."""
    bad_share = rng.choice((0.0, 0.0, 0.05, 0.3, 0.8))
    slow_share = rng.choice((0.0, 0.0, 0.0, 0.4))
    devices = []
    for number in range(rng.choice((1, 3, 8, 16, 24))):
        ring = rng.choice(("canary", "early", "late", "", "", ""))
        device = SimDevice(
            id=f"d{number}",
            tags={"ring": ring} if ring else {},
            runs=rng.choice((1, 1, 1, 1, 2, 0)),
            fates={
                OLD.sequence: draw_fate(rng, 0.0, 0.0),
                STONE.sequence: draw_fate(rng, bad_share / 4, 0.0),
                NEW.sequence: draw_fate(rng, bad_share, slow_share),
                4: draw_fate(rng, 0.0, 0.0),
            },
            waits_s=rng.choice((0.0,) * 9 + (300.0,)),
        )
        if rng.random() < 0.2:
            begin_s = rng.uniform(0, faults_s)
            for_ever = rng.random() < 0.3
            device.gone_s = (begin_s, float("inf") if for_ever else begin_s + rng.uniform(60, 3000))
        devices.append(device)
    return devices
