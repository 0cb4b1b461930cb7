"""The tests of the runtime that are too slow under emulation, and why: ``--whole`` runs them nonetheless."""

from __future__ import annotations

# The beginning of a test's name, as pytest has it, and the reason.
SLOW_TESTS: dict[str, str] = {
    "tests/runtime/cli/": "the command line is a process for each test, and takes 4 to 20 s to start under emulation",
}


def why_slow(test: str) -> str | None:
    """Why a test is left out by default; None where it is not.

    Args:
        test: Its name, as pytest has it.
    """
    return next((reason for name, reason in SLOW_TESTS.items() if test.startswith(name)), None)
