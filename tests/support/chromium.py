"""Debian's Chromium, driven by Playwright: windows that note every request and every complaint.

with chromium() as browser, window(browser, url, dark=True, width_px=360) as page:
    page.goto("/sign-in")
    assert serious_findings(page) == []

A window that asked another host for something, or whose page made the browser complain (an error of
a script, a breach of the Content-Security-Policy), fails when it is closed.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import shutil
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.support.waiting import WAIT_S

PHONE_PX: Final = 360
DESK_PX: Final = 1280
_HEIGHT_PX: Final = 900
_SERIOUS: Final = {"serious", "critical"}
_FIND: Final = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
_LOCAL: Final = {"data", "blob", "about"}


def program() -> str | None:
    """Give the path of a Chromium of this machine, if there is one."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser.

    Raises:
        FileNotFoundError: there is none; `tools/apt-install chromium` installs it.
    """
    path = program()
    if path is None:
        raise FileNotFoundError("expected the program chromium: tools/apt-install chromium")
    # In a container Chromium can make no sandbox of its own, and root may run none.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def window(
    browser: Browser,
    url: str,
    *,
    dark: bool = False,
    width_px: int = DESK_PX,
    height_px: int = _HEIGHT_PX,
    expected: tuple[str, ...] = (),
    may_script: bool = True,
) -> Iterator[Page]:
    """Open a window with no cookies.

    Args:
        browser: which.
        url: of the page; what is opened by path is opened there.
        dark: whether the system is said to be dark.
        width_px: of what is seen.
        height_px: of what is seen.
        expected: parts of complaints that are meant, such as a status of 403.
        may_script: whether scripts run.

    Raises:
        AssertionError: another host was asked for something, or the browser complained.
    """
    elsewhere: list[str] = []
    complaints: list[str] = []

    def note_request(asked: str) -> None:
        if urlsplit(asked).netloc != urlsplit(url).netloc and urlsplit(asked).scheme not in _LOCAL:
            elsewhere.append(asked)

    def note_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(e in message.text for e in expected):
            complaints.append(f"{message.text} {message.location.get('url', '')}")

    context = browser.new_context(
        base_url=url,
        viewport={"width": width_px, "height": height_px},
        color_scheme="dark" if dark else "light",
        java_script_enabled=may_script,
        reduced_motion="reduce",
    )
    context.set_default_timeout(WAIT_S / 2 * 1000)
    context.on("request", lambda request: note_request(request.url))
    context.on("console", note_message)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    try:
        yield context.new_page()
    finally:
        context.close()
    assert elsewhere == [], f"asked of other hosts: {elsewhere}"
    assert complaints == [], f"the browser complains: {complaints}"


def serious_findings(page: Page) -> list[str]:
    """Give what axe-core finds on the page that is serious or worse, with where it is."""
    axe = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
    page.evaluate(axe)
    found = page.evaluate(_FIND)
    return [
        f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:5]}"
        for each in found
        if each["impact"] in _SERIOUS
    ]


def scrolls_sideways(page: Page) -> bool:
    """Say whether the page is wider than the window."""
    wider: bool = page.evaluate(
        "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return wider
