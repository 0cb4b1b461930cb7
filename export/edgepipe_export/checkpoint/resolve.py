"""Checkpoint and task, before anything heavy is loaded: what to export, from where, for what."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepipe.bundle.hub import is_repo_id
from edgepipe.bundle.tasks import TASKS, task_for_architecture, task_names
from edgepipe.bundle.third_party import is_sentence_encoder
from edgepipe.errors import CheckpointError, DownloadError, InputError, TaskError
from edgepipe.pipelines.registry import task_class
from edgepipe_export.checkpoint.formats.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PICKLED_ADAPTER,
    Adapter,
    read_adapter,
)
from edgepipe_export.checkpoint.formats.loading_errors import read_object, require_own_files
from edgepipe_export.checkpoint.formats.quantized_weights import find_quantization, name_method, require_dequantizable
from edgepipe_export.checkpoint.formats.safetensors_files import check_safetensors
from edgepipe_export.checkpoint.formats.state_dicts import SAFETENSORS, is_state_dict
from edgepipe_export.checkpoint.hub_checkpoint import fetch_checkpoint, pickle_error
from edgepipe_export.checkpoint.unsupported import (
    PICKLES,
    has_weights,
    require_head_with_task,
    require_supported_files,
    require_supported_modules,
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
        tokenizer: A loaded tokenizer, its directory or its Hub id; needed with a loaded model.
        revision: Branch, tag or commit of a Hub id.
        allow_pickle: Whether weights may be unpickled, which runs code of the checkpoint's author.
        trust_remote_code: Whether Python files of the checkpoint may be run.
        base: Hub id or directory of what an adapter is merged into, or of the config and the tokenizer of a file of
            weights; for an adapter by default what it names.
        hash_seed: What hashes of tokens are drawn with; None for what the checkpoint's config says.
    """

    model: str | os.PathLike[str] | PreTrainedModel
    task: str | None = None
    tokenizer: str | os.PathLike[str] | PreTrainedTokenizerBase | None = None
    revision: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    base: str | os.PathLike[str] | None = None
    hash_seed: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What will be loaded.

    Attributes:
        request: What the caller asked for.
        name: Hub id, or the last part of the directory's name.
        revision: Commit of the Hub repository; None for a directory or a loaded model.
        directory: Where the files are; None for a loaded model. For a file of weights that of its base.
        task: The task's class.
        base: The directory of what an adapter in `directory` is merged into; None without an adapter.
        base_name: Hub id of the base, or the last part of its directory's name.
        base_revision: Commit of the base's Hub repository.
        state_dict: The file of weights, where they are in one alone.
    """

    request: Request
    name: str
    revision: str | None
    directory: Path | None
    task: type[Task]
    base: Path | None = None
    base_name: str | None = None
    base_revision: str | None = None
    state_dict: Path | None = None

    @property
    def config_directory(self) -> Path | None:
        """Where ``config.json`` is: of an adapter without one that of its base."""
        own = self.directory
        return self.base if self.base is not None and own is not None and not _has_config(own) else own


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
    if path.is_file() and is_state_dict(path):
        return _resolve_state_dict(request, path)
    name, revision, directory = _find(request.model, request)
    files = _list_files(directory)
    require_supported_files(name, files, request.task)
    require_supported_modules(name, directory, request.task)
    if ADAPTER_CONFIG in files and not has_weights(files):
        return _resolve_adapter(request, name, revision, directory)
    if request.base is not None:
        raise InputError(f"base= (--base) is for an adapter or a file of weights; {name} has weights and a config")
    config = _check_config(request, name, directory)
    params = config.get("task_specific_params")
    task = _find_task(request.task, config.get("architectures"), name, params, is_sentence_encoder(directory))
    _require_weights(directory, files, request.allow_pickle)
    return Checkpoint(request, name, revision, directory, task)


def _find(model: str | os.PathLike[str], request: Request) -> tuple[str, str | None, Path]:
    """Name, commit and directory of what is a directory or a Hub id; no file of it leads elsewhere."""
    name, revision, directory = _locate(model, request)
    require_own_files(directory)
    return name, revision, directory


def _locate(model: str | os.PathLike[str], request: Request) -> tuple[str, str | None, Path]:
    path, text = Path(model), os.fspath(model)
    if path.is_dir():
        return path.resolve().name, None, path
    if path.exists():
        raise CheckpointError(f"{text} is a file; name the checkpoint's directory, which holds config.json")
    if not is_repo_id(text):
        raise CheckpointError(f"{text} does not exist, and is not a Hub id (owner/name) either")
    directory, revision = fetch_checkpoint(
        text,
        request.revision,
        request.task,
        allow_pickle=request.allow_pickle,
        remote_code=request.trust_remote_code,
        check=lambda found: _check_config(request, text, found),
    )
    return text, revision, directory


def _check_config(request: Request, name: str, directory: Path) -> Mapping[str, Any]:
    """The config of a checkpoint whose weights can be read, and whose code may be run."""
    config = read_config(directory)
    require_dequantizable(name, config)
    _require_no_remote_code(config, request, name)
    return config


def _resolve_adapter(request: Request, name: str, revision: str | None, directory: Path) -> Checkpoint:
    adapter = read_adapter(name, directory)
    _require_adapter_weights(name, directory, request.allow_pickle)
    base_name, base_revision, base = _find_base(request, name, directory, adapter)
    files = _list_files(base)
    if ADAPTER_CONFIG in files:
        raise CheckpointError(f"the base of the adapter {name}, {base}, is an adapter too; merge that first")
    require_supported_files(base_name, files, request.task)
    config = _check_config(request, base_name, base)
    if _has_config(directory):
        config = read_config(directory)
    _require_weights(base, files, request.allow_pickle)
    if adapter.task is not None or adapter.architecture is not None:
        architectures: Any = [_name_class(adapter, config)]
    else:  # what its base was for says nothing of what was trained
        architectures = config.get("architectures") if request.task is None else None
    params = config.get("task_specific_params")
    task = _find_task(request.task, architectures, name, params, is_sentence_encoder(directory))
    return Checkpoint(request, name, revision, directory, task, base, base_name, base_revision)


def _find_base(request: Request, name: str, directory: Path, adapter: Adapter) -> tuple[str, str | None, Path]:
    """An adapter's base as `_find` has it: what the caller named, or the adapter; by its own folder or this one."""
    hint = "name its directory or Hub id with base= (--base)"
    if request.base is not None:
        return _find(request.base, replace(request, revision=None))
    if adapter.base is None:
        raise CheckpointError(f"{name} is an adapter whose {ADAPTER_CONFIG} does not name the model it is for; {hint}")
    for place in (Path(adapter.base), directory / adapter.base):
        if place.is_dir():
            return _find(place, request)
    if not is_repo_id(adapter.base):
        raise CheckpointError(f"{name} is an adapter for {adapter.base}, which does not exist here; {hint}")
    try:
        return _find(adapter.base, replace(request, revision=adapter.revision))
    except DownloadError as error:
        raise DownloadError(f"{name} is an adapter for {adapter.base}: {error}; {hint}") from error


