"""A bundle and the name of a task become the task, with all that it reads of the bundle."""

from __future__ import annotations

import os
from typing import Any

from edgepipe.backend.engines import create_session
from edgepipe.backend.session import SessionConfig
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.tasks import generates, task_entry, task_names
from edgepipe.bundle.third_party import infer_graph_task
from edgepipe.errors import BundleError, TaskError
from edgepipe.models.encoder import Model
from edgepipe.pipelines.base import Task
from edgepipe.pipelines.registry import task_class
from edgepipe.tokenization.loading import load_tokenizer_files
from edgepipe.tokenization.tokenizer import Tokenizer


def load_task(
    task: str | None,
    bundle: Bundle,
    dtype: Any,
    config: SessionConfig,
    given: Tokenizer | None = None,
    **arguments: Any,
) -> Task:
    """Load a task.

    Args:
        task: Its name; None for the bundle's own.
        bundle: The bundle.
        dtype: The variant, see :func:`~edgepipe.models.variants.variant_name`; None for the device's own choice.
        config: Where it runs.
        given: A tokenizer in place of the bundle's.
        **arguments: Of the task.

    Raises:
        BundleError: the bundle is damaged or has no such variant.
        DeviceError: the device cannot be used.
        InputError: an option of the task has a wrong value.
        TaskError: the task does not fit the bundle.
    """
    if not _graph_decides(bundle):
        chosen = _task_of(task, bundle, bundle.task)
        loaded = task_class(chosen).load(bundle, dtype, config)
    else:  # what another tool made: the graph has the last word on what it is for
        loaded = Model(bundle, dtype, config)
        own = infer_graph_task(bundle.task, bundle.config, loaded.session.output_shapes)
        chosen = _task_of(task, bundle, own)
    # Not with from_pretrained: that the folder stays the same meanwhile is seen to already.
    tokenizer = given or Tokenizer(*load_tokenizer_files(bundle.path, {}))
    return task_class(chosen)(tokenizer, loaded, task=chosen, **arguments)


def infer_task(bundle: Bundle) -> str | None:
    """The task of a bundle: its manifest's or, without one, what config and graph tell; opens the graph for that."""
    if not _graph_decides(bundle):
        return bundle.task
    try:
        graph = bundle.graph(bundle.default_dtype)
    except BundleError:  # several graphs, none of them alone
        return bundle.task
    return infer_graph_task(bundle.task, bundle.config, create_session(graph).output_shapes)


def require_task(task: str) -> None:
    """Check that there is a task of this name.

    Raises:
        TaskError: there is none.
    """
    try:
        task_class(task)
    except TaskError as error:
        if isinstance(task, str) and os.path.isdir(task):
            raise TaskError(f"{task!r} is a directory, not a task; name a bundle with model={task!r}") from error
        raise


def _task_of(task: str | None, bundle: Bundle, own: str | None) -> str:
    if task is None:
        if own is None:
            raise TaskError(
                f"{bundle.path} does not say its task (architectures: {bundle.config.get('architectures')}); name "
                f"one of {', '.join(task_names())}"
            )
        return own
    if own is not None and task_entry(own).heads != task_entry(task).heads:
        raise TaskError(
            f"{bundle.path} is for {own}, not for {task}; take task={own!r} (--task), or name a bundle for {task}"
        )
    return task


def _graph_decides(bundle: Bundle) -> bool:
    """Whether outputs tell a bundle's task: not with a manifest; and what writes has logits like any head's."""
    return bundle.manifest is None and not generates(bundle.task)
