"""The script of a simulation: what it may say, and what is said to its author where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from slotcast_publisher.fleet.simulate.application import figures_of
from slotcast_publisher.fleet.simulate.script import Script, parse_script, read_script
from slotcast_schemas.describe import keys_of
from slotcast_schemas.errors import UsageError

DOCUMENT = Path(__file__).parents[5] / "docs" / "simulate.md"


def script(text: str) -> Script:
    return parse_script(text.encode(), "script.toml")


def test_every_key_has_a_meaning() -> None:
    keys = keys_of(Script)
    assert len(keys) > 35
    assert all(key.meaning.endswith((".", "`.")) for key in keys)


def test_the_script_of_the_document_is_one() -> None:
    text = DOCUMENT.read_text().split("```toml\n")[1].split("```")[0]
    found = script(text)
    assert (len(found.releases), len(found.faults)) == (1, 2)
    assert found.releases[0].latency_factor == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[aplication]", "aplication"),
        ("[[faults]]\nkind = 'explodes'", "kind"),
        ("[[faults]]\nshare = 0.1", "kind"),
        ("[[releases]]\nshare = 1.5", "share"),
        ("[[releases]]\nlatency_factor = 0", "latency_factor"),
        ("[application]\nlatency_s = nan", "latency_s"),
        ("[application]\nlatency_s = 'quick'", "latency_s"),
        ("[[faults]]\nkind = 'dies'\nevery_s = 0.001", "every_s"),
        ("not toml", "not TOML"),
        ("format = 2", "format"),
    ],
)
def test_a_wrong_script_is_refused_with_the_key(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        script(text)


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_script(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(UsageError, match="at most"):
        read_script(tmp_path / "large.toml")


def test_factors_are_multiplied_and_of_shares_the_last_counts() -> None:
    found = script(
        """
        [application]
        latency_s = 0.01
        error_share = 0.5
        [[releases]]
        latency_factor = 2
        error_share = 0.1
        [[releases]]
        latency_factor = 3
        after_s = 10
        error_share = 0.2
        """
    )
    early = figures_of(found.application, found.releases, 9.0)
    late = figures_of(found.application, found.releases, 10.0)
    assert (early.error_share, late.error_share) == (0.1, 0.2)
    assert early.latency_s == pytest.approx(0.02)
    assert late.latency_s == pytest.approx(0.06)


def test_a_rule_is_about_the_releases_that_its_patterns_match() -> None:
    rule = script('[[releases]]\nmodels = ["det*"]\nversions = ["2.*", "3.0"]').releases[0]
    about = [
        (model, version)
        for model in ("detector", "reader")
        for version in ("1.0", "2.0", "2.10", "3.0", "3.0.1")
        if rule.is_about(model, version)
    ]
    assert about == [("detector", "2.0"), ("detector", "2.10"), ("detector", "3.0")]
