"""A few models that other people ship, the whole way to a device; `make zoo` takes all of them.

They are fetched as `make zoo` fetches them, and kept in the same place.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.zoo.damage import DAMAGES
from tests.zoo.fetch import CannotFetch, fetch, path_of
from tests.zoo.install import travel
from tests.zoo.listing import ZooModel, read_list

pytestmark = [pytest.mark.broker]

TRIED = [model for model in read_list() if model.in_test]


@pytest.mark.parametrize("model", TRIED, ids=lambda model: model.name)
def test_a_model_of_another_package_is_installed_and_its_damaged_copies_are_not(
    model: ZooModel, broker: Broker, tmp_path: Path
) -> None:
    try:
        fetch([model])
    except CannotFetch as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"a package cannot be fetched: {exc}")

    found = travel(model, path_of(model), broker.url, tmp_path)

    assert found.problems == ()
    assert (found.state, found.is_whole, found.good) == ("COMMITTED", True, "passed")
    assert found.damaged.keys() == set(DAMAGES)
