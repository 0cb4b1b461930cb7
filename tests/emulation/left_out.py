"""The tests of the runtime that are left out under emulation, and why; what is left out is counted by its reason.

Names are the beginnings of tests' names, as pytest has them. A processor that is not emulated runs all of them.
"""

from __future__ import annotations

_BENCHMARK = "a benchmark of the embedded model, which takes minutes"

# ``--whole`` runs these nonetheless.
SLOW_TESTS: dict[str, str] = {
    "tests/runtime/cli/commands/test_bench.py::test_a_profile": _BENCHMARK,
    "tests/runtime/cli/commands/test_bench.py::test_json_has_every_figure_of_the_report": _BENCHMARK,
}

_LIMITS = "qemu takes limits of addresses and data, and does not keep them"
_TIME = "a time is bounded, and emulation takes longer"

# What an emulator does not do, or a program cannot see in it; no option runs these.
NOT_EMULATED: dict[str, str] = {
    "tests/runtime/backend/onnxruntime/test_diagnostics.py::test_a_batch_that_is_too_large_for_the_memory": _LIMITS,
    "tests/runtime/backend/test_machine.py::test_limits_of_the_process_bound_its_addresses": _LIMITS,
    "tests/runtime/models/test_memory_check.py::test_a_limit_of_the_process_is_seen": _LIMITS,
    "tests/runtime/models/test_memory_check.py::test_nothing_is_refused_that_works": _LIMITS,
    "tests/runtime/cli/test_line_service.py::test_what_was_begun_is_answered_before_the_end": _TIME,
    "tests/runtime/tokenization/test_bounded_template.py::test_memory_is_bounded": _TIME,
}


def why_slow(test: str) -> str | None:
    """Why a test is too slow; None where it is not.

    Args:
        test: Its name, as pytest has it.
    """
    return _find_reason(SLOW_TESTS, test)


def why_not_emulated(test: str) -> str | None:
    """Why a test cannot pass under emulation; None where it can.

    Args:
        test: Its name, as pytest has it.
    """
    return _find_reason(NOT_EMULATED, test)


def _find_reason(reasons: dict[str, str], test: str) -> str | None:
    return next((reason for name, reason in reasons.items() if test.startswith(name)), None)
