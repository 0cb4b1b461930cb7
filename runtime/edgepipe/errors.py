"""Every error edgepipe raises on purpose.

::

    EdgepipeError
    ├── InputError            what was passed to a call: wrong type, lone surrogates, unknown option
    │   └── LengthError       a prompt with more tokens than the model takes
    ├── TaskError             an unknown task, or one that does not fit the bundle or checkpoint
    ├── BundleError           the directory: missing, truncated or altered files, a foreign graph
    │   ├── VariantError      a dtype the bundle does not have, or one that fails its probes here
    │   └── NotFiniteError    a graph that gives nan or inf, of which no result can be made
    ├── DownloadError         the Hub: no such repository or file, no network and nothing cached
    ├── DeviceError           a device or execution provider that cannot be used here
    │   ├── KernelError       a graph has an operator that the device cannot run
    │   └── OutOfMemoryError  the device has too little memory for the graph, or for a batch
    ├── DependencyError       a package that is missing, or installed twice
    ├── ClosedError           a pipeline or model that is used after it was closed
    └── ExportError           the exporter (edgepipe_export)
        ├── CheckpointError   the source model: no safetensors, remote code, unknown architecture
        └── ParityError       what was exported does not give what PyTorch gives, or misses its bound

Each message names the value it got, what was expected, and what to do next.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# What a terminal obeys, or what has the text after it read in another order: control characters but tabs and line ends,
# and those that embed, override or isolate a direction. And halves of characters, which no file and no log can take. It
# is compiled where it is used first, not at every start.
_CONTROLS = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


class EdgepipeError(Exception):
    """Root of the hierarchy; catch it to catch everything edgepipe raises on purpose."""

    def __str__(self) -> str:
        """The message; names in it come from strangers, and no terminal obeys them."""
        return escape_controls(super().__str__())


class InputError(EdgepipeError, ValueError):
    """What was passed to a call cannot be used."""


class LengthError(InputError):
    """A prompt has more tokens than the model takes."""


class TaskError(EdgepipeError, ValueError):
    """The task is unknown, or does not fit the bundle or checkpoint."""


class BundleError(EdgepipeError):
    """The bundle directory is missing something, or holds something it should not."""


class VariantError(BundleError, ValueError):
    """The bundle has no variant of the wanted dtype, or it does not give here what it gave where it was made."""


class NotFiniteError(BundleError):
    """An output is nan or inf, so that no result can be made of it."""


class DownloadError(EdgepipeError):
    """The Hub did not give what was asked for, and the cache does not have it."""


class DeviceError(EdgepipeError):
    """The device or execution provider that was asked for cannot be used here."""


class OutOfMemoryError(DeviceError, MemoryError):
    """The device's memory does not suffice for the graph, or for what was to go through it at once."""


class KernelError(DeviceError):
    """The graph has an operator that onnxruntime has no kernel for, on the device that was asked for."""


class DependencyError(EdgepipeError, ImportError):
    """A package is missing, or two packages are installed that exclude each other."""


class ClosedError(EdgepipeError, RuntimeError):
    """The pipeline or model was closed, and its memory given back."""


class ExportError(EdgepipeError):
    """The export stopped; nothing was written, but where a :class:`ParityError` has a bundle."""


class CheckpointError(ExportError):
    """The source checkpoint cannot be loaded or is not what the exporter understands."""


class ParityError(ExportError):
    """The exported graph does not give what PyTorch gives, or a quantized variant misses its bound.

    Attributes:
        bundle: The :class:`~edgepipe.bundle.directory.Bundle` of the variants that passed, which was written without
            the others; None where nothing was written.
    """

    bundle: Any = None


class Terminated(BaseException):
    """The system wants the process to end: as with an interrupt, what is half written is removed on the way out."""


def not_finite_error(output: str, dtype: str) -> NotFiniteError:
    """The error where a graph's output is not a finite number, so that no result can be made of it."""
    return NotFiniteError(
        f"the output {output} of the variant {dtype} is not finite (nan or inf), so there is no result; take another "
        "variant (dtype=, --dtype), or look at the checkpoint: its weights may hold such numbers or overflow in 16 bits"
    )


def escape_controls(text: str) -> str:
    """A text whose control characters are written as escapes, so that a terminal shows them and does not obey."""
    return re.sub(_CONTROLS, lambda found: ascii(found[0])[1:-1], text)


@contextmanager
def convert_panics(what: str) -> Iterator[None]:
    """Around calls into Rust: a panic is no ``Exception`` in Python, and would end a thread that catches all of those.

    Args:
        what: What the code is given, e.g. "the tokenizer".

    Raises:
        BundleError: the code panicked.
    """
    try:
        yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise BundleError(
            f"{what} has the library that reads it fail ({first_line(error)}): the file is damaged, or was made to do "
            "that; take it from a source that you trust"
        ) from error


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of code in Rust; each library has a class of that name of its own."""
    return type(error).__name__ == "PanicException"


def is_from_rust(error: Exception) -> bool:
    """Whether an exception can be one of ``tokenizers``, which has no class of its own; others pass it by."""
    return type(error) in (Exception, TypeError, ValueError, OverflowError)


def first_line(error: BaseException) -> str:
    """What an error says, without the lines behind the first; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
