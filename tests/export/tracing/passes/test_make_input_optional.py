"""An input that need not be given."""

from __future__ import annotations

import pytest

from edgepipe_export.tracing.passes.make_input_optional import MakeInputOptionalPass
from tests.export.tracing.passes.hand_made import hand_made


@pytest.mark.parametrize(("default", "shape"), [(3, ()), ([1, 2], (2,)), ([], (0,))])
def test_an_input_gets_its_default_and_stays_an_input(default: int | list[int], shape: tuple[int, ...]) -> None:
    model = hand_made(["s1", "s2"])
    assert MakeInputOptionalPass("unread", default)(model).modified
    assert [value.name for value in model.graph.inputs] == ["read", "unread", "passed on"]
    assert list(model.graph.initializers) == ["unread"]
    value = model.graph.initializers["unread"].const_value
    assert value is not None
    assert value.numpy().dtype == "int64"
    assert value.numpy().shape == shape
    assert value.numpy().tolist() == default
