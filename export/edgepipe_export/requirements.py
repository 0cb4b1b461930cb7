"""The packages an export or a report needs: whether they are there, and their versions for the manifest."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from edgepipe.errors import DependencyError

INSTALL = "pip install 'edgepipe[export]'"

# distribution: the module that shows it is there. transformers.exporters came with transformers 5.
PACKAGES: dict[str, str] = {
    "torch": "torch",
    "transformers": "transformers.exporters",
    "tokenizers": "tokenizers",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnx-ir": "onnx_ir",
    "onnxruntime": "onnxruntime",
}

# The template and the plots of a report's page.
REPORT_PACKAGES = ("jinja2", "matplotlib")


def require_packages() -> None:
    """Make sure that everything an export imports is installed, without importing it.

    Raises:
        DependencyError: names what is missing, or too old, and the command that installs it.
    """
    missing = [_described(name) for name, module in PACKAGES.items() if not _is_there(module)]
    if missing:
        raise DependencyError(f"an export needs {', '.join(missing)}; {INSTALL}")


def require_report_packages() -> None:
    """Make sure that what draws a report's page is installed, likewise.

    Raises:
        DependencyError: names what is missing, and the command that installs it.
    """
    missing = [name for name in REPORT_PACKAGES if not _is_there(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise DependencyError(
            f"a report needs {' and '.join(missing)}, which {verb} not installed. Try: pip install {' '.join(missing)}"
        )


def require_peft() -> None:
    """Make sure that what merges adapters is installed, likewise.

    Raises:
        DependencyError: it is not; names the command that installs it.
    """
    if not _is_there("peft"):
        raise DependencyError("an adapter needs peft, which is not installed. Try: pip install 'edgepipe[peft]'")


def require_dequantizer(method: str, package: str) -> None:
    """Make sure that the package is installed that transformers reads quantized weights with, likewise.

    Args:
        method: What transformers calls the quantization.
        package: The package.

    Raises:
        DependencyError: it is not; names the command that installs it.
    """
    if not _is_there(package.replace("-", "_")):
        raise DependencyError(
            f"weights quantized by {method} need {package}, which is not installed. Try: pip install {package}"
        )


def package_versions() -> dict[str, str]:
    """Versions of edgepipe and of the packages that make a bundle, in a fixed order."""
    return {name: found for name in ("edgepipe", *PACKAGES) if (found := _version(name)) is not None}


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def _described(name: str) -> str:
    found = _version(name)
    return name if found is None else f"a newer {name} (found {found})"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        # The GPU build of onnxruntime is a distribution of its own.
        return _version("onnxruntime-gpu") if name == "onnxruntime" else None
