from __future__ import annotations

from edgepipe_export.tracing.passes.remove_unused_inputs import RemoveUnusedInputsPass
from tests.export.tracing.passes.hand_made import hand_made


def test_unread_inputs() -> None:
    model = hand_made(["s1", "s2"])
    assert RemoveUnusedInputsPass()(model).modified
    assert [value.name for value in model.graph.inputs] == ["read", "passed on"]
    assert not RemoveUnusedInputsPass()(model).modified
