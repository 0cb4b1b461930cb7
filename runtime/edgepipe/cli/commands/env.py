"""``edgepipe env``: what a bug report needs to know of this machine and of what is installed."""

from __future__ import annotations

import os
import platform
import re
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepipe.cli.shared_options import echo_json, json_option
from edgepipe.text_table import list_facts, terminal_width

if TYPE_CHECKING:
    from edgepipe.backend.session import Engine

# Beside these, the packages that an export needs.
_PACKAGES = (
    "edgepipe",
    "tokenizers",
    "numpy",
    "click",
    "huggingface_hub",
    "jinja2",
    "rich",
    "tqdm",
    "safetensors",
    "optimum",
    "sentence-transformers",
)

# What changes how edgepipe, onnxruntime, the Hub's client or PyTorch behave. Nothing here holds a secret.
_VARIABLES = (
    "EDGEPIPE_CACHE", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "ORT_DISABLE_TELEMETRY",
    "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONPATH",
    "PYTHONIOENCODING", "PYTHONUTF8", "NO_COLOR", "TERM",
)  # fmt: skip

_PASSWORD = re.compile(r"//[^/@\s]*@")


@click.command()
@json_option
def env(as_json: bool) -> None:
    """Show what a bug report needs: versions, processor, memory, execution providers, caches.

    Names of users are left out: their home is shown as ~.
    """
    found = describe_environment()
    if as_json:
        echo_json(found)
    else:
        click.echo(list_facts(list(_facts(found).items()), width=terminal_width(sys.stdout)))


def describe_environment() -> dict[str, Any]:
    """All that is shown, as JSON can hold it. Nothing is imported for it but the engines of the runtime."""
    from edgepipe.backend.engines import ENGINES
    from edgepipe.backend.machine import board_name, kernel_flags, memory_size, processor_name
    from edgepipe.backend.threads import count_processors

    count, memory = count_processors(), memory_size()
    # Before an engine is loaded: onnxruntime's telemetry is switched off by a variable.
    variables = {name: _shorten(os.environ[name]) for name in _VARIABLES if name in os.environ}
    engines = {name: _describe_engine(name, engine) for name, engine in ENGINES.items()}
    return {
        "packages": _packages(engines),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "prefix": _shorten(sys.prefix),
        },
        "system": {
            "name": platform.platform(),
            "distribution": _distribution(),
            "libc": " ".join(platform.libc_ver()).strip() or None,
            "board": board_name(),
        },
        "processor": {
            "name": processor_name(),
            "architecture": platform.machine(),
            "flags": list(kernel_flags()),
            "target": _target(),
            "processors": count.machine,
            "allowed": count.allowed,
            "cores": count.cores,
            "quota": count.quota,
            "threads": count.threads,
        },
        "memory": {"total": memory.total, "available": memory.available, "limit": memory.limit},
        "engines": engines,
        "caches": {name: _describe_folder(folder) for name, folder in _caches().items()},
        "variables": variables,
    }


def _describe_engine(name: str, engine: Callable[[], Engine]) -> dict[str, Any]:
    """What an engine says of itself; where it dies on this processor, of what."""
    from edgepipe.backend.machine import package_versions
    from edgepipe.checking.engine_trial import find_death

    cause = find_death(name)
    return dict(engine().describe()) if cause is None else {"packages": package_versions((name,)), "error": cause}


