"""What `tools/check_args.py` asks of a docstring, and whom it lets be."""

from __future__ import annotations

import pytest

from tools.check_args import missing

EXPLAINED = '''
def send(topic: str, data: bytes, *, retain: bool) -> None:
    """Send a message.

    Args:
        topic: where to.
        data: what; a line that goes on below:
            data is bytes.
        retain: whether the broker keeps it.

    Raises:
        LinkDown: no broker.
    """
'''


def test_a_function_that_explains_each_of_three_parameters_is_well() -> None:
    assert list(missing(EXPLAINED, "m")) == []


@pytest.mark.parametrize("name", ["topic", "data", "retain"])
def test_each_parameter_that_is_left_out_is_named(name: str) -> None:
    lines = [line for line in EXPLAINED.splitlines() if not line.startswith(f"        {name}: ")]
    assert list(missing("\n".join(lines), "m")) == [f"m.send: {name}"]


def test_what_another_section_names_does_not_count() -> None:
    assert list(missing(EXPLAINED.replace("Args:", "Note:"), "m")) == [
        "m.send: topic, data, retain"
    ]


def test_two_parameters_need_no_list() -> None:
    assert list(missing('def f(a: int, b: int) -> None:\n    """Add."""\n', "m")) == []


def test_a_class_explains_what_its_init_takes() -> None:
    source = '''
class Link:
    """A link.

    Args:
        broker: where.
    Attributes:
        base, name: both.
    """

    def __init__(self, broker: str, base: str, name: str) -> None:
        pass

    def _hidden(self, a: int, b: int, c: int) -> None:
        """Private."""
'''
    assert list(missing(source, "m")) == []
    assert list(missing(source.replace("        broker: where.\n", ""), "m")) == [
        "m.Link.__init__: broker"
    ]


def test_commands_explain_themselves_to_whoever_types_them() -> None:
    source = '''
New = Annotated[Path, typer.Argument(help="The new model.")]


def delta(new: New, old: Path, out: Path) -> None:
    """Try a delta."""
'''
    assert list(missing(source, "m")) == []
    assert list(missing(source.replace("typer.Argument", "Meta"), "m")) == [
        "m.delta: new, old, out"
    ]
