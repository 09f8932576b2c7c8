"""The drawing in the docs is the table in the code."""

from pathlib import Path

from slotcast_device.core.state_table import diagram

DOCUMENT = Path(__file__).parents[3] / "docs" / "states.md"


def test_the_document_draws_the_table_that_the_code_obeys() -> None:
    drawn = DOCUMENT.read_text().split("```mermaid\n")[1].split("```")[0]
    assert drawn == diagram(), (
        "run `python -m slotcast_device.core.state_table` into docs/states.md"
    )
