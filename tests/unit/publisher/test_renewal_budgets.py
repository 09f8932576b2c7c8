"""How often a device is answered that asks for its next certificate."""

from __future__ import annotations

import pytest

from slotcast_publisher.serve import day_budget
from slotcast_publisher.serve.day_budget import DAY_S
from slotcast_publisher.serve.renewal_budgets import DAY_ANSWERS, RenewalBudgets


def answers(budgets: RenewalBudgets, device: str, asks: int, now_s: float) -> int:
    return [budgets.take(device, now_s) for _ in range(asks)].count("answer")


def test_a_device_has_a_days_answers_at_once_and_a_days_more_in_each_day() -> None:
    budgets = RenewalBudgets()
    assert answers(budgets, "a", 1_000, 0.0) == DAY_ANSWERS
    assert answers(budgets, "b", 1, 0.0) == 1
    assert answers(budgets, "a", 1_000, DAY_S / 2) == DAY_ANSWERS // 2
    assert answers(budgets, "a", 1_000, 10 * DAY_S) == DAY_ANSWERS


def test_one_that_asks_each_hour_as_devices_do_is_always_answered() -> None:
    budgets = RenewalBudgets()
    assert sum(answers(budgets, "a", 1, hour * 3600.0) for hour in range(24 * 90)) == 24 * 90


def test_that_it_is_spent_is_said_once_until_half_is_there_again() -> None:
    budgets = RenewalBudgets()
    answers(budgets, "a", DAY_ANSWERS, 0.0)
    assert [budgets.take("a", 1.0) for _ in range(3)] == ["spent", *["spent, and said"] * 2]
    answers(budgets, "a", 1_000, DAY_S / 4)
    assert budgets.take("a", DAY_S / 4) == "spent, and said"
    answers(budgets, "a", 1_000, DAY_S)
    assert budgets.take("a", DAY_S) == "spent, and said"
    answers(budgets, "a", DAY_ANSWERS, 3 * DAY_S)
    assert budgets.take("a", 3 * DAY_S) == "spent"


def test_no_more_devices_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_budget, "DEVICES_MAX", 3)
    budgets = RenewalBudgets()
    for name in "abcd":
        answers(budgets, name, DAY_ANSWERS, 0.0)
    assert budgets.devices == 3
    assert budgets.take("d", 0.0) != "answer"
    assert budgets.take("a", 0.0) == "answer"
