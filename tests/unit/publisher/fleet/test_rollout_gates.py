"""Gates: what commands and addresses say, and that nobody waits for those who say nothing."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slotcast_publisher.fleet.rollout.look_results import AskGate
from slotcast_publisher.fleet.rollout.observations import GateAnswer
from slotcast_publisher.fleet.rollout.plan import Gate
from slotcast_publisher.fleet.steering.gates import Gates, ask_command, ask_url

FACTS = {"model": "detector", "group": "canary", "question": "r1/0/canary/1"}
WAIT_S = 30.0


def command(text: str, *, timeout_s: float = WAIT_S) -> tuple[str, str]:
    return ask_command(("/bin/sh", "-c", text), FACTS, timeout_s, threading.Event())


@pytest.mark.parametrize(
    ("text", "answer"), [("exit 0", "yes"), ("exit 75", "not_yet"), ("exit 1", "no")]
)
def test_a_command_answers_by_its_exit_code(text: str, answer: str) -> None:
    assert command(f"echo looked; {text}")[0] == answer


def test_a_no_has_the_exit_code_and_what_the_command_wrote() -> None:
    assert command("echo three tests failed >&2; exit 3") == (
        "no",
        "exit code 3: three tests failed",
    )


def test_a_command_that_cannot_be_started_is_a_no_that_names_it() -> None:
    answer, why = ask_command(("/no/such/check",), FACTS, WAIT_S, threading.Event())
    assert (answer, "/no/such/check" in why) == ("no", True)


def test_a_command_knows_what_it_is_asked_about_and_not_the_passphrase(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLOTCAST_PASSPHRASE", "open sesame")
    text = 'echo "$SLOTCAST_MODEL $SLOTCAST_GROUP [$SLOTCAST_PASSPHRASE]"'
    assert command(text) == ("yes", "detector canary []")


def test_a_command_that_does_not_end_is_asked_again_and_all_that_it_started_is_gone() -> None:
    began: list[int] = []

    def is_begun() -> bool:  # a busy machine may take a second to begin
        answer, why = command("sleep 600 & echo $!; sleep 600", timeout_s=1.0)
        assert (answer, "no answer in 1 s" in why) == ("not_yet", True)
        began.extend(int(word) for word in why.split()[-1:] if word.isdigit())
        return bool(began)

    until(is_begun)
    until(lambda: has_ended(began[0]))


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waited for; it may go in the middle of the look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_is_not_waited_for_because_of_what_it_leaves_in_the_background() -> None:
    assert command("sleep 600 & echo fine") == ("yes", "fine")


def test_a_command_that_closes_its_output_is_waited_for() -> None:
    assert command("exec >&- 2>&-; sleep 0.3; exit 4")[0] == "no"


def test_a_command_that_writes_without_end_fills_no_memory() -> None:
    script = "import sys; [sys.stdout.write('x' * 65536) for _ in range(400)]; print(' the end')"
    answer, why = ask_command((sys.executable, "-c", script), FACTS, WAIT_S, threading.Event())
    assert answer == "yes"
    assert why.endswith("the end")
    assert len(why) <= 500


# --- addresses ------------------------------------------------------------------------------------


@contextlib.contextmanager
def web(status: int, body: bytes = b"because") -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that gives one answer, and the headers that it was asked with."""
    asked: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(dict(self.headers))
            self.send_response(status)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/gate", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, "yes"), (202, "not_yet"), (403, "no"), (409, "no"), (500, "not_yet"), (404, "not_yet")],
)
def test_an_address_answers_by_its_status(status: int, answer: str) -> None:
    with web(status) as (url, asked):
        found = ask_url(url, FACTS, WAIT_S)
    assert (found[0], "because" in found[1]) == (answer, True)
    assert asked[0]["Slotcast-Group"] == "canary"


def test_an_address_that_says_much_is_read_in_part() -> None:
    with web(200, b"y" * 10_000_000) as (url, _):
        assert ask_url(url, FACTS, WAIT_S) == ("yes", "y" * 500)


def test_an_address_where_nobody_is_is_asked_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer, why = ask_url(f"http://127.0.0.1:{taken.getsockname()[1]}/", FACTS, WAIT_S)
    assert (answer, "cannot be asked" in why) == ("not_yet", True)


def test_an_address_that_takes_the_connection_and_says_nothing_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ask_url(f"http://127.0.0.1:{silent.getsockname()[1]}/", FACTS, 0.4)[0] == "not_yet"


def test_an_address_that_answers_with_no_http_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail ready\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        answer_given, why = ask_url(f"http://127.0.0.1:{other.getsockname()[1]}/", FACTS, WAIT_S)
    assert (answer_given, "220 mail ready" in why) == ("not_yet", True)


def test_a_file_is_no_address() -> None:
    assert ask_url("file:///etc/passwd", FACTS, WAIT_S)[0] == "no"


# --- both -----------------------------------------------------------------------------------------


def until(found: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(3000):
        if found():
            return
        done.wait(0.01)
    raise AssertionError("never came")


def question(text: str, number: int = 1, again_s: float = 60.0) -> AskGate:
    gate = Gate(command=("/bin/sh", "-c", text), again_s=again_s)
    return AskGate(f"r1/0/canary/{number}", "canary", "command", gate)


def test_a_question_is_asked_once_in_again_s_however_often_a_look_asks(tmp_path: Path) -> None:
    now, log = [0.0], tmp_path / "asked"
    gates = Gates(clock=lambda: now[0])
    asked = question(f"echo once >> {log}; exit 75")
    for _ in range(5):
        gates.ask(asked, FACTS)
    until(lambda: bool(gates.answers()))
    gates.ask(asked, FACTS)
    assert gates.answers() == (GateAnswer(asked.question, "command", "not_yet", ""),)
    assert log.read_text().split() == ["once"]

    now[0] = 61.0
    gates.ask(asked, FACTS)
    until(lambda: log.read_text().split() == ["once", "once"])
    gates.close()


def test_a_look_does_not_wait_for_an_answer_and_the_end_does_not_either() -> None:
    gates = Gates()
    gates.ask(question("sleep 600"), FACTS)
    assert gates.answers() == ()
    gates.close()
    assert gates.answers() == ()
