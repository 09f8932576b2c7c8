import pytest

from benchmarks.report import Better, Figure, number, table


@pytest.mark.parametrize(
    ("value", "better", "limit", "is_met"),
    [
        (1.0, "<=", 1.0, True),
        (1.0, "<", 1.0, False),
        (0.4, ">=", 0.5, False),
        (0.6, ">", 0.5, True),
        (0.0, "==", 0.0, True),
        (1.0, "==", 0.0, False),
    ],
)
def test_a_limit_is_met_as_its_comparison_says(
    value: float, better: Better, limit: float, is_met: bool
) -> None:
    assert Figure("x", value, "s", limit=limit, better=better).is_met is is_met


def test_a_figure_that_is_not_a_number_meets_no_limit() -> None:
    assert Figure("x", float("nan"), "s", limit=1.0).is_met is False


def test_a_figure_without_a_limit_is_not_judged() -> None:
    assert Figure("x", 1.0, "s").is_met is None


def test_the_table_says_which_limits_are_missed() -> None:
    text = table("t", [Figure("good", 1.0, "s", limit=2.0), Figure("bad", 3.0, "s", limit=2.0)])
    good, bad = (
        next(line for line in text.splitlines() if word in line) for word in ("good", "bad")
    )
    assert "yes" in good
    assert "NO" in bad


@pytest.mark.parametrize(
    ("value", "text"),
    [(8_700_000, "8,700,000"), (1.00812, "1.008"), (12345.6, "12,346"), (float("nan"), "nan")],
)
def test_numbers_are_printed_short(value: float, text: str) -> None:
    assert number(value) == text
