"""Which device of a plug-in is meant by ``"NAME"``, ``"NAME:GPU"`` or ``"auto"``, and sessions that run on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgepipe.backend.onnxruntime.ort_module import CPU, CUDA, load_ort
from edgepipe.backend.onnxruntime.plugins.plugin_packages import (
    PLUGINS,
    describe_plugins,
    find_plugin,
    installed_plugins,
    is_registered,
    list_devices,
    register,
    registered_providers,
    with_version,
)
from edgepipe.backend.session import DeviceProfile, Provider, SessionConfig
from edgepipe.errors import DependencyError, DeviceError, InputError

AUTO = "auto"
KINDS = ("CPU", "GPU", "NPU")

# onnxruntime's policy for "auto" and a kind of device.
_POLICIES = {None: "MAX_PERFORMANCE", "CPU": "PREFER_CPU", "GPU": "PREFER_GPU", "NPU": "PREFER_NPU"}

# Every provider rounds in its own way, so the exact variant comes first. Which others a provider has kernels for is
# known when its nodes are placed.
_VARIANTS = (
    "fp32", "fp16", "w8", "q4", "q4f16", "int8-static", "int8",
    "int8-rows", "w8-rows", "q4-rows", "q8", "uint8", "bnb4",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a device's name asks for: ``NAME``, ``NAME:KIND``, ``NAME:KIND:INDEX``, each with ``,cpu`` behind it.

    Attributes:
        name: A plug-in's, or that of a provider that onnxruntime lists devices of, or ``"auto"``.
        kind: Of `KINDS`; None for whatever there is.
        index: Which of the devices of its kind.
        allows_cpu: Whether the processor may compute what the device cannot.
    """

    name: str
    kind: str | None = None
    index: int = 0
    allows_cpu: bool = False

    def __str__(self) -> str:
        kind = f":{self.kind}" if self.kind else ""
        return f"{self.name}{kind}" + (f":{self.index}" if self.index else "")


def parse_device(device: object) -> DeviceRequest | None:
    """What is asked of plug-ins; None where the device is none of theirs. Nothing is loaded.

    Raises:
        InputError: what follows the name is no kind of device, or no index.
    """
    if not isinstance(device, str):
        return None
    given, comma, more = device.partition(",")
    name, *details = given.split(":")
    if name != AUTO and find_plugin(name) is None and not is_registered(name):
        return None
    kind = details[0].upper() if details else None
    index = details[1] if len(details) == 2 else "0"
    if kind not in (None, *KINDS) or len(details) > 2 or not index.isdecimal() or (comma and more.strip() != "cpu"):
        raise InputError(
            f"device must be '{name}', '{name}:KIND' or '{name}:KIND:INDEX' with one of the kinds {', '.join(KINDS)}, "
            f"and ',cpu' behind it where the processor may compute what the device cannot, got {device!r}"
        )
    return DeviceRequest(name, kind, int(index), name == AUTO or bool(comma))


def _parse(device: object) -> DeviceRequest:
    request = parse_device(device)
    assert request is not None, "who asks knows that it is a plug-in's"
    return request


def find_device(request: DeviceRequest) -> Any:
    """The ``OrtEpDevice`` that is asked for.

    Raises:
        DependencyError: its package is not installed.
        DeviceError: there is no such device here.
        InputError: several kinds of device have the name.
    """
    own = _devices_of(request.name)
    if not own:
        plugin = find_plugin(request.name)
        raise DeviceError(
            f"{request.name if plugin is None else with_version(plugin)} is installed, and finds nothing on this "
            f'machine that it runs on; take device="cpu", or another plug-in ({describe_plugins()})'
        )
    names = _name_devices(request.name, own)
    fitting = [each for each in own if request.kind in (None, each.device.type.name)]
    if request.index >= len(fitting):
        raise DeviceError(f"there is no device '{request}' here, only {', '.join(names)}")
    if request.kind is None and len({each.device.type.name for each in own}) > 1:
        raise InputError(f"device '{request}' has several kinds here; take one of {', '.join(names)}")
    return fitting[request.index]


def _devices_of(name: str) -> list[Any]:
    provider = register(name)
    return [each for each in list_devices() if each.ep_name == provider]


