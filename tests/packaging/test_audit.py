"""The search for known vulnerabilities: what counts as one, and that no answer is no good answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts import audit
from scripts.lock import list_pins

PINS = list_pins(audit.CONSTRAINTS.read_text(encoding="utf-8"))
NAME, VERSION = PINS[0]


def write_advisory(folder: Path, **parts: object) -> Path:
    """A copy of the database with one advisory, about the first package of constraints.txt."""
    advisory = {"id": "PYSEC-1", "aliases": ["CVE-1"], "modified": "2026-01-02T03:04:05Z"} | parts
    file = folder / "vulns" / NAME / "PYSEC-1.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(advisory), encoding="utf-8")
    return folder


def affected(*events: dict[str, str], versions: tuple[str, ...] = (), kind: str = "ECOSYSTEM") -> list[dict[str, Any]]:
    return [{"ranges": [{"type": kind, "events": list(events)}], "versions": list(versions)}]


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        (affected({"introduced": "0"}), 1),
        (affected({"introduced": "0"}, {"fixed": VERSION}), 0),
        (affected({"introduced": "0"}, {"fixed": f"{VERSION}.1"}), 1),
        (affected({"introduced": "0"}, {"last_affected": VERSION}), 1),
        (affected({"introduced": f"{VERSION}.1"}), 0),
        (affected({"introduced": "0"}, {"fixed": "0.0.1"}, {"introduced": VERSION}), 1),
        (affected(versions=(VERSION,)), 1),
        (affected({"introduced": "0"}, kind="GIT"), 0),
        ([], 0),
    ],
)
def test_versions_that_an_advisory_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entries: list[dict[str, Any]], status: int
) -> None:
    folder = write_advisory(tmp_path, affected=entries)
    assert audit.main(["--advisories", str(folder)]) == status
    said = capsys.readouterr().out
    assert "1 advisories, the newest of 2026-01-02." in said
    assert (f"{NAME} {VERSION}: PYSEC-1, CVE-1" in said) == (status == 1)


def test_a_withdrawn_advisory_is_none(tmp_path: Path) -> None:
    folder = write_advisory(tmp_path, affected=affected({"introduced": "0"}), withdrawn="2026-01-03T00:00:00Z")
    assert audit.main(["--advisories", str(folder)]) == 0


def test_an_allowed_one_is_said_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ALLOWED", {"PYSEC-1": "we never call it", "PYSEC-2": "mended since"})
    folder = write_advisory(tmp_path, affected=affected({"introduced": "0"}))
    assert audit.main(["--advisories", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "(allowed: we never call it)" in said
    assert "PYSEC-2 is allowed and was not found: take it out of ALLOWED" in said


def test_a_folder_that_is_no_copy_of_the_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main(["--advisories", str(tmp_path)]) == 2
    assert "so it is no copy of the database" in capsys.readouterr().err


def test_an_index_that_tells_nothing_is_no_good_answer() -> None:
    asked = [("click", "8.5.1"), ("jinja2", "3.1.6")]
    told = {"name": "click", "version": "8.5.1", "vulns": []}
    silent = {"name": "Jinja2", "skip_reason": "Dependency not found"}
    with pytest.raises(LookupError, match=r"of 1 of 2 packages: jinja2 3\.1\.6\. They were not audited"):
        list(audit.read_report({"dependencies": [told, silent]}, asked))
    with pytest.raises(LookupError, match=r"of 2 of 2 packages: click 8\.5\.1 and others"):
        list(audit.read_report({"dependencies": []}, asked))


def test_what_the_index_tells() -> None:
    known = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.1.7"], "description": "bad"}
    report = {"dependencies": [{"name": "Jinja2", "version": "3.1.6", "vulns": [known]}]}
    found = list(audit.read_report(report, [("jinja2", "3.1.6")]))
    assert found == [("PYSEC-1", "Jinja2 3.1.6: PYSEC-1, CVE-1; mended in 3.1.7")]
    assert audit.judge(found, 1) == 1


def test_without_a_network_nothing_is_called_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where pip-audit is not installed, this is what its absence says."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert audit.main([]) == 2
    assert "Nothing was audited. Try: " in capsys.readouterr().err
