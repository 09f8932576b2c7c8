"""`make screenshots`: photographs the screens of the page for the documents, from a living fleet.

A Mosquitto, `slotcast serve` and 24 devices of `slotcast simulate` play the story of
`tests.support.page_story`; Debian's Chromium shows what they made, light, dark and on a phone.
The pictures lie in docs/images/page, each bounded in height, all together in bytes.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page

from slotcast_publisher.fleet.access.roles import Role
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from tests.support.brokers import mosquitto
from tests.support.chromium import DESK_PX, PHONE_PX, chromium, program, window
from tests.support.page import PASSWORD, TESTER, RunningPage, running_page
from tests.support.page_story import BAD, DEVICES, FAILS, GOOD, PageStory

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "images" / "page"
ALL_MAX_BYTES: Final = 1_500_000
_QUALITY: Final = 82
_HEIGHT_MAX_PX: Final = {DESK_PX: 1500, PHONE_PX: 1300}
_LOOKS: Final = {
    "light": {"width_px": DESK_PX},
    "dark": {"width_px": DESK_PX, "dark": True},
    "phone": {"width_px": PHONE_PX},
}
SCREENS: Final = {
    "fleet": "/",
    "rollout": f"/rollouts/{BAD}",
    "device": f"/devices/{FAILS}",
    "release": "/releases/detector/2.0",
    "users": "/users",
}


def main() -> int:
    """Make all pictures; 1 if they are too large together, 69 where there is no Chromium."""
    if program() is None:
        sys.stderr.write("error: expected Chromium; `tools/apt-install chromium` installs it\n")
        return os.EX_UNAVAILABLE
    with _folder() as folder, mosquitto() as broker:
        story = PageStory(folder, broker)
        with story.going_on(), running_page(story.publisher.path) as running:
            _let_it_happen(story)
            running.context.users.add("olga", Role.ADMIN, TESTER)
            running.context.users.add("otto", Role.OPERATOR, TESTER)
            running.context.users.add("vera", Role.VIEWER, TESTER)
            running.context.users.set_password("olga", PASSWORD, TESTER)
            with chromium() as browser:
                _photograph_all(browser, running)
    return _judge_size()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder whose path may be read in a picture, and remove it."""
    folder = Path(tempfile.gettempdir()) / "slotcast"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _let_it_happen(story: PageStory) -> None:
    story.start_bad()
    story.start_good()
    story.wait_for_state(BAD, RolloutState.PAUSED)
    story.wait_for("counter", "1.1", DEVICES)
    story.wait_for_state(GOOD, RolloutState.FINISHED)


def _photograph_all(browser: Browser, running: RunningPage) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for look, how in _LOOKS.items():
        with window(browser, running.url, **how) as page:  # type: ignore[arg-type]
            page.goto("/sign-in")
            _photograph(page, FOLDER / f"sign-in-{look}.webp")
            page.get_by_label("Name").fill("olga")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            for name, path in SCREENS.items():
                page.goto(path)
                page.locator("#live.done").or_(page.locator("body:not([data-live])")).wait_for()
                _photograph(page, FOLDER / f"{name}-{look}.webp")


def _photograph(page: Page, file: Path) -> None:
    """Write a picture of the page, as WebP, cut off where it is too high."""
    size: dict[str, int] = page.evaluate(
        "({width: innerWidth, height: document.documentElement.scrollHeight})"
    )
    height = min(size["height"], _HEIGHT_MAX_PX[size["width"]])
    session = page.context.new_cdp_session(page)
    taken = session.send(
        "Page.captureScreenshot",
        {
            "format": "webp",
            "quality": _QUALITY,
            "captureBeyondViewport": True,
            "clip": {"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1},
        },
    )
    file.write_bytes(base64.b64decode(taken["data"]))
    session.detach()


def _judge_size() -> int:
    pictures = sorted(FOLDER.glob("*.webp"))
    total = sum(picture.stat().st_size for picture in pictures)
    sys.stdout.write(f"{len(pictures)} pictures in {FOLDER}, {total / 1e6:.2f} MB\n")
    if total > ALL_MAX_BYTES:
        sys.stderr.write(f"error: expected at most {ALL_MAX_BYTES} bytes, got {total}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