def _name_class(adapter: Adapter, config: Mapping[str, Any]) -> str:
    """The class of an adapter's base: what it says, or what its task loads of that model type."""
    if adapter.task is None:
        return str(adapter.architecture)
    return (_classes(task_class(adapter.task)).get(str(config.get("model_type"))) or ("",))[0]


def _require_adapter_weights(name: str, directory: Path, allow_pickle: bool) -> None:
    if (directory / ADAPTER_WEIGHTS).is_file():
        check_safetensors(directory)
        return
    if not (directory / PICKLED_ADAPTER).is_file():
        raise CheckpointError(f"{name} is an adapter without weights: there is no {ADAPTER_WEIGHTS} in it")
    if not allow_pickle:
        raise pickle_error(f"{name} has no {ADAPTER_WEIGHTS}, only pickled weights ({PICKLED_ADAPTER})")


def _resolve_state_dict(request: Request, path: Path) -> Checkpoint:
    if request.base is None:
        raise CheckpointError(
            f"{path} is a file of weights alone; name the directory or Hub id whose config and tokenizer it goes with "
            "with base= (--base), or the checkpoint's own directory if it has one"
        )
    if path.suffix != SAFETENSORS and not request.allow_pickle:
        raise pickle_error(f"{path} has pickled weights")
    _, _, directory = _find(request.base, request)
    config = read_config(directory)
    _require_no_remote_code(config, request, path.name)
    architectures = config.get("architectures") if request.task is None else None  # the base may be for another task
    task = _find_task(request.task, architectures, path.name, config.get("task_specific_params"))
    return Checkpoint(request, path.name, None, directory, task, state_dict=path)


