"""Memory for keys and values: what lies where, what is moved, and when there is new memory."""

from __future__ import annotations

import numpy as np
import pytest

from edgepipe.backend.onnxruntime.ort_device import HOST, OrtDevice
from edgepipe.models.kv_buffers import DeviceBuffer, HostBuffer, KeyValueBuffer
from tests.runtime.models.device_memory import DEVICE, memory

# Two layers of one shape, and one of another shape and dtype.
SHAPES = {"a": (2, 3, "float32"), "b": (1, 4, "float16"), "c": (2, 3, "float32")}
by_kind = pytest.mark.parametrize(("kind", "device"), [(HostBuffer, HOST), (DeviceBuffer, DEVICE)])


def filled(kind: type[KeyValueBuffer], device: OrtDevice, rows: int, tokens: int) -> KeyValueBuffer:
    """A buffer that has `10 * row + token` everywhere."""
    buffer = kind(SHAPES, device)
    buffer.resize(rows, tokens)
    for tensor in buffer.tensors().values():
        memory(tensor)[...] = 10 * np.arange(rows)[:, None, None, None] + np.arange(tokens)[:, None]
    return buffer


def content(buffer: KeyValueBuffer, length: int) -> list[list[int]]:
    """The numbers of each row, which all tensors have everywhere."""
    arrays = [memory(tensor)[:, :, :length] for tensor in buffer.tensors().values()]
    assert all((array == arrays[0][:, :1, :, :1]).all() for array in arrays)
    found: list[list[int]] = arrays[0][:, 0, :, 0].tolist()
    return found


@by_kind
def test_a_tensor_for_each_input_in_its_shape(kind: type[KeyValueBuffer], device: OrtDevice) -> None:
    buffer = kind(SHAPES, device)
    assert (buffer.rows, buffer.tokens) == (0, 0)
    buffer.resize(5, 7)
    assert (buffer.rows, buffer.tokens) == (5, 7)
    tensors = {name: memory(tensor) for name, tensor in buffer.tensors().items()}
    assert {name: (tensor.shape, tensor.dtype.name) for name, tensor in tensors.items()} == {
        name: ((5, heads, 7, width), dtype) for name, (heads, width, dtype) in SHAPES.items()
    }
    for number, tensor in enumerate(tensors.values()):
        tensor[...] = number
    assert [np.unique(tensor).tolist() for tensor in tensors.values()] == [[0], [1], [2]], "none lies over another"
    assert tensors["c"].ctypes.data == tensors["a"].ctypes.data + tensors["a"].nbytes, "one block for one shape"


@by_kind
def test_memory_is_new_only_where_there_is_too_little(kind: type[KeyValueBuffer], device: OrtDevice) -> None:
    buffer = kind(SHAPES, device)

    def place() -> int:
        address: int = memory(buffer.tensors()["a"]).ctypes.data
        return address

    buffer.resize(2, 4, capacity=10)
    assert memory(buffer.tensors()["a"]).shape[2] == 4
    before, held = place(), buffer.tensors()  # held, so that the memory is no one else's
    for rows, tokens in ((2, 10), (10, 2), (1, 1), (4, 5)):
        buffer.resize(rows, tokens)
        assert place() == before
        assert buffer.tensors()["a"] is not held["a"]
    buffer.resize(3, 10)
    assert place() != before


@by_kind
def test_tensors_stay_the_same_until_the_size_changes(kind: type[KeyValueBuffer], device: OrtDevice) -> None:
    buffer = kind(SHAPES, device)
    buffer.resize(2, 4)
    first = buffer.tensors()
    assert buffer.tensors() is first
    buffer.resize(2, 3)
    assert buffer.tensors() is not first


@by_kind
def test_a_row_without_tokens_has_memory(kind: type[KeyValueBuffer], device: OrtDevice) -> None:
    buffer = kind(SHAPES, device)
    buffer.resize(2, 0)
    assert memory(buffer.tensors()["b"]).shape == (2, 1, 0, 4)
    other = kind(SHAPES, device)
    other.resize(3, 0)
    other.copy_rows(buffer, np.array([1, 1, 0]), 0)
    assert memory(other.tensors()["b"]).shape == (3, 1, 0, 4)


