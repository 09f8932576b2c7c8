"""Fixtures that all tests share."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import memory_folder
from tests.support.brokers import Broker, mosquitto
from tests.support.file_order import order_items

# A busy machine is no failure: no test has a time to meet.
settings.register_profile("slotcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slotcast")

_FOLDER: pytest.StashKey[memory_folder.TestFolder] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Have the tests' files in memory; workers of pytest-xdist inherit the folder."""
    # After pytest's last look for errors that nobody saw; Python's own two would find nothing.
    config.add_cleanup(gc.freeze)
    folder = memory_folder.take()
    if folder is not None:
        config.stash[_FOLDER] = folder


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collector of garbage from looking through thousands of tests again and again.

    Afterwards it looks seldom: at its usual pace that was 4 % of what unit tests took.
    """
    gc.disable()
    found = yield
    gc.freeze()
    gc.set_threshold(300_000, 50, 100)
    gc.enable()
    return found


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the workers of pytest-xdist take the files in the order that keeps all of them busy."""
    if hasattr(config, "workerinput"):
        items[:] = order_items(items)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Keep the folder of a run that failed, and say where it is."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None and exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.USAGE_ERROR}:
        folder.is_kept = True
        terminalreporter.write_line(f"the tests' files, until the next run: {folder.path}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the memory back."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        folder.close()


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A Mosquitto with the development configuration, shared: use topics of your own."""
    with mosquitto("development") as running:
        yield running


@pytest.fixture(scope="session")
def production_broker() -> Iterator[Broker]:
    """A Mosquitto with the production configuration (TLS, ACL, limits), shared."""
    with mosquitto("production") as running:
        yield running


@pytest.fixture(scope="module")
def new_databases() -> Iterator[None]:
    """New databases of a fleet are copies of one whose steps were run; for a file of tests."""
    from tests.support.fleet_database import quick_databases

    with quick_databases():
        yield


@pytest.fixture(scope="module")
def quick_probes() -> Iterator[None]:
    """Release and probe have children that need not import the runtimes; for a file of tests."""
    from tests.support.warm_children import warm_children

    with warm_children():
        yield
