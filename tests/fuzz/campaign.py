"""What a campaign is: cases that are made of a seed and a number, and what came of each."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from edgepipe.errors import EdgepipeError

# What a case may end as. The last four are faults.
KINDS = ("equal", "refused", "different", "unchecked", "library", "wrong", "raw", "hung", "lost")
FAULTS = KINDS[-4:]
MEANINGS = {
    "equal": "the answer of the reference, or of the bundle before it was changed",
    "refused": "an EdgepipeError where one belongs",
    "different": "another answer, of a bundle that was changed and says so",
    "unchecked": "an answer that nothing is compared with: no reference is there",
    "library": "the process ended or went on for ever in onnxruntime or tokenizers, which docs/explanation/security.md "
    "says cannot be bounded",
    "wrong": "an answer that is not the reference's, or an error where the reference answers",
    "raw": "an exception that is no EdgepipeError",
    "hung": "no answer in time",
    "lost": "the process ended",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case.

    Attributes:
        kind: One of KINDS.
        got: What came back, in words; needed for faults alone.
        size: How many texts, calls or bundles the case is.
    """

    kind: str
    got: str = ""
    size: int = 1


class Campaign(ABC):
    """Cases of one kind. One object runs them one after another, in a process of its own.

    Attributes:
        name: As it is called on the command line.
        unit: What `Outcome.size` counts.
        count: How many cases a run without options has.
        seconds: After how long a case counts as hung.
        addresses: How many bytes of addresses its process may have more than it begins with.
    """

    name: str
    unit: str
    count: int
    seconds: float = 300.0
    addresses: int = 8 << 30

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def draw(self, index: int) -> random.Random:
        """The generator that all of a case is drawn from."""
        return random.Random(f"{self.seed}/{self.name}/{index}")

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do
        """Make what all cases need."""

    @abstractmethod
    def make(self, index: int) -> Any:
        """The input of a case; the same whenever it is made."""

    @abstractmethod
    def run(self, case: Any) -> Outcome:
        """Run a case."""

    def blame(self, case: Any, kind: str) -> str:
        """What a case counts as that hung or ended its process: `kind`, or ``library``."""
        return kind


def is_raw(error: BaseException) -> bool:
    """Whether an exception is none that a caller of edgepipe has to expect."""
    return not isinstance(error, EdgepipeError)


def describe_error(error: BaseException) -> str:
    """An exception in one line, and where it was raised."""
    where = ""
    trace = error.__traceback__
    while trace is not None:
        where = f" at {trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__module__}.{type(error).__name__}: {str(error)[:500]}{where}"
