"""Models and their releases: what the repository holds, and what runs where."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from litestar import MediaType, get

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database import fleet_counts
from slotcast_publisher.fleet.rollout.starting_plan import starting_plan
from slotcast_publisher.fleet.web.api.counting import Counting
from slotcast_publisher.fleet.web.api.figures import figures_view
from slotcast_publisher.fleet.web.api.parts import ModelName, Shared, Version
from slotcast_publisher.fleet.web.api.types import (
    FileOfRelease,
    ModelList,
    ModelSummary,
    PayloadView,
    ReleaseDetail,
    ReleaseList,
    ReleaseView,
    StateCount,
    VersionCount,
)
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import needs
from slotcast_publisher.store import PayloadRecord, ReleaseFolder

REPOSITORY_S: Final = 5.0
"""The seconds for which what lies in the repository is shared: each look reads its files."""
_SEE: Final = needs(Permission.SEE)


@get("/models", opt=_SEE, sync_to_thread=True, summary="Models", tags=["models"])
def _models(context: Context, counting: Shared) -> ModelList:
    """List models."""
    return ModelList(models=tuple(_summaries(context, counting).values()))


@get("/models/{model:str}", opt=_SEE, sync_to_thread=True, summary="A model", tags=["models"])
def _model(context: Context, counting: Shared, model: ModelName) -> ModelSummary:
    """Give one model."""
    return _known(context, counting, model)


@get(
    "/models/{model:str}/releases",
    opt=_SEE,
    sync_to_thread=True,
    summary="A model's releases",
    tags=["releases"],
)
def _releases(context: Context, counting: Shared, model: ModelName) -> ReleaseList:
    """List a model's releases."""
    _known(context, counting, model)
    return ReleaseList(releases=_views(context, counting, model))


@get(
    "/models/{model:str}/releases/{version:str}",
    opt=_SEE,
    sync_to_thread=True,
    summary="A release",
    tags=["releases"],
)
def _release(
    context: Context, counting: Shared, model: ModelName, version: Version
) -> ReleaseDetail:
    """Give one release with its files, its payloads and its figures."""
    _known(context, counting, model)
    folder = release_folder(context, model, version)
    release = folder.load()
    (view,) = [v for v in _views(context, counting, model) if v.version == version]
    figures = [
        each
        for each in counting.figures()
        if each.model == model and each.sequence == release.sequence
    ]
    with context.database.reading() as connection:
        reported = fleet_counts.devices_with_figures(connection, model)
    return ReleaseDetail(
        model=view.model,
        version=view.version,
        sequence=view.sequence,
        image_size_bytes=view.image_size_bytes,
        image_sha256=view.image_sha256,
        offered=view.offered,
        devices=view.devices,
        files=tuple(
            FileOfRelease(
                path=file.path,
                role=file.role,
                size_bytes=file.size_bytes,
                sha256=file.sha256.hex(),
            )
            for file in release.files
        ),
        payloads=tuple(map(_payload, folder.payloads())),
        figures=figures_view(figures[0]) if figures else None,
        devices_with_figures=reported.get(release.sequence, 0),
    )


@get(
    "/models/{model:str}/releases/{version:str}/plan",
    opt=_SEE,
    sync_to_thread=True,
    media_type=MediaType.TEXT,
    summary="A plan to start from",
    tags=["rollouts"],
)
def _plan(context: Context, counting: Shared, model: ModelName, version: Version) -> str:
    """Give a plan for this release, in TOML, with every key explained."""
    summary = _known(context, counting, model)
    release_folder(context, model, version)
    return starting_plan(model, version, summary.devices or None)


# --- making them ----------------------------------------------------------------------------------


def _summaries(context: WebContext, counting: Counting) -> dict[str, ModelSummary]:
    """Give every model of repository and fleet, by name."""
    versions, states = defaultdict(list), defaultdict(list)
    for v in counting.versions():
        found = VersionCount(model=v.model, version=v.version, devices=v.devices)
        versions[v.model].append(found)
    for s in counting.states():
        states[s.model].append(
            StateCount(model=s.model, state=s.state, reason=s.reason, devices=s.devices)
        )
    offers = counting.answers.get("offers", lambda: _offered(context), REPOSITORY_S)
    return {
        name: ModelSummary(
            model=name,
            offered=offers.get(name),
            devices=sum(v.devices for v in versions[name]),
            versions=tuple(versions[name]),
            states=tuple(states[name]),
        )
        for name in sorted({*offers, *versions})
    }


def _offered(context: WebContext) -> dict[str, str | None]:
    """Give for each model of the repository which version is offered; None for none."""
    repo = context.repo.again()
    found: dict[str, str | None] = {}
    for model in repo.store.models():
        offer = repo.present_offer(model)
        is_offered = offer is not None and offer.state != "canceled"
        found[model] = offer.version if offer is not None and is_offered else None
    return found


def _known(context: WebContext, counting: Counting, model: str) -> ModelSummary:
    found = _summaries(context, counting).get(model)
    if found is None:
        raise NotFound(f"no model {model!r:.80} is known")
    return found


def release_folder(context: WebContext, model: str, version: str) -> ReleaseFolder:
    """Give the folder of a release that is named from outside: only by what is listed.

    Args:
        context: of the page.
        model: as it was named.
        version: as it was named.

    Raises:
        NotFound: there is none.
    """
    store = context.repo.again().store
    if model in store.models():
        for folder in store.releases(model):
            if folder.path.name == version:
                return folder
    raise NotFound(f"no release {version!r:.80} of {model!r:.80} is here")


def _views(context: WebContext, counting: Counting, model: str) -> tuple[ReleaseView, ...]:
    def make() -> tuple[ReleaseView, ...]:
        store = context.repo.again().store
        if model not in store.models():
            return ()
        offered = _offered(context).get(model)
        devices = {v.sequence: v.devices for v in counting.versions() if v.model == model}
        return tuple(
            ReleaseView(
                model=model,
                version=folder.path.name,
                sequence=folder.load().sequence,
                image_size_bytes=folder.load().image_size_bytes,
                image_sha256=folder.load().image_sha256.hex(),
                offered=folder.path.name == offered,
                devices=devices.get(folder.load().sequence, 0),
            )
            for folder in reversed(store.releases(model))
        )

    return counting.answers.get(("releases", model), make, REPOSITORY_S)


def _payload(record: PayloadRecord) -> PayloadView:
    payload = record.payload
    return PayloadView(
        sha256=payload.sha256.hex(),
        codec=payload.codec,
        size_bytes=payload.size_bytes,
        base_sequence=None if payload.base is None else payload.base.sequence,
        saved_share=record.saved_share,
    )


ROUTES: Final = [_models, _model, _releases, _release, _plan]
"""What this module answers."""