def _packages(engines: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    from edgepipe.backend.machine import package_versions

    found = package_versions(dict.fromkeys((*_PACKAGES, *_exporter_packages())))
    for engine in engines.values():
        found |= engine.get("packages", {})
    return found


def _exporter_packages() -> tuple[str, ...]:
    try:
        from edgepipe_export.requirements import PACKAGES
    except ImportError:
        return ()
    return tuple(PACKAGES)


def _target() -> str | None:
    """What an export for this machine would be for."""
    try:
        from edgepipe_export.quantization.target import find_target
    except ImportError:
        return None
    return find_target().name


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:  # not Linux
        return None


def _caches() -> dict[str, Path | None]:
    """The folders that edgepipe keeps things in, by what they are for; None where nothing is kept."""
    from edgepipe.backend.disk_cache import cache_folder

    found = {"edgepipe": cache_folder()}
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        pass
    else:
        found["hub"] = Path(HF_HUB_CACHE)
    return found


def _describe_folder(folder: Path | None) -> dict[str, Any]:
    """Where a folder is, and what its files take; a file with several names counts once."""
    if folder is None:
        return {"path": None, "bytes": 0, "files": 0}
    files = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except OSError:  # it went away meanwhile
                continue
            if not stat.S_ISLNK(found.st_mode):
                files[found.st_dev, found.st_ino] = found.st_size
    return {"path": _shorten(str(folder)), "bytes": sum(files.values()), "files": len(files)}


def _shorten(text: str) -> str:
    """A text without the path of the user's home, which may be their name, and without passwords in addresses."""
    home = os.path.expanduser("~")
    text = _PASSWORD.sub("//", text)
    return text if home in ("~", "/", "") else text.replace(home, "~")


def _facts(found: Mapping[str, Any]) -> dict[str, str]:
    """The description as lines of text, by their names."""
    packages, python, system = dict(found["packages"]), found["python"], found["system"]
    facts = {
        "edgepipe": packages.pop("edgepipe", "not installed as a package"),
        "python": f"{python['version']} ({python['implementation']}), {python['prefix']}",
        "system": ", ".join(filter(None, (system["distribution"], system["name"], system["libc"]))),
        "board": system["board"] or "",
        **_processor_facts(found["processor"]),
        "memory": _memory(found["memory"]),
    }
    for name, engine in found["engines"].items():
        facts |= _engine_facts(name, engine)
        packages = {other: version for other, version in packages.items() if other not in engine.get("packages", {})}
    facts["packages"] = ", ".join(f"{name} {version}" for name, version in packages.items())
    for name, cache in found["caches"].items():
        where = "nothing is kept" if cache["path"] is None else f"{cache['path']}, {_size(cache['bytes'])}"
        facts[f"{name} cache"] = where
    facts["variables"] = ", ".join(f"{name}={value}" for name, value in found["variables"].items())
    return {name: text for name, text in facts.items() if text}


def _processor_facts(processor: Mapping[str, Any]) -> dict[str, str]:
    target = f", --target {processor['target']}" if processor["target"] else ""
    of = "" if processor["processors"] is None else f" of {processor['processors']}"
    quota = "no quota" if processor["quota"] is None else f"a quota of {processor['quota']:g}"
    threads = f"{processor['threads']} thread{'s' if processor['threads'] != 1 else ''}"
    return {
        "processor": f"{processor['name']}, {processor['architecture']}{target}",
        "instructions": " ".join(processor["flags"]) or "not known",
        "processors": (
            f"{processor['allowed']}{of} may be used, {processor['cores']} cores, {quota}; {threads} by default"
        ),
    }


def _memory(memory: Mapping[str, int | None]) -> str:
    limit = "no limit of the container" if memory["limit"] is None else f"limited to {_size(memory['limit'])}"
    parts = [f"{_size(memory[name])} {name}" for name in ("total", "available") if memory[name] is not None]
    return ", ".join([*parts, limit])


def _engine_facts(name: str, engine: Mapping[str, Any]) -> dict[str, str]:
    packages = ", ".join(f"{package} {version}" for package, version in engine.get("packages", {}).items())
    if "error" in engine:
        return {name: f"{packages or 'not installed'}: {engine['error']}"}
    precisions = f", computes in {', '.join(engine['precisions'])}" if "precisions" in engine else ""
    facts = {name: packages + precisions}
    if "providers" in engine:
        facts |= {"providers": ", ".join(engine["providers"]), "build": engine["build"]}
    if "plugins" in engine:
        told = (
            f"{own}: {devices if isinstance(devices, str) else ', '.join(devices) or 'no device'}"
            for own, devices in engine["plugins"].items()
        )
        facts["plug-ins"] = "; ".join(told)
    if "nvidia" in engine:
        nvidia = engine["nvidia"]
        gpus = nvidia["gpus"] if isinstance(nvidia["gpus"], int) else ", ".join(nvidia["gpus"])
        facts["nvidia"] = f"{nvidia['driver'] or 'driver'}, CUDA {nvidia['cuda']}, GPUs: {gpus}"
    return facts


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
