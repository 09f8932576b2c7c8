"""JSON Schema of every message, generated from the types, for clients in other languages.

`python -m slotcast_schemas.jsonschema DIR` writes them, with `--check` it says whether the files
in DIR are in step. In these schemas a msgpack `bin` appears as a base64 string
(`contentEncoding`), because JSON has no bytes.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from slotcast_schemas.messages import ALL
from slotcast_schemas.wire import Message


def schema_of(kind: type[Message]) -> str:
    """Give one message's JSON Schema as text, the same at every run and under every Python."""
    schema = normalized(msgspec.json.schema(kind))
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    text = json.dumps(schema, indent=1, sort_keys=True)
    return text.replace("\\\\Z", "$").replace("\\Z", "$") + "\n"


def normalized(schema: Any) -> Any:
    """Give the schema without what depends on the versions of Python and msgspec.

    Descriptions are docstrings, and Python keeps their indentation up to 3.12 but not from 3.13 on.
    msgspec 0.19 names the alternatives of a field in another order than 0.22.
    """
    if isinstance(schema, list):
        return [normalized(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: normalized(value) for key, value in schema.items()}
    if isinstance(result.get("description"), str):
        result["description"] = inspect.cleandoc(result["description"])
    if isinstance(result.get("anyOf"), list):
        result["anyOf"].sort(key=json.dumps)
    return result


def files() -> dict[str, str]:
    """Give file name to content for every message."""
    return {f"{kind.KIND}.json": schema_of(kind) for kind in ALL}


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them; 1 if any is out of step."""
    check = "--check" in arguments
    folder = Path(next(a for a in arguments if not a.startswith("-")))
    stale = []
    for name, text in files().items():
        path = folder / name
        if check:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    for name in stale:
        write = f"python -m slotcast_schemas.jsonschema {folder}"
        sys.stderr.write(f"{folder / name} is out of step; run `{write}`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
