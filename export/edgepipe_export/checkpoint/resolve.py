"""Checkpoint and task, before anything heavy is loaded: what to export, from where, for what."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.hub import is_repo_id
from edgepipe.bundle.tasks import TASKS, task_for_architecture, task_names
from edgepipe.bundle.third_party import is_sentence_encoder
from edgepipe.errors import CheckpointError, InputError, TaskError
from edgepipe.pipelines.registry import task_class
from edgepipe_export.checkpoint.hub_checkpoint import fetch_checkpoint, pickle_error
from edgepipe_export.checkpoint.safetensors_files import check_safetensors
from edgepipe_export.checkpoint.unsupported import (
    PICKLES,
    has_weights,
    require_supported_files,
    require_supported_modules,
    require_unquantized,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from edgepipe.pipelines.base import Task


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller asked for.

    Attributes:
        model: Hub id, directory, or a loaded model.
        task: Name of a task; None to find it from the checkpoint.
        tokenizer: A loaded tokenizer or its directory; needed with a loaded model.
        revision: Branch, tag or commit of a Hub id.
        allow_pickle: Whether weights may be unpickled, which runs code of the checkpoint's author.
        trust_remote_code: Whether Python files of the checkpoint may be run.
    """

    model: str | os.PathLike[str] | PreTrainedModel
    task: str | None = None
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None
    revision: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What will be loaded.

    Attributes:
        request: What the caller asked for.
        name: Hub id, or the last part of the directory's name.
        revision: Commit of the Hub repository; None for a directory or a loaded model.
        directory: Where the files are; None for a loaded model.
        task: The task's class.
    """

    request: Request
    name: str
    revision: str | None
    directory: Path | None
    task: type[Task]


def resolve(request: Request) -> Checkpoint:
    """Find the files and the task.

    Raises:
        CheckpointError: no directory or Hub id, or a directory without config or safetensors.
        DownloadError: the Hub did not give the files.
        InputError: an argument is missing or of a wrong type.
        TaskError: the task is unknown, does not fit the checkpoint, or cannot be told.
    """
    if request.task is not None:
        task_class(request.task)  # an unknown name is reported before anything is downloaded
    if not isinstance(request.model, (str, os.PathLike)):
        return _resolve_loaded_model(request, request.model)
    path = Path(request.model)
    text = os.fspath(request.model)
    if path.is_dir():
        name, revision, directory = path.resolve().name, None, path
    elif path.exists():
        raise CheckpointError(f"{text} is a file; name the checkpoint's directory, which holds config.json")
    elif is_repo_id(text):
        directory, revision = fetch_checkpoint(
            text,
            request.revision,
            request.task,
            allow_pickle=request.allow_pickle,
            remote_code=request.trust_remote_code,
        )
        name = text
    else:
        raise CheckpointError(f"{text} does not exist, and is not a Hub id (owner/name) either")
    files = _list_files(directory)
    require_supported_files(name, files, request.task)
    require_supported_modules(name, directory, request.task)
    config = read_config(directory)
    require_unquantized(name, config)
    _require_no_remote_code(config, request, name)
    params = config.get("task_specific_params")
    task = _find_task(request.task, config.get("architectures"), name, params, is_sentence_encoder(directory))
    _require_weights(directory, files, request.allow_pickle)
    return Checkpoint(request, name, revision, directory, task)


def _list_files(directory: Path) -> list[str]:
    """The files of a directory and of the folders in it, relative to it."""
    found = [*directory.glob("*"), *directory.glob("*/*")]
    return [path.relative_to(directory).as_posix() for path in found if path.is_file()]


def _resolve_loaded_model(request: Request, model: PreTrainedModel) -> Checkpoint:
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        kind = type(model).__name__
        if hasattr(model, "merge_and_unload"):
            raise InputError(f"{kind} has an adapter beside its model; pass what its merge_and_unload() returns")
        hint = "; save it, and name the directory" if hasattr(model, "state_dict") else ""
        raise InputError(f"model must be a directory, a Hub id or a loaded transformers model, got {kind}{hint}")
    architecture = type(model).__name__
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            f"{architecture} has an adapter beside its weights; merge it with peft (merge_and_unload) first"
        )
    require_unquantized(architecture, model.config.to_dict())
    if request.tokenizer is None:
        raise InputError("a loaded model has no tokenizer with it; pass tokenizer= as well")
    params = getattr(model.config, "task_specific_params", None)
    task = _find_task(request.task, [architecture], architecture, params)
    origin = str(getattr(model.config, "_name_or_path", "") or "")
    name = origin if origin and is_repo_id(origin) and not Path(origin).exists() else Path(origin).name
    return Checkpoint(request, name or architecture, None, None, task)


def read_config(directory: Path) -> Mapping[str, Any]:
    """``config.json`` of a checkpoint.

    Raises:
        CheckpointError: it is missing or not a JSON object.
    """
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        last = _last_of_trainer(directory)
        hint = "" if last is None else f"; did you mean {last}?"
        raise CheckpointError(f"{directory} has no config.json: it is not a transformers checkpoint{hint}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, not an object")
    return config


def _last_of_trainer(directory: Path) -> Path | None:
    """The last checkpoint that transformers' Trainer saved in a folder, e.g. ``checkpoint-500``; None without one."""
    found = {
        int(path.parent.name.removeprefix("checkpoint-")): path.parent
        for path in directory.glob("checkpoint-*/config.json")
        if path.parent.name.removeprefix("checkpoint-").isdecimal()
    }
    return found[max(found)] if found else None


