"""What releases do over all devices, together and over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from litestar import get
from litestar.params import QueryParameter

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import fleet_figures
from slotcast_publisher.fleet.database.device_json import iso
from slotcast_publisher.fleet.database.fleet_figures import HourSum, ReleaseSum
from slotcast_publisher.fleet.figures.histograms import Histogram
from slotcast_publisher.fleet.web.api.device_types import FigurePoint, FigureSeries, FiguresView
from slotcast_publisher.fleet.web.api.parts import Name, Shared
from slotcast_publisher.fleet.web.api.types import FiguresList
from slotcast_publisher.fleet.web.guards import needs

_SEE: Final = needs(Permission.SEE)
_HOURS_MAX: Final = 90 * 24
"""The most hours that a query may look back: 90 days."""


@get("/figures", opt=_SEE, sync_to_thread=True, summary="What releases do", tags=["figures"])
def _figures(
    counting: Shared, model: Annotated[str | None, QueryParameter(max_length=128)] = None
) -> FiguresList:
    """Give the figures of releases over all devices."""
    found = [each for each in counting.figures() if model is None or each.model == model]
    return FiguresList(figures=tuple(map(figures_view, found)))


@get(
    "/figures/{model:str}/hours",
    opt=_SEE,
    sync_to_thread=True,
    summary="What a model's releases do over time",
    tags=["figures"],
)
def _hours(
    counting: Shared,
    model: Name,
    hours: Annotated[int, QueryParameter(ge=1, le=_HOURS_MAX, description="How far back.")] = 168,
) -> FigureSeries:
    """Give the figures of a model over all devices, an hour a point."""

    def make() -> FigureSeries:
        since_s = int(counting.now_s()) - hours * 3600
        with counting.database.reading() as connection:
            found = fleet_figures.hours_of_model(connection, model, since_s)
        named = {each.sequence: each.version for each in counting.figures() if each.model == model}
        return FigureSeries(model=model, device=None, points=points_of(found, named))

    return counting.answers.get(("hours", model, hours), make, for_s=10.0)


def figures_view(found: ReleaseSum) -> FiguresView:
    """Give a release's figures as the API shows them."""
    figures = found.figures
    return FiguresView(
        model=found.model,
        version=found.version,
        sequence=found.sequence,
        last_at=iso(found.last_s),
        requests=figures.requests,
        errors=figures.errors,
        nonfinite=figures.nonfinite,
        latency_p50_s=_quantile_s(figures.latency, 0.5),
        latency_p95_s=_quantile_s(figures.latency, 0.95),
        memory_bytes=figures.memory_bytes,
        load_s=figures.load_s,
        output_mean=figures.output_mean,
        output_std=figures.output_std,
    )


def points_of(hours: Iterable[HourSum], named: Mapping[int, str]) -> tuple[FigurePoint, ...]:
    """Give hours as the API shows them.

    Args:
        hours: by time.
        named: versions by sequence.
    """
    return tuple(
        FigurePoint(
            at=iso(each.hour_s),
            version=named.get(each.sequence, ""),
            sequence=each.sequence,
            requests=each.figures.requests,
            errors=each.figures.errors,
            nonfinite=each.figures.nonfinite,
            latency_p50_s=_quantile_s(each.figures.latency, 0.5),
            latency_p95_s=_quantile_s(each.figures.latency, 0.95),
            memory_bytes=each.figures.memory_bytes,
        )
        for each in hours
    )


def _quantile_s(latency: Histogram, share: float) -> float | None:
    found = latency.quantile(share)
    return None if found is None else found.value_s


ROUTES: Final = [_figures, _hours]
"""What this module answers."""
