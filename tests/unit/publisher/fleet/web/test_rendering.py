"""A page whole and in parts, and answers that many share."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from slotcast_publisher.fleet.web import templating
from slotcast_publisher.fleet.web.screens import shared_looks
from slotcast_publisher.fleet.web.screens.rendering import (
    CSRF_MARK,
    USER_MARK,
    Rendered,
    csrf_field,
    digest_of,
    personal,
    render,
)
from slotcast_publisher.fleet.web.screens.shared_looks import Shared
from slotcast_publisher.fleet.web.words import Clock

TWO_PARTS = (
    '<h1>{{ user }}</h1>{% call part("one") %}<p>{{ a }}</p>{% endcall %}'
    '{% call part("two") %}<form>{{ csrf }}</form><p>{{ b }}</p>{% endcall %}'
)


@pytest.fixture
def two_parts(monkeypatch: pytest.MonkeyPatch) -> Any:
    template = templating.environment().from_string(TWO_PARTS)
    monkeypatch.setattr(templating.environment(), "get_template", lambda _: template)

    def rendered(a: str, b: str) -> Rendered:
        return render("x", "Title", "/icon", a=a, b=b, user=USER_MARK, csrf=csrf_field())

    return rendered


def test_only_the_part_that_changed_is_sent_again(two_parts: Any) -> None:
    first, second = two_parts("1", "2"), two_parts("1", "3")
    have = {name: part.digest for name, part in first.parts.items()}

    assert first.changed(have) == {}
    assert list(second.changed(have)) == ["two"]
    assert second.changed(have)["two"].html in second.html


def test_what_a_device_says_cannot_end_a_part(two_parts: Any) -> None:
    rendered = two_parts('</p></div><div id="two">', "x")

    assert rendered.html.count("<div") == 2


def test_a_page_for_all_gets_the_name_and_the_token_of_who_asks(two_parts: Any) -> None:
    html = two_parts("1", "2").html

    mine = personal(html, "<ada>\u202e", "tok")
    assert "<h1>&lt;ada&gt;" in mine
    assert 'name="csrf" value="tok"' in mine
    assert CSRF_MARK not in mine
    assert USER_MARK not in mine


def test_the_passing_of_time_alone_changes_no_part() -> None:
    at_s = 1_790_000_000
    early, late = (f"<p>{Clock(at_s + after_s).ago(at_s)}</p>" for after_s in (5, 500))

    assert early != late
    assert digest_of(early) == digest_of(late)
    assert digest_of(early) != digest_of(f"<p>{Clock(at_s).ago(at_s - 1)}</p>")


class Ticking:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_an_answer_is_made_once_a_second_however_many_ask() -> None:
    clock, made = Ticking(), []

    def make(key: str) -> int:
        made.append(key)
        return len(made)

    answers = Shared(make, clock)

    assert [answers.get("a") for _ in range(50)] == [1] * 50
    assert answers.get("b") == 2
    clock.now_s = 1.5
    assert answers.get("a") == 3
    answers.forget()
    assert answers.get("a") == 4


def test_a_dear_answer_counts_for_longer() -> None:
    clock, made = Ticking(), []

    def make(key: str) -> int:
        made.append(key)
        clock.now_s += 3.0
        return len(made)

    answers = Shared(make, clock)
    answers.get("a")
    clock.now_s += 20

    assert answers.get("a") == 1
    clock.now_s += 20
    assert answers.get("a") == 2


def test_who_asks_while_it_is_made_gets_the_one_before() -> None:
    clock, begun, may_end = Ticking(), threading.Event(), threading.Event()
    answers: Shared[str, int] = Shared(lambda _: 1, clock)
    answers.get("a")

    def slow(_: str) -> int:
        begun.set()
        assert may_end.wait(30)
        return 2

    answers._make = slow
    clock.now_s = 5
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(answers.get("a")))
    thread.start()
    assert begun.wait(30)
    assert answers.get("a") == 1
    may_end.set()
    thread.join(30)
    assert got == [2]


def test_a_failure_is_told_and_the_next_who_asks_tries_again() -> None:
    made = []

    def make(_: str) -> int:
        made.append(1)
        if len(made) == 1:
            raise ValueError("no")
        return 7

    answers = Shared(make)
    with pytest.raises(ValueError, match="no"):
        answers.get("a")
    assert answers.get("a") == 7


def test_answers_are_bounded() -> None:
    answers: Shared[int, int] = Shared(lambda key: key)

    for key in range(3 * shared_looks.KEYS_MAX):
        answers.get(key)

    assert len(answers._entries) == shared_looks.KEYS_MAX
