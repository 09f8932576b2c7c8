"""What the device's owner has a say in: update windows, consent, and hooks.

Asked before a download and before the switch; told after commit, roll back and refusal.
All of it is optional, and nothing here can harm the release that serves: the worst a hook can do
is to keep an update waiting, which the status says.

Hooks are executables in the hooks folder, named for the stage (`before-download`,
`before-switch`, `after-commit`, `after-rollback`, `refused`). They get SLOTCAST_* variables and
answer by exit code, in the manner of Mender's state scripts and Upparat's hooks:

| code | before a stage | after one |
|---|---|---|
| 0 | go on | noted |
| 3 | wait; asked again later | noted |
| 4 | refuse this release | noted |
| other, or too slow | wait, and report `hook_failed` | logged |

What a hook leaves running in the background is its own affair (`hooks`).

Consent is a file with the version that the user agrees to, so an old consent never lets another
release in (a version, once released, never changes).
How soon an owner who has not agreed yet is asked again is in `core.waits`.
"""

from __future__ import annotations

import logging
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.actions import Answer
from slotcast_device.core.waits import USUAL
from slotcast_device.owner.hooks import run_hook
from slotcast_device.runtime.users import is_there, this_user
from slotcast_schemas.plain_files import open_regular
from slotcast_schemas.reasons import Reason
from slotcast_schemas.update_windows import UpdateWindow, parse_windows, wait_s

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_schemas.messages import Release

_LOG: Final = logging.getLogger("slotcast.device")
_CONSENT_MAX_BYTES: Final = 4096
"""The most bytes that are read of the file by which a person agrees."""
_ENVIRONMENT_KEPT: Final = ("PATH", "HOME", "LANG", "TZ")
"""The variables of the agent's environment that hooks get; no others, for there may be secrets
among them."""


class Owner(msgspec.Struct, frozen=True):
    """The owner's wishes, from the configuration.

    Attributes:
        hooks: folder of executables; None for none.
        consent: file that says what the user agrees to; None where nobody is asked.
        state_dir: told to hooks.
        again_s: the seconds after which an owner who has not agreed yet is asked again; five times
            as long after a hook that failed.
    """

    windows: tuple[UpdateWindow, ...]
    hooks: Path | None
    hook_timeout_s: float
    consent: Path | None
    state_dir: Path
    again_s: float = USUAL.owner_again_s

    @classmethod
    def of(cls, config: DeviceConfig, again_s: float = USUAL.owner_again_s) -> Owner:
        """Read them; `again_s` as in the attributes.

        Raises:
            UsageError: a window that cannot be read.
        """
        update = config.values.update
        return cls(
            windows=parse_windows(update.windows),
            hooks=None if update.hooks is None else config.folder / update.hooks,
            hook_timeout_s=update.hook_timeout_s,
            consent=None if update.consent is None else config.folder / update.consent,
            state_dir=config.state_dir,
            again_s=again_s,
        )

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to ask."""
        return bool(self.windows) or self.hooks is not None or self.consent is not None

    def ask(self, stage: str, release: Release, now: datetime) -> Answer:
        """Ask before a stage; never raises for what a hook does.

        Args:
            stage: `before_download` or `before_switch`.
            release: what it is about.
            now: the device's local time.
        """
        closed_s = wait_s(self.windows, now)
        if closed_s > 0:
            detail = (
                f"the next update window opens in {closed_s / 60:.0f} min; by this device's clock"
                f" it is {now:%a %Y-%m-%d %H:%M}"
            )
            return Answer("wait", Reason.WINDOW, detail, again_s=min(closed_s, 3600.0))
        if not self._has_consent(release):
            detail = f"write {release.version!r} to {self.consent} to agree"
            return Answer("wait", Reason.CONSENT, detail, again_s=self.again_s)
        return self._ask_hook(stage, release)

    def tell(self, stage: str, release: Release | None) -> None:
        """Run the hook of something that happened; its answer does not matter."""
        if release is not None:
            self._ask_hook(stage, release)

    def _has_consent(self, release: Release) -> bool:
        if self.consent is None:
            return True
        try:
            with open_regular(self.consent) as file:
                words = file.read(_CONSENT_MAX_BYTES).decode(errors="replace").split()
        except OSError:
            return False
        return release.version in words

    def _ask_hook(self, stage: str, release: Release) -> Answer:
        hook = None if self.hooks is None else self.hooks / stage.replace("_", "-")
        if hook is None:
            return Answer("go")
        found = is_there(hook)
        if found is None:  # there may be one, and it may say no
            detail = f"{hook} is closed to {this_user()}; open its folder to that user"
            _LOG.error("%s", detail)
            return Answer("wait", Reason.HOOK_FAILED, detail, again_s=5 * self.again_s)
        if not found:
            return Answer("go")
        end = run_hook(hook, self._make_environment(stage, release), self.hook_timeout_s)
        match end.code:
            case 0:
                return Answer("go")
            case 3:
                return Answer(
                    "wait", Reason.HOOK, end.said or f"{hook.name} asks to wait", self.again_s
                )
            case 4:
                return Answer("refuse", Reason.HOOK_REFUSED, end.said or f"{hook.name} refused")
        got = end.problem or end.code
        detail = f"{hook}: expected exit code 0, 3 or 4, got {got}; mend the hook. {end.said}"
        _LOG.error("%s", detail)
        return Answer("wait", Reason.HOOK_FAILED, detail, again_s=5 * self.again_s)

    def _make_environment(self, stage: str, release: Release) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}
        return kept | {
            "SLOTCAST_STAGE": stage,
            "SLOTCAST_MODEL": release.model,
            "SLOTCAST_VERSION": release.version,
            "SLOTCAST_SEQUENCE": str(release.sequence),
            "SLOTCAST_SIZE_BYTES": str(release.image_size_bytes),
            "SLOTCAST_STATE_DIR": str(self.state_dir),
            "SLOTCAST_CURRENT": str(self.state_dir / "models" / release.model / "current"),
        }
