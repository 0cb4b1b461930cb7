"""Look for known vulnerabilities of what constraints.txt names: ``python scripts/audit.py [--advisories FOLDER]``.

pip-audit asks the package index for those of each version. An index that is a copy often has none to give, and then
pip-audit finds nothing and ends well; here that is a failure. Without such an index a folder will do: a copy of the
database that the index has them from (https://github.com/pypa/advisory-database).

The exit status is 0 where there are none, 1 where there are some, and 2 where nobody could be asked.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from scripts.lock import list_pins, normal  # noqa: E402

CONSTRAINTS = REPOSITORY / "constraints.txt"
# Vulnerabilities that are known and cannot be mended: their id, and why they do no harm here.
ALLOWED: dict[str, str] = {}

_ASK_ELSEWHERE = (
    "Try: make audit with an index that has them, as PyPI has, or with a copy of the database: git clone "
    "https://github.com/pypa/advisory-database, then make audit ADVISORIES=advisory-database"
)


def main(arguments: Sequence[str]) -> int:
    """Look, and say what there is; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--advisories", type=Path, metavar="FOLDER", help="a copy of the database, instead of the index"
    )
    advisories = parser.parse_args(arguments).advisories
    pins = list_pins(CONSTRAINTS.read_text(encoding="utf-8"))
    try:
        found = look_up(pins, advisories) if advisories is not None else ask_index(pins)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2
    return judge(found, len(pins))


def judge(found: Sequence[tuple[str, str]], packages: int) -> int:
    """Say what was found, each with its id; the exit status."""
    bad = [text for name, text in found if name not in ALLOWED]
    for name, text in found:
        print(f"{text}{f' (allowed: {ALLOWED[name]})' if name in ALLOWED else ''}")
    for name in ALLOWED.keys() - {name for name, _ in found}:
        print(f"{name} is allowed and was not found: take it out of ALLOWED")
    if bad:
        print(
            f"Known vulnerabilities: {len(bad)}. Raise the versions in constraints.txt, then make lock.",
            file=sys.stderr,
        )
        return 1
    print(f"No known vulnerabilities in {packages} packages{', but for the allowed ones' if found else ''}.")
    return 0


def ask_index(pins: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The vulnerabilities that the package index knows: the id of each, and a line about it.

    Raises:
        LookupError: it cannot be reached, or does not tell of each package.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise LookupError(f"pip-audit got no answer: {last[0]}\nNothing was audited. {_ASK_ELSEWHERE}") from None
    return list(read_report(report, pins))


def read_report(report: dict[str, Any], pins: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The vulnerabilities in what pip-audit wrote.

    Raises:
        LookupError: it has nothing about some of the packages.
    """
    told = {normal(entry["name"]) for entry in report["dependencies"] if "vulns" in entry}
    silent = [f"{name} {version}" for name, version in pins if name not in told]
    if silent:
        raise LookupError(
            f"the index says nothing about vulnerabilities of {len(silent)} of {len(pins)} packages: {silent[0]}"
            f"{' and others' if len(silent) > 1 else ''}. They were not audited. {_ASK_ELSEWHERE}"
        )
    for entry in report["dependencies"]:
        for each in entry["vulns"]:
            mended = ", ".join(each["fix_versions"]) or "no version"
            names = ", ".join([each["id"], *each["aliases"]])
            yield each["id"], f"{entry['name']} {entry['version']}: {names}; mended in {mended}"


def look_up(pins: Sequence[tuple[str, str]], folder: Path) -> list[tuple[str, str]]:
    """The vulnerabilities in a copy of the database: the id of each, and a line about it.

    Raises:
        LookupError: the folder is no such copy.
    """
    import yaml

    files = sorted(folder.glob("vulns/*/*.yaml"))
    if not files:
        raise LookupError(f"{folder} has no vulns/PACKAGE/ID.yaml, so it is no copy of the database. {_ASK_ELSEWHERE}")
    versions = dict(pins)
    found, newest = [], ""
    for file in files:
        text = file.read_text(encoding="utf-8")
        newest = max([newest, *re.findall(r"^modified: '?\"?([\d-]{10})", text, flags=re.MULTILINE)])
        version = versions.get(normal(file.parent.name))
        if version is None:
            continue
        advisory = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if "withdrawn" not in advisory and any(is_affected(version, entry) for entry in advisory["affected"]):
            names = ", ".join([advisory["id"], *advisory.get("aliases", ())])
            found.append((advisory["id"], f"{file.parent.name} {version}: {names}"))
    print(f"{len(files)} advisories, the newest of {newest or 'an unknown day'}.")
    return found


def is_affected(version: str, entry: dict[str, Any]) -> bool:
    """Whether a version is one of those that an advisory names, one by one or as a range (https://ossf.github.io/osv-schema)."""
    from packaging.version import Version

    asked = Version(version)
    if version in entry.get("versions", ()):
        return True
    for each in entry.get("ranges", ()):
        if each["type"] != "ECOSYSTEM":
            continue
        affected = False
        for event in each["events"]:
            if "introduced" in event and asked >= Version(str(event["introduced"])):
                affected = True
            if "fixed" in event and asked >= Version(str(event["fixed"])):
                affected = False
            if "last_affected" in event and asked > Version(str(event["last_affected"])):
                affected = False
        if affected:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
