"""Gives a command one option for each limit of probe and trial (`release.chosen_limits`).

typer makes options of a function's parameters. The parameters made here stand in the place of the
function's own `limits`, which gets what was chosen of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from slotcast_publisher.release.chosen_limits import (
    ChosenLimits,
    choose,
    default_in_words,
    limit_keys,
)
from slotcast_schemas.describe import Key

_PLACE: Final = "limits"
_SHORT_TABLE: Final = "probe."
"""The table whose limits are also options by their bare names: `--rtol`, `--allow-nonfinite`."""

_SHORTER: Final = {
    "trial.duration_s": "--trial-s",
    "trial.min_requests": "--min-requests",
    "trial.max_error_share": "--max-error-share",
    "runtime.onnxruntime": "--runtime",
    "runtime.compiled": "--allow-compiled",
}
"""Names that these options have as well."""

NO_LIMITS: Final = ChosenLimits()
"""The default of the parameter that the options stand for."""


def option_of(name: str) -> str:
    """Give the option of a limit: `--trial-max-error-share` of `trial.max_error_share`."""
    return f"--{name.replace('.', '-').replace('_', '-')}"


def with_limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command with an option for every limit, in the place of its parameter `limits`."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        limits = NO_LIMITS
        for key in limit_keys():
            value = options.pop(_parameter(key))
            if value is not None:
                table, _, name = key.name.partition(".")
                limits = choose({table: {name: value}}, option_of(key.name)).over(limits)
        command(**options, limits=limits)

    own = inspect.signature(command, eval_str=True).parameters.values()
    made = [
        inspect.Parameter(
            _parameter(key), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(key)
        )
        for key in limit_keys()
    ]
    kept = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own if one.name != _PLACE]
    run.__signature__ = inspect.Signature([*kept, *made])  # type: ignore[attr-defined] # PEP 362
    run.__annotations__ = {one.name: one.annotation for one in (*kept, *made)}
    return run


def _short(name: str) -> list[str]:
    """Give the shorter names of a limit's option; what probe and trial share is the probe's."""
    if name in _SHORTER:
        return [_SHORTER[name]]
    if name.startswith(_SHORT_TABLE):
        return [option_of(name.removeprefix(_SHORT_TABLE))]
    return []


def _parameter(key: Key) -> str:
    return f"limit_{key.name.replace('.', '_')}"


def _option(key: Key) -> Any:
    name = option_of(key.name)
    unit = f", {key.unit}" if key.unit else ""
    text = f"{key.meaning.replace('`', '')} [{default_in_words(key)}{unit}]"
    short = _short(key.name)
    if key.is_flag:
        flags = [f"{one}/--no-{one[2:]}" for one in (name, *short)]
        return Annotated[bool | None, typer.Option(*flags, help=text)]
    names = [name, *short]
    return Annotated[
        str | None, typer.Option(*names, help=text, metavar=key.name.rpartition(".")[2].upper())
    ]