def _find_task(
    wanted: str | None, architectures: object, name: str, params: object, embeds: bool = False
) -> type[Task]:
    """The wanted task, or that of the classes in a config's ``architectures``, of which the first counts."""
    classes = list(map(str, architectures)) if isinstance(architectures, list) else []
    found = task_for_architecture(architectures) or _find_task_by_class(classes[:1])
    if found is not None and task_class(found).generates:
        found = _find_generating_task(found, classes[:1], params)
    if embeds:
        found = "feature-extraction"
    listed = ", ".join(classes) or "none"
    if wanted is None:
        if found is None:
            raise TaskError(
                f"cannot tell the task of {name} from the architectures in its config ({listed}); if it was "
                f"fine-tuned for one of {', '.join(task_names())}, name it with task="
            )
        return task_class(found)
    task = task_class(wanted)
    # A class without a head ("BertModel") is let through: loading tells whether the weights have one.
    if "For" in listed and not any(task.fits(each) or _loads(task, each) for each in classes[:1]):
        suggestion = f"; it is for {found}" if found is not None else ""
        raise TaskError(
            f"task {wanted!r} needs a checkpoint that ends in {task.heads[0]}, {name} has {listed}{suggestion}"
        )
    return task


def _find_generating_task(found: str, classes: list[str], params: object) -> str | None:
    """The task of a checkpoint that writes text: what its class and the tasks that its config names leave.

    Args:
        found: The task that its class's name ends as.
        classes: The class that the config names, if it names one.
        params: Its ``task_specific_params``: what is said for one task is for that task; T5's names several.

    Returns:
        The task; None for a class that writes no text from text, such as Whisper's.
    """
    import transformers

    tasks = {name: task_class(name) for name in TASKS}
    loading = [name for name, task in tasks.items() if task.generates and any(_loads(task, each) for each in classes)]
    if not loading and any(hasattr(transformers, each) for each in classes):
        return None
    if loading and found not in loading:
        found = loading[0]
    head = task_class(found).heads[0]
    named = [str(name) for name in params if _has_head(str(name), head)] if isinstance(params, Mapping) else []
    return named[0] if len(named) == 1 else found


def _has_head(name: str, head: str) -> bool:
    try:
        return task_class(name).heads[0] == head
    except TaskError:
        return False


def _find_task_by_class(classes: list[str]) -> str | None:
    """The task that loads a class whose name does not end as the task's do.

    XLM's and XLNet's heads for question answering do not. Classes that generate are left out: the auto classes for
    filling masks load some of those too.
    """
    for name in classes:
        if "For" in name and not name.endswith(("ForConditionalGeneration", "ForCausalLM")):
            return next((task for task in TASKS if _loads(task_class(task), name)), None)
    return None


def _loads(task: type[Task], name: str) -> bool:
    """Whether the auto class of a task loads a class of that name."""
    import transformers

    mapping = getattr(transformers, task.auto_model)._model_mapping._model_mapping
    names = {name for entry in mapping.values() for name in (entry if isinstance(entry, tuple) else (entry,))}
    return name in names


def _require_no_remote_code(config: Mapping[str, Any], request: Request, name: str) -> None:
    if request.trust_remote_code or not config.get("auto_map"):
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if config.get("model_type") in CONFIG_MAPPING:
        return  # transformers has its own class for it and leaves the checkpoint's code alone
    raise CheckpointError(
        f"{name} brings its own Python code (auto_map in config.json), which was not run; read it, and if you trust it "
        "pass trust_remote_code=True (--trust-remote-code)"
    )


def _require_weights(directory: Path, files: Sequence[str], allow_pickle: bool) -> None:
    own = [name for name in files if "/" not in name]
    if fnmatch.filter(own, "*.safetensors") and has_weights(files):
        check_safetensors(directory)
        return
    pickles = sorted({name for pattern in PICKLES for name in fnmatch.filter(own, pattern)})
    if not pickles:
        raise CheckpointError(f"{directory} has no weights: there is no *.safetensors file in it")
    if not allow_pickle:
        raise pickle_error(f"{directory} has no *.safetensors file, only pickled weights ({', '.join(pickles)})")
