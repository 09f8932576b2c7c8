"""What an operator does in a browser, against a fleet that lives: Debian's Chromium, a real broker,
`slotcast serve` and simulated devices.

Each window notes every request and every complaint of the browser, and fails if one left the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from sqlalchemy import update

from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.access.sessions import IDLE_S
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.rollouts import LogLine, log_of
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from tests.support.brokers import Broker
from tests.support.chromium import (
    DESK_PX,
    PHONE_PX,
    chromium,
    program,
    scrolls_sideways,
    serious_findings,
    window,
)
from tests.support.page import PASSWORD, TESTER, RunningPage, running_page
from tests.support.page_story import BAD, DEVICES, FAILS, GOOD, PageStory
from tests.support.waiting import WAIT_S, wait_until

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(600),
    pytest.mark.skipif(program() is None, reason="no Chromium: tools/apt-install chromium"),
]

SCREENS = {
    "fleet": "/",
    "devices": "/devices",
    "device": f"/devices/{FAILS}",
    "rollouts": "/rollouts",
    "rollout": f"/rollouts/{BAD}",
    "releases": "/releases",
    "release": "/releases/detector/2.0",
}
ADMINS_SCREENS = {"users": "/users", "tokens": "/tokens", "audit log": "/audit"}
OPERATORS = {
    "ada": Role.ADMIN,
    "olga": Role.OPERATOR,
    "otto": Role.OPERATOR,
    "vera": Role.VIEWER,
}

expect.set_options(timeout=WAIT_S / 2 * 1000)


@pytest.fixture(scope="module")
def story(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageStory]:
    """A fleet that runs the old releases, with a rollout that will pause by itself."""
    told = PageStory(tmp_path_factory.mktemp("story"), broker)
    with told.going_on():
        told.start_bad()
        yield told


@pytest.fixture(scope="module")
def page_of(story: PageStory) -> Iterator[RunningPage]:
    """The page of that fleet, and its users."""
    with running_page(story.publisher.path) as running:
        for name, role in OPERATORS.items():
            running.context.users.add(name, role, TESTER)
            running.context.users.set_password(name, PASSWORD, TESTER)
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as driven:
        yield driven


def opened(browser: Browser, running: RunningPage, **how: object) -> AbstractContextManager[Page]:
    """A window at the page."""
    return window(browser, running.url, **how)  # type: ignore[arg-type]


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    """Fill the form in, as a person does."""
    page.get_by_label("Name").or_(page.get_by_label("User")).first.fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def sentence(page: Page) -> Locator:
    """The one sentence that a screen opens with."""
    return page.locator("h1")


def test_signing_in_leads_to_where_one_wanted_to_go(
    browser: Browser, page_of: RunningPage, story: PageStory
) -> None:
    with opened(browser, page_of, expected=("401", "403", "422")) as page:
        page.goto(f"/rollouts/{BAD}")
        sign_in(page, "olga", "a wrong password")
        expect(page.get_by_role("alert")).to_be_visible()
        sign_in(page, "olga")
        page.wait_for_url(f"**/rollouts/{BAD}")
        expect(page.locator("header")).to_contain_text("olga")


def test_a_rollout_moves_without_reloading_and_stops_by_its_button(
    browser: Browser, page_of: RunningPage, story: PageStory
) -> None:
    story.start_good()
    with opened(browser, page_of) as page:
        go_to(page, f"/rollouts/{GOOD}", "olga")
        page.evaluate("window.isTheSamePage = true")
        before = page.locator("#groups").inner_text()
        story.wait_for("counter", "1.1", 4)
        expect(page.locator("#groups")).not_to_have_text(before)
        page.get_by_role("button", name="Pause", exact=True).click()
        expect(sentence(page)).to_contain_text("PAUSED")
        expect(page).to_have_title(re.compile("paused", re.IGNORECASE))
        expect(page.locator("#icon")).to_have_attribute("href", re.compile("paused"))
        story.wait_for_state(GOOD, RolloutState.PAUSED)
        story.wait_until_nobody_is_under_way("counter")
        let_in = story.running("counter", "1.1")
        assert 0 < let_in < DEVICES
        story.wait_for_looks(GOOD, 2)
        story.wait_until_nobody_is_under_way("counter")
        assert story.running("counter", "1.1") == let_in
    asked = [line for line in log_lines(page_of, GOOD) if line.word == "asked_to_pause"]
    assert [line.who for line in asked] == ["olga"]


def sees(page: Page, path: str, text: str) -> bool:
    """Load a page anew, as who has no script must, and say whether it has a text."""
    page.goto(path)
    return text in page.locator("main").inner_text()


def test_two_operators_press_the_same_button(
    browser: Browser, page_of: RunningPage, story: PageStory
) -> None:
    """It goes on once; who came second is told so, and both see the same."""
    story.wait_for_state(GOOD, RolloutState.PAUSED)
    let_in = story.running("counter", "1.1")
    with opened(browser, page_of) as olga, opened(browser, page_of, may_script=False) as otto:
        go_to(olga, f"/rollouts/{GOOD}", "olga")
        go_to(otto, f"/rollouts/{GOOD}", "otto")
        ask(olga, "Resume", "they are good")
        story.wait_for("counter", "1.1", let_in + 1)
        ask(otto, "Resume", "I think so, too")
        expect(sentence(olga)).not_to_contain_text("PAUSED")
        wait_until(lambda: sees(otto, f"/rollouts/{GOOD}", "refused"), every_s=0.5)
        expect(sentence(otto)).not_to_contain_text("PAUSED")
    asked = [line for line in log_lines(page_of, GOOD) if line.word == "asked_to_resume"]
    assert {line.who: line.text.startswith("refused") for line in asked} == {
        "olga": False,
        "otto": True,
    }


def test_a_failure_opens_down_to_its_evidence(
    browser: Browser, page_of: RunningPage, story: PageStory
) -> None:
    story.wait_for_state(BAD, RolloutState.PAUSED)
    with opened(browser, page_of) as page:
        go_to(page, "/", "olga")
        page.locator(f"main a[href='/rollouts/{BAD}']").first.click()
        failure = page.locator("#failures details", has_text="ROLLED_BACK")
        if failure.get_attribute("open") is None:
            failure.locator("summary").first.click()
        expect(failure.locator("table.ev tr.broken")).to_contain_text("errors")
        failure.get_by_role("link", name=FAILS).click()
        page.wait_for_url(f"**/devices/{FAILS}**")
        expect(sentence(page)).to_contain_text("ROLLED_BACK")
        evidence = page.locator("table.ev tr.broken").first
        expect(evidence).to_contain_text("errors")


def test_a_viewer_finds_no_buttons_and_is_refused_by_the_page_and_the_api(
    browser: Browser, page_of: RunningPage, story: PageStory
) -> None:
    with opened(browser, page_of) as page:
        go_to(page, f"/rollouts/{BAD}", "vera")
        forms = page.locator("main form[method=post]")
        for path in SCREENS.values():
            page.goto(path)
            expect(sentence(page)).to_be_visible()
            assert forms.count() == 0, path
    viewer = page_of.browser("vera", OPERATORS["vera"])
    assert viewer.send_form(f"/rollouts/{BAD}/resume", {"why": "I want to"}).status_code == 403
    asked = page_of.program(Permission.SEE).post(
        f"/api/v1/rollouts/{BAD}/requests",
        json={"wish": "resume", "why": "so does my program"},
        headers={"idempotency-key": "a-viewers-key"},
    )
    assert asked.status_code == 403
    assert story.state(BAD) is RolloutState.PAUSED


def test_a_session_that_has_ended_leads_to_signing_in_and_back(
    browser: Browser, page_of: RunningPage
) -> None:
    # The page that is open learns it, too: its stream of changes is refused.
    with opened(browser, page_of, expected=("401",)) as page:
        go_to(page, "/rollouts", "otto")
        end_sessions(page_of, "otto")
        page.goto(f"/rollouts/{BAD}")
        expect(page).to_have_url(re.compile("/sign-in"))
        sign_in(page, "otto")
        expect(page).to_have_url(re.compile(f"/rollouts/{BAD}$"))


@pytest.mark.parametrize("width_px", [DESK_PX, PHONE_PX], ids=["desk", "phone"])
def test_every_screen_can_be_used_by_everybody(
    browser: Browser, page_of: RunningPage, story: PageStory, width_px: int
) -> None:
    """axe finds nothing serious, light and dark; nothing is wider than the window."""
    story.wait_for_state(BAD, RolloutState.PAUSED)
    wrong: list[str] = []
    with opened(browser, page_of, width_px=width_px, dark=width_px == PHONE_PX) as page:
        page.goto("/sign-in")
        wrong += judged(page, "/sign-in")
        sign_in(page, "ada")
        for path in (*SCREENS.values(), *ADMINS_SCREENS.values()):
            page.goto(path)
            for each in page.locator("main details").all():
                each.evaluate("each => each.open = true")
            wrong += judged(page, path)
    assert wrong == []


def test_an_admin_adds_a_user_who_signs_in_by_the_link(
    browser: Browser, page_of: RunningPage
) -> None:
    with opened(browser, page_of) as page:
        go_to(page, "/users", "ada")
        page.get_by_label("Name").fill("nina")
        page.get_by_role("button", name="Add").click()
        link = page.locator("pre.secret").inner_text()
    with opened(browser, page_of) as page:
        page.goto(link)
        page.get_by_label("Password", exact=False).first.fill(PASSWORD)
        page.locator("input[name=again]").fill(PASSWORD)
        page.get_by_role("button").click()
        expect(page.locator("header")).to_contain_text("nina")
        assert page.locator("header nav a[href='/users']").count() == 0


def judged(page: Page, path: str) -> list[str]:
    """What is wrong with a screen, as lines that name it."""
    wrong = [f"{path}: {finding}" for finding in serious_findings(page)]
    return [*wrong, f"{path} scrolls sideways"] if scrolls_sideways(page) else wrong


def go_to(page: Page, path: str, name: str) -> None:
    """Open a screen as somebody who has to sign in first."""
    page.goto(path)
    sign_in(page, name)
    page.wait_for_url(f"**{path}")


def ask(page: Page, label: str, why: str) -> None:
    """Press a button that asks once more, and for a reason."""
    button = page.locator("main details.ask", has_text=label)
    button.locator("summary").click()
    button.get_by_label("Why").fill(why)
    button.get_by_role("button").click()


def end_sessions(running: RunningPage, name: str) -> None:
    """Let all sessions of somebody have been idle for too long."""
    c = tables.sessions.c
    with running.database.transaction() as connection:
        connection.execute(
            update(tables.sessions).where(c.user == name).values(seen_s=c.seen_s - IDLE_S - 1)
        )


def log_lines(running: RunningPage, name: str) -> list[LogLine]:
    """What the log of a rollout says."""
    with running.database.reading() as connection:
        return list(log_of(connection, name, 1000))