def _name_devices(name: str, own: Sequence[Any]) -> list[str]:
    """By which names the devices of a plug-in are found."""
    counts: dict[str, int] = {}
    names = []
    for each in own:
        kind = each.device.type.name
        index = counts[kind] = counts.get(kind, -1) + 1
        names.append(str(DeviceRequest(name, kind, index)))
    return names


def describe_devices() -> dict[str, list[str] | str]:
    """The plug-ins that are installed: the names of their devices, or why there are none. Libraries are loaded."""
    found: dict[str, list[str] | str] = {}
    for name in installed_plugins():
        try:
            found[name] = _name_devices(name, _devices_of(name))
        except (DependencyError, DeviceError) as error:
            found[name] = str(error)
    return found


def resolve_device(device: object) -> list[Provider]:
    """The providers that a device of a plug-in stands for; none for "auto".

    Raises:
        DependencyError: its package is not installed.
        DeviceError: there is no such device here.
        InputError: the name says no single device.
    """
    request = _parse(device)
    if request.name == AUTO:
        for name in installed_plugins():
            register(name)
        return []
    provider = find_device(request).ep_name
    return [provider, *([CPU] if request.allows_cpu and provider != CPU else [])]


def request_of(provider: str) -> DeviceRequest | None:
    """The plug-in's device that a provider's name stands for; None where onnxruntime has it built in, or lacks it."""
    if provider in (CPU, CUDA):
        return None
    name = next((name for name, plugin in PLUGINS.items() if plugin.provider == provider), provider)
    if name in PLUGINS:
        return DeviceRequest(name) if name in installed_plugins() or is_registered(provider) else None
    return DeviceRequest(provider) if is_registered(provider) else None


def choose_devices(options: Any, config: SessionConfig) -> bool:
    """Have ``SessionOptions`` say what a session runs on, if a plug-in is asked for.

    Returns:
        Whether they do; the session is started without a list of providers then.

    Raises:
        DependencyError: a package is not installed.
        DeviceError: there is no such device here.
        InputError: a name says no single device.
    """
    request = parse_device(config.device)
    if request is not None:
        if request.name == AUTO:
            policies = load_ort().OrtExecutionProviderDevicePolicy
            options.set_provider_selection_policy(getattr(policies, _POLICIES[request.kind]))
        else:
            options.add_provider_for_devices([find_device(request)], {})
        return True
    asked = [(each, {}) if isinstance(each, str) else each for each in config.providers or ()]
    requests = {name: request_of(name) for name, _ in asked}
    if not any(requests.values()):
        return False
    for name, values in asked:
        given = {key: str(value) for key, value in values.items()}
        own = requests[name]
        if own is not None:
            options.add_provider_for_devices([find_device(own)], given)
        elif name != CPU:  # which comes last of itself
            options.add_provider(name, given)
    return True


def profile_plugin(config: SessionConfig) -> DeviceProfile | None:
    """What a plug-in's device runs well; None where that is onnxruntime's own provider for the processor."""
    request = _parse(config.device)
    if request.name == CPU:
        return None
    if request.name == AUTO and not _has_others():
        return None
    return DeviceProfile(name=request.name, is_cpu=False, preferred_variants=_VARIANTS, gate=request.name)


def _has_others() -> bool:
    """Whether onnxruntime could choose anything but its own processor's provider."""
    return bool(installed_plugins()) or bool(registered_providers() - {CPU})


def describe_devices_of(config: SessionConfig) -> str:
    """The plug-ins' versions and what they run on, to follow onnxruntime's own; empty where none is asked for."""
    request = parse_device(config.device)
    if request is not None:
        own = (
            [find_device(request)] if request.name != AUTO else [each for each in list_devices() if each.ep_name != CPU]
        )
    else:
        names = [each if isinstance(each, str) else each[0] for each in config.providers or ()]
        own = [find_device(found) for name in names if (found := request_of(name)) is not None]
    return "".join(f", {_describe_device(each)}" for each in own)


def _describe_device(device: Any) -> str:
    hardware = device.device
    version = device.ep_metadata.get("version", "")
    return f"{device.ep_name} {version} on {hardware.vendor} {hardware.type.name} {hardware.device_id:#x}"
