"""What is imported later: not before it is asked something, and then it is the real thing.

Each program runs in an interpreter of its own, for modules are imported once in a process.
"""

from __future__ import annotations

import subprocess
import sys


def printed(program: str) -> list[str]:
    """Run a program in a new interpreter; gives the words that it prints."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_module_is_imported_when_it_is_asked_something() -> None:
    assert printed(
        "import sys\n"
        "from slotcast_schemas.later_import import imported_later\n"
        "with imported_later('urllib.request'):\n"
        "    import urllib.request\n"
        "print('urllib.request' in sys.modules, 'http.client' in sys.modules)\n"
        "asked = urllib.request.Request('http://a/b').selector\n"
        "import urllib.request as real\n"
        "print(asked, urllib.request is real is sys.modules['urllib.request'])\n"
    ) == ["False", "False", "/b", "True"]


def test_who_takes_a_name_from_a_module_gets_the_real_one_at_once() -> None:
    assert printed(
        "import sys\n"
        "from slotcast_schemas.later_import import imported_later\n"
        "with imported_later('urllib.request'):\n"
        "    from urllib.request import Request\n"
        "print(Request is sys.modules['urllib.request'].Request)\n"
    ) == ["True"]


def test_what_is_imported_already_stays() -> None:
    assert printed(
        "import sys, urllib.request as real\n"
        "from slotcast_schemas.later_import import imported_later\n"
        "with imported_later('urllib.request'):\n"
        "    import urllib.request\n"
        "print(urllib.request is real is sys.modules['urllib.request'])\n"
    ) == ["True"]


def test_a_missing_module_is_missed_when_it_is_asked_something() -> None:
    assert printed(
        "from slotcast_schemas.later_import import imported_later\n"
        "with imported_later('no_such_module'):\n"
        "    import no_such_module\n"
        "try: no_such_module.thing\n"
        "except ModuleNotFoundError as exc: print(exc.name)\n"
    ) == ["no_such_module"]


def test_a_notice_is_verified_without_what_speaks_http() -> None:
    assert printed(
        "import sys, slotcast_schemas.verify\n"
        "print(*(name in sys.modules for name in ('tuf.ngclient', 'urllib3', 'http.client')))\n"
    ) == ["True", "False", "False"]


def test_the_fetcher_of_tuf_still_works_for_who_makes_one() -> None:
    assert printed(
        "import sys, threading, http.server, slotcast_schemas.verify\n"
        "class Hello(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200 if self.path == '/there' else 404)\n"
        "        self.end_headers(); self.wfile.write(b'hello')\n"
        "    def log_message(self, *_): pass\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Hello)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "from tuf.ngclient import Urllib3Fetcher\n"
        "from tuf.api.exceptions import DownloadHTTPError\n"
        "url = f'http://127.0.0.1:{server.server_port}/'\n"
        "fetcher = Urllib3Fetcher()\n"
        "print(fetcher.download_bytes(url + 'there', 100).decode())\n"
        "try: fetcher.download_bytes(url + 'gone', 100)\n"
        "except DownloadHTTPError as exc: print(exc.status_code)\n"
    ) == ["hello", "404"]