@by_kind
def test_what_is_given_back_can_be_had_again(kind: type[KeyValueBuffer], device: OrtDevice) -> None:
    buffer = filled(kind, device, 2, 4)
    buffer.release()
    assert (buffer.rows, buffer.tokens) == (0, 0)
    buffer.resize(1, 2)
    assert memory(buffer.tensors()["a"]).shape == (1, 2, 2, 3)


@by_kind
@pytest.mark.parametrize("rows", [[2, 0], [1, 1, 1, 0, 2], [0]], ids=str)
@pytest.mark.parametrize("tokens", [5, 8])
def test_rows_of_another_buffer_are_copied(
    tokens: int, rows: list[int], kind: type[KeyValueBuffer], device: OrtDevice
) -> None:
    source, target = filled(kind, device, 3, 5), filled(kind, device, len(rows), tokens)
    target.copy_rows(source, np.array(rows), 4)
    assert content(target, 4) == [[10 * row + token for token in range(4)] for row in rows]
    assert content(source, 5) == [[10 * row + token for token in range(5)] for row in range(3)], "as it was"


def moved(rows: list[int], common: list[int]) -> tuple[HostBuffer, bool]:
    buffer = filled(HostBuffer, HOST, 3, 6)
    assert isinstance(buffer, HostBuffer)
    return buffer, buffer.move_rows(np.array(rows), np.array(common), 5)


def test_only_the_tokens_that_differ_are_moved_on_the_host() -> None:
    buffer, was_moved = moved([0, 0, 1], [5, 3, 4])
    assert was_moved
    # From the first token on in which any of the moved rows differs; the sixth is none of theirs.
    assert content(buffer, 6) == [[0, 1, 2, 3, 4, 5], [10, 11, 12, 3, 4, 15], [20, 21, 22, 13, 14, 25]]


def test_rows_may_change_places() -> None:
    buffer, _ = moved([2, 1, 0], [0, 5, 0])
    assert [row[0] for row in content(buffer, 5)] == [20, 10, 0]


def test_rows_that_stay_where_they_are_are_not_touched() -> None:
    buffer, was_moved = moved([0, 1, 2], [5, 5, 5])
    assert was_moved
    assert content(buffer, 6) == content(filled(HostBuffer, HOST, 3, 6), 6)


def test_fewer_rows_are_fewer_rows_of_the_tensors() -> None:
    buffer, was_moved = moved([0, 2], [5, 0])
    assert was_moved
    assert buffer.rows == 2
    assert content(buffer, 5) == [[0, 1, 2, 3, 4], [20, 21, 22, 23, 24]]


@pytest.mark.parametrize(
    ("kind", "device", "rows"), [(HostBuffer, HOST, [0, 1, 2, 2]), (DeviceBuffer, DEVICE, [1, 0, 2])]
)
def test_without_room_nothing_is_moved(kind: type[KeyValueBuffer], device: OrtDevice, rows: list[int]) -> None:
    buffer = filled(kind, device, 3, 6)
    assert buffer.in_place is (kind is HostBuffer)
    assert not buffer.move_rows(np.array(rows), np.zeros(len(rows), np.int64), 5)
    assert buffer.rows == 3
    assert content(buffer, 6) == content(filled(kind, device, 3, 6), 6)


def test_tokens_are_placed_with_zeros_before_them() -> None:
    buffer, other = filled(HostBuffer, HOST, 3, 6), filled(HostBuffer, HOST, 2, 4)
    buffer.keep_rows(1)
    buffer.place(buffer, 0, 1, 0, 5)  # over itself
    buffer.place(other, 1, 2, 1, 3)
    buffer.keep_rows(3)
    assert buffer.most_rows == 3
    assert content(buffer, 5) == [[0, 0, 1, 2, 3], [0, 0, 1, 2, 3], [0, 0, 11, 12, 13]]
    buffer.place(buffer, 0, 0, 2, 3)
    assert content(buffer, 3) == [[1, 2, 3], [1, 2, 3], [11, 12, 13]]


def test_a_device_moves_whole_rows_alone() -> None:
    buffer = filled(DeviceBuffer, DEVICE, 3, 6)
    with pytest.raises(NotImplementedError):
        buffer.place(buffer, 0, 1, 0, 5)
    with pytest.raises(NotImplementedError):
        buffer.keep_rows(2)
