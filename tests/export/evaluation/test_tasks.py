"""The table of tasks: what the exporter says of a task that is not in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgepipe import Tokenizer
from edgepipe.bundle.tasks import TASKS, generates
from edgepipe.errors import TaskError
from edgepipe_export.evaluation import tasks
from tests.tiny import TOKENIZERS

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


@pytest.mark.parametrize("limit", [None, 512, 48], ids=["model_without_limit", "model_takes_more", "model_takes_less"])
def test_built_in_questions_leave_room_for_windows(limit: int | None, tmp_path: Path) -> None:
    """Windows are as long as the tokenizer's limit, too, and share half of it; a question has to fit beside that."""
    shutil.copytree(TOKENIZERS / "bert", tmp_path / "bert")
    config = tmp_path / "bert" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 64}))
    tokenizer = Tokenizer.from_pretrained(tmp_path / "bert")
    length = 64 if limit is None else min(limit, 64)
    for item in tasks.make_inputs("question-answering", tokenizer, limit):
        tokenizer(
            item["question"],
            item["context"],
            truncation="only_second",
            max_length=length,
            stride=length // 2,
            return_overflowing_tokens=True,
        )
