"""Write what an extra brings along as a bill of materials in CycloneDX's JSON, for a release.

It is made of an environment in which the wheel is installed with the extra: the packages with their versions, licences
and what each needs. The sha256 of their files come from the stage's lock, and the embedded model is named as a part of
the package itself. There is neither time nor random number in it, so two of one environment have the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from scripts.lock import LEFT_OUT, normal

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = REPOSITORY / "models" / "edgepipe_models" / "default"


def write_bill(python: Path, extra: str, lock: Path, bill: Path) -> None:
    """Write the bill of materials of an environment.

    Args:
        python: The environment's interpreter.
        extra: With which the wheel was installed in it.
        lock: The lock with the hashes of its packages.
        bill: The file to write.

    Raises:
        SystemExit: a package is not in the lock, a path of this machine would be published, or the bill does not fit
            CycloneDX's schema.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(REPOSITORY / "pyproject.toml")]
    command += ["--mc-type", "library", "--output-reproducible", "--spec-version", "1.6", str(python)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr}")
    content = complete(json.loads(done.stdout), list_direct(extra), read_hashes(lock.read_text(encoding="utf-8")))
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if "file:" in text or str(REPOSITORY) in text:
        sys.exit(f"{bill.name} would publish a path of this machine")
    validate(text)
    bill.write_text(text, encoding="utf-8")


def list_direct(extra: str) -> set[str]:
    """The names of what the package itself asks for, with an extra that is made of no others."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = [*project["dependencies"], *project["optional-dependencies"][extra]]
    return {normal(re.split(r"[\[<>=!~ ;]", entry)[0]) for entry in entries}


def complete(bill: dict[str, Any], direct: set[str], hashes: dict[tuple[str, str], list[str]]) -> dict[str, Any]:
    """A bill without what the environment has of itself, with hashes and the embedded model.

    Args:
        bill: As cyclonedx-py writes it.
        direct: What the package itself needs; cyclonedx-py adds what its other extras name, if it is there.
        hashes: Those of each name and version.

    Raises:
        SystemExit: a package is not in the lock.
    """
    root = bill["metadata"]["component"]
    root["purl"] = f"pkg:pypi/{root['name']}@{root['version']}"
    # Where it was installed from: a file of this machine.
    root.pop("externalReferences", None)
    root["components"] = [describe_model()]
    names = {entry["bom-ref"]: normal(entry["name"]) for entry in bill["components"]}
    for entry in bill["dependencies"]:
        # pip is the environment's own, and only extras name it.
        allowed = direct if entry["ref"] == root["bom-ref"] else {*names.values()} - {"pip"}
        if "dependsOn" in entry:
            entry["dependsOn"] = [need for need in entry["dependsOn"] if names[need] in allowed]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in bill["dependencies"]}
    reached, waiting = {root["bom-ref"]}, [root["bom-ref"]]
    while waiting:
        new = set(needs.get(waiting.pop(), ())) - reached
        reached |= new
        waiting += new
    bill["components"] = [entry for entry in bill["components"] if entry["bom-ref"] in reached]
    bill["dependencies"] = [entry for entry in bill["dependencies"] if entry["ref"] in reached]
    for entry in bill["components"]:
        name, version = normal(entry["name"]), entry["version"]
        if (name, version) in hashes:
            files = [{"alg": "SHA-256", "content": digest} for digest in hashes[name, version]]
            told = {
                "type": "distribution",
                "url": entry["purl"],
                "comment": "its files, one hash each",
                "hashes": files,
            }
            entry["externalReferences"] = [*entry.get("externalReferences", ()), told]
        elif not LEFT_OUT.fullmatch(name):
            sys.exit(f"{name} {version} is not in the lock of its stage. Try: make lock")
    return bill


def describe_model() -> dict[str, Any]:
    """The embedded model as a component: its files' sha256, as its manifest has them."""
    manifest = json.loads((MODEL / "edgepipe.json").read_text(encoding="utf-8"))
    files = [*manifest["files"], *(file for variant in manifest["variants"].values() for file in variant["files"])]
    return {
        "type": "machine-learning-model",
        "bom-ref": "embedded-model",
        "name": f"edgepipe_models/{MODEL.name}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "components": [
            {
                "type": "file",
                "bom-ref": f"embedded-model/{file['path']}",
                "name": file["path"],
                "hashes": [{"alg": "SHA-256", "content": file["sha256"]}],
            }
            for file in files
        ],
    }


def validate(text: str) -> None:
    """Compare a bill with CycloneDX's schema.

    Raises:
        SystemExit: it does not fit.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        sys.exit(f"the bill of materials does not fit CycloneDX's schema: {fault}")


def read_hashes(lock: str) -> dict[tuple[str, str], list[str]]:
    """Name and version of each package of a lock -> the sha256 of its files."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in re.split(r"^(?=[^\s#])", lock, flags=re.MULTILINE):
        if pin := re.match(r"([\w.-]+)==([^\s;]+)", entry):
            found.setdefault((normal(pin[1]), pin[2]), []).extend(re.findall(r"sha256:([0-9a-f]{64})", entry))
    return found
