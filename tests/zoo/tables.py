"""Writes docs/models.md: which models of other people were tried, and what became of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from tests.zoo.damage import DAMAGES
from tests.zoo.install import Journey
from tests.zoo.listing import ZooModel
from tests.zoo.nodes import NodeReason, NodeResult, counts, read_reasons

PAGE: Final = Path(__file__).parents[2] / "docs" / "models.md"


def write(
    models: Sequence[ZooModel],
    journeys: Mapping[str, Journey],
    results: Mapping[str, NodeResult],
) -> None:
    """Write the tables of that of which anything was found.

    Args:
        models: the list.
        journeys: what became of each, by name.
        results: what became of each node test, by name.
    """
    if journeys:
        _put("models", models_table(models, journeys))
    if results:
        _put("node tests", nodes_table(results.values(), read_reasons()))


def line_of(found: Journey) -> str:
    """Give one line for a terminal."""
    verdicts = ", ".join(f"{what}: {reason}" for what, reason in found.damaged.items())
    text = f"{'FAIL' if found.problems else 'ok  '} {found.name} {found.took_s:.0f} s {found.state}"
    return "; ".join([text, verdicts, *found.problems])


def models_table(models: Sequence[ZooModel], journeys: Mapping[str, Journey]) -> str:
    """Give the table of models, by package."""
    heads = ("package", "file", "size", "sent", "accepted with", *DAMAGES)
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for package, group in groupby(models, lambda model: f"{model.package} {model.version}"):
        for at, model in enumerate(group):
            lines.append(_row("" if at else package, model, journeys.get(model.name)))
    tried = [model for model in models if model.name in journeys]
    accepted = [model for model in tried if not journeys[model.name].problems]
    unseen = sum(journeys[model.name].is_told for model in accepted)
    of_these = f"; of {unseen} the release says that made inputs show no damage" if unseen else ""
    head = (
        f"Of {len(tried)} files, {len(accepted)} were accepted by a device and committed,"
        f" {sum(not model.options for model in accepted)} of them with no option, and their damaged"
        f" copies refused{of_these}."
    )
    return "\n".join([head, "", *lines])


def _row(package: str, model: ZooModel, found: Journey | None) -> str:
    if found is None:
        return f"| {package} | `{model.short}` | | | not tried | | |"
    options = f"`{' '.join(model.options)}`" if model.options else "no option"
    cells = [
        package,
        f"`{model.short}`",
        f"{found.size_bytes / 1e6:.2f} MB",
        f"{found.payload_bytes / 1e6:.2f} MB",
        f"**not accepted**: {found.problems[0]:.120}" if found.problems else options,
        *(_word(model, found, what) for what in DAMAGES),
    ]
    return f"| {' | '.join(cells)} |"


def _word(model: ZooModel, found: Journey, what: str) -> str:
    if model.owners_command:
        return "its owner's command says"
    reason = found.damaged.get(what, "")
    if reason == "passed" and found.is_told:
        return "not seen, as the release says"
    return f"`{reason}`" if reason else "not tried"


def nodes_table(results: Iterable[NodeResult], reasons: Sequence[NodeReason]) -> str:
    """Give how many node tests came to what, and the reasons of those that are refused."""
    found = counts(results)
    words = {
        "accepted": "released and accepted by the device's probe, with the test's own samples",
        "not_loaded": "not loaded by this onnxruntime, and refused by the release for it",
        "refused_by_release": "refused by the release, for a reason below",
        "refused_by_device": "released, and refused by the device",
        "unnoticed": "not loaded by this onnxruntime, and released all the same",
    }
    lines = ["| node tests | |", "|---|---|"]
    lines += [f"| {found.get(outcome, 0):,} | {text} |" for outcome, text in words.items()]
    lines += ["", "| refused | why |", "|---|---|"]
    lines += [
        f"| `{reason.tests.replace('|', chr(92) + '|')}` | {reason.why} |" for reason in reasons
    ]
    return "\n".join(lines)


def _put(part: str, text: str) -> None:
    begin, end = f"<!-- {part}: written by `make zoo` -->", f"<!-- end of {part} -->"
    before, rest = PAGE.read_text().split(begin)
    after = rest.split(end)[1]
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
