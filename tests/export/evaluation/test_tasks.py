"""The table of tasks: what the exporter says of a task that is not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepipe.bundle.tasks import TASKS, generates
from edgepipe.errors import TaskError
from edgepipe_export.evaluation import tasks

DUMMY = "dummy-task"


def test_a_new_task_needs_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of the table, the error names the table; with the entry all of it is there."""
    (tmp_path / "texts.txt").write_text("One.\nTwo.\n")
    uses = [
        lambda: tasks.find_evaluation(DUMMY),
        lambda: tasks.pipeline_task(DUMMY),
        lambda: tasks.read_dataset(tmp_path / "texts.txt", DUMMY, (), None),
        lambda: tasks.make_inputs(DUMMY, None, None, ["One."]),  # type: ignore[arg-type]
    ]
    for use in uses:
        with pytest.raises(TaskError, match=r"dummy-task.*TASK_EVALUATIONS.*evaluation/tasks\.py"):
            use()
    monkeypatch.setitem(tasks.TASK_EVALUATIONS, DUMMY, tasks.find_evaluation("text-classification"))
    assert [use() for use in uses][1] == DUMMY


def test_every_task_that_reads_has_an_entry() -> None:
    assert tasks.TASK_EVALUATIONS.keys() == {name for name in TASKS if not generates(name)}
