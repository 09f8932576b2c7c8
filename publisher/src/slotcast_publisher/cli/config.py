"""`slotcast config` and `slotcast limits`: every setting and limit, with what it means."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
import typer

from slotcast_publisher import settings as settings_file
from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.errors import NotFound
from slotcast_publisher.release import chosen_limits
from slotcast_publisher.settings import Settings
from slotcast_schemas.describe import NONE, Key, keys_of
from slotcast_schemas.redact import hide_passwords

Name = Annotated[
    str,
    typer.Argument(metavar="KEY", help="Such as expiry.timestamp_days or brokers[0].url."),
]


_WEBHOOK: Final = "alarms.webhook.url"
"""The setting whose path lets whoever knows it post, as chats' addresses do."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    config = typer.Typer(
        help="The repository's settings (slotcast.toml).",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    config.command("list")(_list)
    config.command("get")(_get)
    config.command("set")(_set)
    config.command("unset")(_unset)
    app.add_typer(config, name="config")
    app.command("limits")(_limits)


def _list(repo: Repo, json: Json = False) -> None:
    """Show every setting: its value, what it may be and what it means; no passwords."""
    rows = list(_rows(settings_file.load(repo)))
    lines = []
    for name, value, key in rows:
        unit = f"{key.unit}: " if key.unit else ""
        lines += [
            f"{name} = {_shown(_without_secrets(name, value))}",
            f"    {key.meaning} ({unit}{key.values})",
        ]
    emit(json, {"settings": [_fields(*row) for row in rows]}, lines)


def _get(repo: Repo, key: Name, json: Json = False) -> None:
    """Print one setting; of an address, without its password."""
    wanted = key.replace("[", ".").replace("]", "")
    settings = settings_file.load(repo)
    for row in _rows(settings):
        if row[0].replace("[", ".").replace("]", "") == wanted:
            emit(json, _fields(*row), [_shown(_without_secrets(row[0], row[1]))])
            return
    hint = settings_file.broker_hint(key, len(settings.brokers))
    raise NotFound(hint or f"no setting {key!r:.80}; `slotcast config list {repo}` shows all")


def _set(
    repo: Repo,
    key: Name,
    value: Annotated[str, typer.Argument(help="The new value.")],
    json: Json = False,
) -> None:
    """Change one setting; comments and all else in the file stay."""
    settings_file.change(repo, key, value)
    _get(repo, key, json)


def _unset(repo: Repo, key: Name, json: Json = False) -> None:
    """Take one setting away, so that its default counts; brokers[1] takes a broker away."""
    settings_file.change(repo, key, None)
    emit(json, {"key": key}, [f"{key} is no longer set"])


def _rows(settings: Settings) -> list[tuple[str, Any, Key]]:
    """Give each setting's name, value and description; a broker's once for each broker."""
    fields = msgspec.to_builtins(settings)
    rows = []
    for key in keys_of(Settings):
        table, many, name = key.name.partition("[].")
        if many:
            rows += [
                (f"{table}[{i}].{name}", item[name], key) for i, item in enumerate(fields[table])
            ]
        else:
            value: Any = fields
            for step in key.name.split("."):
                value = value[step]
            rows.append((key.name, value, key))
    return rows


def _without_secrets(name: str, value: object) -> object:
    """Give a setting's value for people; of where alarms are posted, the host alone."""
    if name == _WEBHOOK and isinstance(value, str):
        return _host_alone(value)
    return hide_passwords(value) if isinstance(value, str) else value


def _host_alone(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def _shown(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or NONE
    return hide_passwords(f"{value:g}" if isinstance(value, float) else str(value))


def _fields(name: str, value: object, key: Key) -> dict[str, Any]:
    return {
        "key": name,
        "value": _without_secrets(name, value),
        "default": key.default,
        "values": key.values,
        "unit": key.unit,
        "meaning": key.meaning,
    }


def _limits(json: Json = False) -> None:
    """Print every limit of probe and trial, as a file for `slotcast release --settings`."""
    if json:
        rows = [
            {**_fields(key.name, None, key), "default": chosen_limits.default_in_words(key)}
            for key in chosen_limits.limit_keys()
        ]
        for row in rows:
            del row["value"]
        emit(True, {"limits": rows}, [])
        return
    sys.stdout.write(chosen_limits.example())
