"""Rows through a task: each gets what the pipeline gives for it alone, or an error of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgepipe import pipeline
from edgepipe.errors import InputError, NotFiniteError
from edgepipe.mapping.row_runner import RunOptions, make_runner
from tests.runtime.small_bundle import write_bundle

TEXTS = ["I love this", None, "a much longer text than that one", "", "bad", 7]


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("workers", [1, 2])
def test_lists_come_in_order_with_the_results_of_each_row_alone(small: Path, batch_size: int, workers: int) -> None:
    with pipeline(model=small, workers=workers, num_threads=1) as task:
        runner = make_runner(task, RunOptions(batch_size))
        lists = [("first", TEXTS), ("second", []), ("third", TEXTS[::-1])]
        found = list(runner.run(lists))
        assert [outcomes.key for outcomes in found] == ["first", "second", "third"]
        for outcomes, (_, inputs) in zip(found, lists, strict=True):
            assert len(outcomes.results) == len(inputs)
            for item, result, error in zip(inputs, outcomes.results, outcomes.errors, strict=True):
                if isinstance(item, str):
                    assert result == pytest.approx(task(item)[0]) if item else result is not None
                    assert error is None
                else:
                    assert result is None
                    assert (error is None) == (item is None)
    assert found[0].failed == 1
    assert "expected a text" in str(found[0].errors[5])
    assert found[0].tokens == found[2].tokens > 10


def test_the_next_list_is_read_before_the_last_one_is_done(small: Path) -> None:
    read: list[int] = []

    def lists() -> Iterator[tuple[int, list[Any]]]:
        for number in range(50):
            read.append(number)
            yield number, ["good", "bad"]

    with pipeline(model=small, workers=2, num_threads=1) as task:
        found = make_runner(task, RunOptions()).run(lists())
        assert next(found).key == 0
        assert 1 < len(read) < 20


def test_inputs_that_are_errors_already_stay_errors(small: Path) -> None:
    with pipeline(model=small) as task:
        [outcomes] = make_runner(task, RunOptions()).run([(0, [InputError("no text"), "good"])])
    assert [str(error) if error else None for error in outcomes.errors] == ["no text", None]


def test_an_error_that_is_one_already_is_raised_as_it_is(small: Path) -> None:
    with pipeline(model=small) as task:
        found = make_runner(task, RunOptions(fail_fast=True)).run([(0, [InputError("line 3: no text")])])
        with pytest.raises(InputError, match=r"^line 3: no text$"):
            next(found)


def test_the_first_error_ends_the_work_where_that_is_wanted(small: Path) -> None:
    options = RunOptions(fail_fast=True, locate=lambda key, row: f"file {key}, line {row}")
    with pipeline(model=small) as task:
        found = make_runner(task, options).run([("a", ["good"]), ("b", ["bad", 3])])
        assert next(found).key == "a"
        with pytest.raises(InputError, match=r"^file b, line 1 has no result: expected a text"):
            next(found)


def test_what_is_not_finite_for_one_row_is_its_own(tmp_path: Path) -> None:
    """One word of the vocabulary adds a number that is none; its neighbors in a batch have their results."""
    bundle = write_bundle(tmp_path / "bundle")
    with pipeline(model=bundle, verify="never") as task:
        broken = task.tokenizer("bad")["input_ids"][1]
        run = task.run_batch

        def run_batch(pieces: Any) -> Any:
            if any(broken in piece["input_ids"] for piece in pieces):
                raise NotFiniteError("the output logits is not finite")
            return run(pieces)

        task.run_batch = run_batch  # type: ignore[method-assign]
        [outcomes] = make_runner(task, RunOptions(8)).run([(0, ["good", "bad", "fair", "bad good"])])
        expected = [task("good")[0], None, task("fair")[0], None]
    assert outcomes.results == [each if each is None else pytest.approx(each) for each in expected]
    assert [isinstance(error, NotFiniteError) for error in outcomes.errors] == [False, True, False, True]


@pytest.mark.parametrize("name", ["stories", "rewrites"])
@pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 3}], ids=["greedy", "sampled"])
def test_written_texts_are_those_of_each_prompt_alone(
    tiny_bundles: Mapping[str, Path], name: str, options: Mapping[str, Any]
) -> None:
    prompts = ["Hello there, my friend", "a", None, "The 2nd of May was", 3, "What a waste of time"]
    given = {"max_new_tokens": 8, "do_sample": False, "num_beams": 1, **options}
    with pipeline(model=tiny_bundles[name], **given) as task:
        [outcomes] = make_runner(task, RunOptions(4)).run([(0, prompts)])
        for prompt, result, error in zip(prompts, outcomes.results, outcomes.errors, strict=True):
            assert result == (task(prompt) if isinstance(prompt, str) else None)
            assert (error is not None) == (prompt == 3)
