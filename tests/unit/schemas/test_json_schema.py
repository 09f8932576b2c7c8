"""The JSON Schemas say what crosses the wire, to whoever has nothing of ours.

The messages are decoded with nothing but `msgpack` and judged by the independent `jsonschema`
package; bytes become base64, as the schemas have it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slotcast_schemas import jsonschema as generator
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import ALL
from slotcast_schemas.wire import Message, decode, encode
from tests.support.messages import EXAMPLES, instances

if TYPE_CHECKING:
    import jsonschema

FOLDER = Path(__file__).parents[3] / "schemas" / "json"
KINDS = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.KIND)


def validator(kind: type[Message]) -> jsonschema.Draft202012Validator:
    import jsonschema  # a second of work, and each worker imports all files of tests

    schema = json.loads((FOLDER / f"{kind.KIND}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def as_json(value: Any) -> Any:
    """Give what JSON can hold of what msgpack holds: bytes as base64."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {key: as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_json(inner) for inner in value]
    return value


def fields_of(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = msgpack.unpackb(encode(message), raw=False)
    return fields


def test_the_files_are_in_step_with_the_types() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == generator.files()


def test_a_file_out_of_step_is_noticed(tmp_path: Path) -> None:
    assert generator.main([str(tmp_path)]) == 0
    assert generator.main(["--check", str(tmp_path)]) == 0
    (tmp_path / "want.json").write_text("{}")
    assert generator.main(["--check", str(tmp_path)]) == 1


def test_a_description_has_no_indentation_whether_or_not_python_left_it_there() -> None:
    indented = {"$defs": {"A": {"description": "One.\n\n    Two:\n        three.\n    "}}}
    dropped_by_python = {"$defs": {"A": {"description": "One.\n\nTwo:\n    three.\n"}}}
    clean = {"$defs": {"A": {"description": "One.\n\nTwo:\n    three."}}}
    assert generator.normalized(indented) == clean
    assert generator.normalized(dropped_by_python) == clean


def test_alternatives_stand_in_one_order_however_they_were_named() -> None:
    one, other = {"$ref": "#/$defs/A"}, {"type": "null"}
    for order in ([one, other], [other, one]):
        schema = {"properties": {"a": {"anyOf": order}}}
        assert generator.normalized(schema) == {"properties": {"a": {"anyOf": [one, other]}}}


@KINDS
def test_the_example_of_every_message_fits_its_schema(kind: type[Message]) -> None:
    validator(kind).validate(as_json(fields_of(EXAMPLES[kind])))


@KINDS
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_message_fits_its_schema(kind: type[Message], data: st.DataObject) -> None:
    validator(kind).validate(as_json(fields_of(data.draw(instances(kind)))))


@KINDS
def test_what_the_schema_refuses_is_refused_by_us(kind: type[Message]) -> None:
    """And it does refuse: each field in turn given a value of a type that it does not have."""
    judge = validator(kind)
    odd_values: list[object] = [{"a": {"b": []}}, -1, "\n", [[7]], None]
    refused = 0
    for name in fields_of(EXAMPLES[kind]):
        for odd in odd_values:
            fields = {**fields_of(EXAMPLES[kind]), name: odd}
            if judge.is_valid(as_json(fields)):
                continue
            refused += 1
            with pytest.raises(RefusedRelease):
                decode(msgpack.packb(fields), kind)
    assert refused >= 3 * len(fields_of(EXAMPLES[kind]))
