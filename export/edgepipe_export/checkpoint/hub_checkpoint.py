"""Checkpoints from the Hugging Face Hub: config, tokenizer and safetensors of one commit, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from edgepipe.bundle.hub import cached_snapshot, check_arrived, hub_errors, list_cached
from edgepipe.errors import CheckpointError, DownloadError, first_line
from edgepipe_export.checkpoint.formats.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from edgepipe_export.checkpoint.unsupported import require_supported_files

# Files of the repository's root that are no weights but may be read: config, vocabularies, chat templates.
_SMALL = re.compile(r"[^/]+\.(json|txt|model|jinja)|README\.md")
_CONFIG = "config.json"
_SAFETENSORS = re.compile(r"model[^/]*\.safetensors")
_PICKLE = re.compile(r"(pytorch|adapter)_model[^/]*\.bin")
# The layers of sentence-transformers, each in a directory of its own.
_MODULE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)")
_PICKLED_MODULE = re.compile(r"\d+_\w+/pytorch_model\.bin")
_CODE = re.compile(r".+\.py")


def pickle_error(subject: str) -> CheckpointError:
    """The error for pickled weights that may not be loaded; `subject` says where there are nothing but those."""
    return CheckpointError(
        f"{subject}, and unpickling runs whatever code their author put in; if you trust them pass allow_pickle=True "
        "(--allow-pickle)"
    )


def fetch_checkpoint(
    repo_id: str,
    revision: str | None = None,
    task: str | None = None,
    *,
    allow_pickle: bool = False,
    remote_code: bool = False,
    check: Callable[[Path], object] = lambda directory: None,
) -> tuple[Path, str]:
    """Download what an export reads; without a network, take it from the Hub's cache.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; by default the main branch.
        task: The task that the caller named, if one was.
        allow_pickle: Whether to take pickled weights where there are no safetensors.
        remote_code: Whether to download the repository's Python files.
        check: Asked with the directory of ``config.json`` before anything larger is downloaded.

    Returns:
        The snapshot's directory and its commit.

    Raises:
        CheckpointError: the repository has no weights that may be loaded, or is no checkpoint of transformers.
        DownloadError: the repository, revision or network is not there, and the cache has nothing.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        info = HfApi().model_info(repo_id, revision=revision)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise DownloadError(
            f"there is neither a directory nor a Hub repository {_describe(repo_id, revision)} (or it is private: set "
            "HF_TOKEN)"
        ) from error
    except Exception as error:
        # Without a network the error is one of the HTTP library that huggingface_hub brings, another one every few
        # versions; whatever it is, the cache may still have the repository.
        directory = cached_snapshot(repo_id, revision)
        if directory is None:
            raise DownloadError(
                f"no directory {repo_id!r} is there, the Hub did not answer ({first_line(error)}), and its cache does "
                f"not have {_describe(repo_id, revision)}"
            ) from error
    else:
        names = [file.rfilename for file in info.siblings or []]
        require_supported_files(repo_id, names, task)
        selected = select_files(repo_id, names, allow_pickle=allow_pickle, remote_code=remote_code)
        if _CONFIG in names:
            with hub_errors(repo_id):
                first = snapshot_download(repo_id, revision=revision, allow_patterns=[_CONFIG])
            check(Path(first))
        with hub_errors(repo_id):
            # By the name of the branch, not the commit: the cache then knows which commit the branch was at.
            before = list_cached(repo_id, info.sha, selected)
            directory = Path(snapshot_download(repo_id, revision=revision, allow_patterns=selected))
            check_arrived(directory, set(selected) - before, repo_id)
    return directory, directory.name  # the cache names a snapshot by its commit


def select_files(repo_id: str, names: Iterable[str], *, allow_pickle: bool, remote_code: bool) -> list[str]:
    """Those of a repository's files that an export reads.

    Raises:
        CheckpointError: none of them are weights that may be loaded.
    """
    names = sorted(names)
    weights = [name for name in names if _SAFETENSORS.fullmatch(name)]
    if not weights and ADAPTER_CONFIG in names and ADAPTER_WEIGHTS in names:
        weights = [ADAPTER_WEIGHTS]
    pickles = [name for name in names if _PICKLE.fullmatch(name)]
    if not weights and pickles and not allow_pickle:
        raise pickle_error(f"{repo_id} has no safetensors, only pickled weights ({', '.join(pickles)})")
    if not weights and not pickles:
        raise CheckpointError(f"{repo_id} has no weights: there is no model.safetensors in it")
    rest = [
        name
        for name in names
        if _SMALL.fullmatch(name)
        or _MODULE.fullmatch(name)
        or (allow_pickle and _PICKLED_MODULE.fullmatch(name))
        or (remote_code and _CODE.fullmatch(name))
    ]
    return rest + (weights or pickles)


def _describe(repo_id: str, revision: str | None) -> str:
    return repr(repo_id) if revision is None else f"{repo_id!r} at revision {revision!r}"
