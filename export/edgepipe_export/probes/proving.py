"""Variants for another processor are proved on it before they are written, by their probes, where it is emulated."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgepipe.bundle.layout import MANIFEST_NAME
from edgepipe.bundle.manifest import Manifest
from edgepipe.errors import ExportError, InputError, ParityError

# Where the command is that runs Python with edgepipe on a processor; its name follows in capitals.
VARIABLE = "EDGEPIPE_PROVE_ON_"

# Stands in the command for the bundle's folder.
_FOLDER = "{folder}"


def find_prover(name: str | None) -> tuple[str, ...]:
    """The command that runs Python on a processor; none where nothing is to be proved.

    Args:
        name: The processor, by a name that the user's variable has.

    Raises:
        InputError: there is no such variable, or no command in it.
    """
    if name is None:
        return ()
    variable = f"{VARIABLE}{name.upper().replace('-', '_')}"
    try:
        command = tuple(shlex.split(os.environ.get(variable, "")))
    except ValueError as error:
        raise InputError(f"{variable} is no command ({error})") from error
    if not command:
        raise InputError(
            f"prove_on (--prove-on) {name} needs {variable}: a command that runs Python with edgepipe on that "
            f'processor, e.g. "docker run --rm --platform linux/arm64 -v {_FOLDER}:{_FOLDER} IMAGE python"'
        )
    return command


def prove_variants(folder: Path, command: tuple[str, ...], *, force: bool) -> tuple[str, Mapping[str, str]]:
    """Check a bundle with its probes on another processor, and write into its manifest where its variants passed.

    Args:
        folder: The bundle.
        command: See :func:`find_prover`.
        force: Whether variants that fail are written all the same.

    Returns:
        What it ran on, and why variants failed, by dtype.

    Raises:
        ExportError: the command cannot be run, or gives no result.
        ParityError: a variant fails, and that is not forced.
    """
    found = _run(folder, command)
    place = f"{found['engine']} on {found['machine']}"
    variants = found["variants"]
    failed = {each["dtype"]: str(each["cause"]) for each in variants if each["passed"] is False}
    if failed and not force:
        causes = " | ".join(f"{dtype}: {cause}" for dtype, cause in failed.items())
        raise ParityError(
            f"variants do not give on another processor ({place}) what they gave here, and nothing was written: "
            f"{causes}; force=True (--force) writes them all the same"
        )
    passed = {each["dtype"] for each in variants if each["passed"]}
    path = folder / MANIFEST_NAME
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    proved = {
        dtype: replace(variant, proved_on=(*variant.proved_on, place)) if dtype in passed else variant
        for dtype, variant in manifest.variants.items()
    }
    path.write_text(replace(manifest, variants=proved).to_json(), encoding="utf-8")
    return place, failed


def _run(folder: Path, command: tuple[str, ...]) -> Mapping[str, Any]:
    """What ``edgepipe check --json`` says there."""
    own = [part.replace(_FOLDER, str(folder)) for part in command]
    whole = [*own, "-m", "edgepipe", "check", str(folder), "--json"]
    try:
        done = subprocess.run(whole, capture_output=True, text=True, check=False, encoding="utf-8", errors="replace")
        found = json.loads(done.stdout)
        if {"engine", "machine", "variants"} <= found.keys():
            result: Mapping[str, Any] = found
            return result
        said = "no result of a check"
    except OSError as error:
        said = str(error)
    except (ValueError, AttributeError):
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    raise ExportError(f"the bundle cannot be proved with {shlex.join(whole)}: {said}")