def _list_files(directory: Path) -> list[str]:
    """The files of a directory and of the folders in it, relative to it."""
    found = [*directory.glob("*"), *directory.glob("*/*")]
    return [path.relative_to(directory).as_posix() for path in found if path.is_file()]


def _resolve_loaded_model(request: Request, model: PreTrainedModel) -> Checkpoint:
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        kind = type(model).__name__
        if hasattr(model, "merge_and_unload") and hasattr(model, "get_base_model"):  # PEFT's
            return replace(_resolve_loaded_model(request, model.get_base_model()), request=request)
        hint = "; save it, and name the directory" if hasattr(model, "state_dict") else ""
        raise InputError(f"model must be a directory, a Hub id or a loaded transformers model, got {kind}{hint}")
    architecture = type(model).__name__
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            f"{architecture} has an adapter beside its weights; merge it with peft (merge_and_unload) first"
        )
    if (found := find_quantization(model.config.to_dict())) is not None:
        raise CheckpointError(f"{architecture} is quantized by {name_method(found[1])}; name its directory instead")
    if request.tokenizer is None:
        raise InputError("a loaded model has no tokenizer with it; pass tokenizer= as well")
    params = getattr(model.config, "task_specific_params", None)
    task = _find_task(request.task, [architecture], architecture, params, from_files=False)
    origin = str(getattr(model.config, "_name_or_path", "") or "")
    name = origin if origin and is_repo_id(origin) and not Path(origin).exists() else Path(origin).name
    return Checkpoint(request, name or architecture, None, None, task)


def read_config(directory: Path) -> Mapping[str, Any]:
    """``config.json`` of a checkpoint.

    Raises:
        CheckpointError: it is missing or not a JSON object.
    """
    path = directory / "config.json"
    if not path.exists():
        last = _last_of_trainer(directory)
        hint = "" if last is None else f"; did you mean {last}?"
        raise CheckpointError(f"{directory} has no config.json: it is not a transformers checkpoint{hint}")
    return read_object(path)


def read_weights_config(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The config beside a checkpoint's weights, which is that of an adapter's base; empty where none is there."""
    directory = checkpoint.base or checkpoint.directory
    return {} if directory is None or checkpoint.state_dict is not None else read_config(directory)


def _has_config(directory: Path) -> bool:
    return (directory / "config.json").is_file()


def _last_of_trainer(directory: Path) -> Path | None:
    """The last checkpoint that transformers' Trainer saved in a folder, e.g. ``checkpoint-500``; None without one."""
    found = {
        int(path.parent.name.removeprefix("checkpoint-")): path.parent
        for name in ("config.json", ADAPTER_CONFIG)
        for path in directory.glob(f"checkpoint-*/{name}")
        if path.parent.name.removeprefix("checkpoint-").isdecimal()
    }
    return found[max(found)] if found else None


def _find_task(
    wanted: str | None,
    architectures: object,
    name: str,
    params: object,
    embeds: bool = False,
    *,
    from_files: bool = True,
) -> type[Task]:
    """The wanted task, or that of the classes in a config's ``architectures``, of which the first counts.

    A loaded model has its class for good; from files any class can be loaded.
    """
    classes = list(map(str, architectures)) if isinstance(architectures, list) else []
    found = task_for_architecture(architectures) or _find_task_by_class(classes[:1])
    if found is not None and task_class(found).generates:
        found = _find_generating_task(found, classes[:1], params)
    if embeds:
        found = "feature-extraction"
    listed = ", ".join(classes) or "none"
    if wanted is None:
        require_head_with_task(name, classes)
        if found is None:
            raise TaskError(
                f"cannot tell the task of {name} from the architectures in its config ({listed}); if it was "
                f"fine-tuned for one of {', '.join(task_names())}, name it with task="
            )
        return task_class(found)
    task = task_class(wanted)
    # A class without a head ("BertModel"), or with those of pretraining, is let through: loading tells which heads the
    # weights have.
    pretrained = from_files and any(each.endswith("ForPreTraining") for each in classes[:1])
    if "For" in listed and not pretrained and not any(task.fits(each) or _loads(task, each) for each in classes[:1]):
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
    return any(name in names for names in _classes(task).values())


def _classes(task: type[Task]) -> dict[str, tuple[str, ...]]:
    """The classes that the auto class of a task loads, by model type."""
    import transformers

    mapping = getattr(transformers, task.auto_model)._model_mapping._model_mapping
    return {name: entry if isinstance(entry, tuple) else (entry,) for name, entry in mapping.items()}


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
