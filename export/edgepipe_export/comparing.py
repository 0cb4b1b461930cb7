"""Variants of a bundle beside PyTorch and beside each other, whatever their task: what export and verify both do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from edgepipe import Bundle, Tokenizer
from edgepipe_export.quantize import FP32

if TYPE_CHECKING:
    from edgepipe.tasks.base import Task
    from edgepipe_export.checks import Check
    from edgepipe_export.load import Loaded

PYTORCH = "pytorch-fp32"


class Comparison(Protocol):
    """What a task's variants are compared on, and how.

    Attributes:
        texts: The texts.
    """

    texts: tuple[str, ...]

    def check(self, dtype: str, reference: str, max_drop: float) -> list[Check]:
        """Compare a variant with a reference: :data:`PYTORCH`, or the fp32 variant.

        Args:
            dtype: The variant. One that is fp32 must give what the reference gives.
            reference: What it is compared with.
            max_drop: How many of a hundred decisions of a quantized variant may be others.
        """
        ...


def make_comparison(bundle: Bundle, loaded: Loaded, task: type[Task], texts: Sequence[str] | None = None) -> Comparison:
    """Prepare a comparison.

    Args:
        bundle: The bundle.
        loaded: The checkpoint in PyTorch.
        task: The task to compare; a bundle may do for several.
        texts: Texts to compare on; by default the built-in ones of the task.

    Raises:
        InputError: the task cannot be asked about any of the texts.
    """
    tokenizer = Tokenizer.from_pretrained(bundle.path)
    if task.generates:
        from edgepipe_export.generation_checks import GenerationComparison

        return GenerationComparison(bundle, loaded, tokenizer, texts)
    return _Understanding(bundle, loaded, tokenizer, task, texts)


class _Understanding:
    """The comparison of a task that reads a graph's tensors once: see :mod:`edgepipe_export.checks`."""

    def __init__(
        self, bundle: Bundle, loaded: Loaded, tokenizer: Tokenizer, task: type[Task], texts: Sequence[str] | None
    ) -> None:
        from edgepipe_export.checks import make_material
        from edgepipe_export.sides import PyTorchSide, Recorded, Side, VariantSide

        self._bundle = bundle
        self._task = task
        self._material = make_material(task.name, tokenizer, bundle.config, bundle.max_length, texts)
        self.texts = self._material.texts
        first = FP32 if FP32 in bundle.dtypes else bundle.dtypes[0]
        side = VariantSide(bundle, first, task)
        self._sides: dict[str, Side] = {
            first: Recorded(side),
            PYTORCH: Recorded(PyTorchSide(loaded, side.outputs, side.series)),
        }

    def check(self, dtype: str, reference: str, max_drop: float) -> list[Check]:
        """See :class:`Comparison`."""
        from edgepipe_export.checks import check_variant
        from edgepipe_export.sides import VariantSide

        # Not kept: another variant's graph need not stay in memory.
        candidate = self._sides.get(dtype) or VariantSide(self._bundle, dtype, self._task)
        return check_variant(candidate, self._sides[reference], self._material, self._task.name, max_drop)
