"""The check of a variant as it is loaded: with a handful of probes, once on each kind of machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from edgepipe.backend.disk_cache import cache_folder
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.integrity import sha256
from edgepipe.bundle.layout import MANIFEST_NAME
from edgepipe.checking.probe_runs import describe_machine
from edgepipe.checking.probes import find_probes
from edgepipe.checking.verdicts import find_verdict, keep_verdict, name_verdict
from edgepipe.errors import EdgepipeError, InputError, VariantError
from edgepipe.models.variants import list_substitutes
from edgepipe.pipelines.base import Task

FIRST, ALWAYS, NEVER = MODES = ("first", "always", "never")

# What the verdict on bundles without probes is called; they are told once how to get some.
_NO_PROBES = "no probes"


def check_mode(verify: Any) -> str:
    """When a variant is checked.

    Raises:
        InputError: it is none of the three.
    """
    if verify not in MODES or not isinstance(verify, str):
        raise InputError(f"verify must be one of {', '.join(map(repr, MODES))}, got {verify!r}")
    return verify


def load_checked(
    load: Callable[[str | None], Task], bundle: Bundle, dtype: str | None, session: SessionConfig, verify: str
) -> Task:
    """Load a task whose variant gives here what it gave where it was made.

    Args:
        load: Loads the task with a variant, None for the one that the device takes.
        bundle: The bundle.
        dtype: The variant; None where another one may take its place.
        session: What the task is loaded with.
        verify: See :func:`check_mode`.

    Raises:
        VariantError: the variant fails; the message names those that pass.
    """
    task = load(dtype)
    if verify == NEVER or bundle.manifest is None:
        return task
    if find_probes(bundle) is None:
        _tell_once(bundle)
        return task
    failed = task.model.dtype
    failure = find_failure(bundle, task, session, again=verify == ALWAYS)
    if failure is None:
        return task
    task.close()
    passing = {}
    for name in bundle.dtypes if dtype is not None else list_substitutes(bundle, session):
        if name != failed and (other := _try(load, bundle, name, session, verify)) is not None:
            passing[name] = other
            if dtype is None:
                warnings.warn(
                    f"{bundle.path}: {failed} does not give here what it gave where it was made ({failure}); {name} "
                    "does, and is taken in its place",
                    stacklevel=4,
                )
                return other
            other.close()
    advice = f"{', '.join(passing)} passes here (dtype=, --dtype)" if passing else "no other variant passes here"
    raise VariantError(
        f"{bundle.path}: {failed} does not give here what it gave where it was made: {failure}; {advice}; edgepipe "
        "check shows more"
    )


def _try(
    load: Callable[[str | None], Task], bundle: Bundle, dtype: str, session: SessionConfig, verify: str
) -> Task | None:
    """The task with a variant that passes; None where it does not, or cannot run."""
    try:
        task = load(dtype)
    except EdgepipeError:
        return None
    if find_failure(bundle, task, session, again=verify == ALWAYS) is None:
        return task
    task.close()
    return None


def find_failure(bundle: Bundle, task: Task, session: SessionConfig, *, again: bool = False) -> str | None:
    """Why a variant fails here; None where it passes, or nothing was recorded of it.

    Args:
        bundle: The bundle.
        task: The task with the variant.
        session: What it was loaded with.
        again: Whether to check it although there is a verdict.
    """
    model: Any = task.model
    name = name_verdict(
        {
            "manifest": sha256(bundle.path / MANIFEST_NAME),  # quicker than its digest
            "dtype": model.dtype,
            "machine": describe_machine(task, session),
            "threads": model.num_threads,
            "options": [session.low_memory, session.rest, session.buckets, session.session_options is not None],
        }
    )
    if not again:
        known, cause = find_verdict(name)
        if known:
            return cause
    from edgepipe.checking.bundle_check import check_first  # takes milliseconds, of a first load alone

    cause = check_first(bundle, task, session)
    obstacle = keep_verdict(name, cause)
    if obstacle is not None:
        warnings.warn(
            f"the verdict on {model.dtype} of {bundle.path} cannot be kept ({obstacle}), so each process checks it "
            'anew; set EDGEPIPE_CACHE to a folder that can be written, or pass verify="never"',
            stacklevel=5,
        )
    return cause


def _tell_once(bundle: Bundle) -> None:
    """Say how a bundle of an earlier version gets probes; not where nobody would know that it was said."""
    name = name_verdict({"bundle": bundle.digest, "probes": False})
    if cache_folder() is None or find_verdict(name)[0] or keep_verdict(name, _NO_PROBES) is not None:
        return
    warnings.warn(
        f"{bundle.path} has no probes, so nothing shows whether its variants give here what they gave where they were "
        "made; edgepipe verify BUNDLE MODEL --update adds some (this is said once)",
        stacklevel=5,
    )
