"""Runs of one graph whose inputs and outputs stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgepipe.backend.onnxruntime.device_memory import HOST, Place, View
from edgepipe.backend.onnxruntime.diagnostics import run_failure
from edgepipe.backend.onnxruntime.library import load_ort, ort_errors

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Binding:
    """Inputs and outputs of a graph that are named once and used by every run after it.

    Values are onnxruntime's ``OrtValue``, or a :class:`~edgepipe.backend.onnxruntime.device_memory.View` of one. One
    that lies over a numpy array
    shares its memory.
    """

    def __init__(self, session: Any, run_options: Any = None) -> None:
        """Begin with nothing named.

        Args:
            session: The ``onnxruntime.InferenceSession``.
            run_options: Its ``RunOptions`` for every run.
        """
        self._session = session
        self._run_options = run_options
        self._binding = session.io_binding()
        self._outputs: list[str] = []
        # onnxruntime before 1.24 does not keep what it binds.
        self._kept: dict[str, Any] = {}

    def feed(self, name: str, value: NDArray[Any] | Any) -> None:
        """Take an input from an array (contiguous, of the declared dtype) or from a value."""
        self._kept[name] = value
        if isinstance(value, View):
            self._binding.bind_input(name, *_where(value))
        elif hasattr(value, "_ortvalue"):
            self._binding.bind_ortvalue_input(name, value)
        else:
            self._binding.bind_cpu_input(name, value)

    def give(self, name: str, value: Any = None, place: Place = HOST) -> None:
        """Write an output into a value; None has onnxruntime allocate one at every run, in that place."""
        if name not in self._outputs:
            self._outputs.append(name)
        self._kept[name] = value
        if value is None:
            self._binding.bind_output(name, place.kind, place.index)
        elif isinstance(value, View):
            self._binding.bind_output(name, *_where(value))
        else:
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> dict[str, Any]:
        """Run the graph; returns the values of the outputs that onnxruntime made room for.

        Raises:
            BundleError: the graph failed; the message has onnxruntime's first line.
            OutOfMemoryError: there was too little memory.
        """
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except ort_errors() as error:
            raise run_failure("the graph failed", error) from error
        if all(self._kept[name] is not None for name in self._outputs):
            return {}
        values = zip(self._outputs, self._binding.get_outputs(), strict=True)
        return {name: value for name, value in values if self._kept[name] is None}


def _where(view: View) -> tuple[str, int, Any, list[int], int]:
    """A view in the words of onnxruntime."""
    return view.place.kind, view.place.index, np.dtype(view.dtype).type, list(view.shape), view.address


def value_over(array: NDArray[Any]) -> Any:
    """An ``OrtValue`` over the memory of a contiguous array."""
    return load_ort().OrtValue.ortvalue_from_numpy(array)
