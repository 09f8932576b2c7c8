"""The public bundles of OpenSSF's model-signing in `tests/assets/oms`, and who must judge them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.supply.check import Checked, check_signed_model
from slotcast_publisher.supply.policy import read_policy
from tests.support.model_signing import NOW_S

OMS = Path(__file__).parents[1] / "assets/oms"
IDENTITY = "stefanb@us.ibm.com"
ISSUER = "https://sigstore.verify.ibm.com/oauth2"
SIGNER_RULES = {
    "key": 'key = "signing-key-pub.pem"',
    "certificate": 'roots = ["ca-cert.pem"]\nname = "intermediate-ca"',
    "sigstore": (
        f'identity = "{IDENTITY}"\nissuer = "{ISSUER}"\ntrusted_root = "sigstore-trusted-root.json"'
    ),
}
"""Whom a policy must allow for a bundle of each kind."""


def require_sigstore() -> None:
    """Skip the test where Sigstore's library is not there, or not with these packages."""
    try:
        import sigstore.verify  # noqa: F401
    except ImportError:
        pytest.skip("Sigstore's library is not installed")


class Given:
    """A copy of a public bundle and its model, which a test may change, and a policy.

    Args:
        tmp_path: of the test.
        name: of the bundle's folder.
        kind: whom the policy allows.
    """

    def __init__(self, tmp_path: Path, name: str, kind: str) -> None:
        if kind == "sigstore":
            require_sigstore()
        self.keys = tmp_path / "keys"
        shutil.copytree(OMS / "keys", self.keys)
        self.model = tmp_path / "model"
        shutil.copytree(OMS / name, self.model)
        self.bundle = (self.model / "model.sig").read_bytes()
        (self.model / "model.sig").unlink()
        self.allow(SIGNER_RULES[kind])

    def allow(self, rule: str) -> None:
        """Write the policy."""
        text = f'format = 1\n[[allow]]\nmodels = ["*"]\n{rule}\n'
        (self.keys / "policy.toml").write_text(text)

    def files(self) -> dict[str, Path]:
        """The model's files, by name; the one that its signer left out is not given."""
        found = (p for p in self.model.rglob("*") if p.is_file() and p.name != "ignore-me")
        return {str(p.relative_to(self.model)): p for p in sorted(found)}

    def change(self, *path: str, to: Any) -> None:
        """Set a field of the bundle; None takes it away."""
        found: Any = json.loads(self.bundle)
        at = parent = found
        key: int | str = ""
        for name in path:
            key = int(name) if isinstance(at, list) else name
            parent, at = at, at[key]
        if to is None:
            del parent[key]
        else:
            parent[key] = to
        self.bundle = json.dumps(found).encode()

    def check(self) -> Checked:
        """Judge it, as `slotcast release --oms` does."""
        policy = read_policy(self.keys / "policy.toml")
        return check_signed_model(self.bundle, policy, "clf", self.files(), NOW_S)
