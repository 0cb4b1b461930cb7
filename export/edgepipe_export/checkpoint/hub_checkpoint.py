"""Checkpoints from the Hugging Face Hub: config, tokenizer and safetensors of one commit, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edgepipe.errors import CheckpointError, DownloadError

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")

# Files of the repository's root that are no weights but may be read: config, vocabularies, chat templates.
_SMALL = re.compile(r"[^/]+\.(json|txt|model|jinja)|README\.md")
_SAFETENSORS = re.compile(r"model[^/]*\.safetensors")
_PICKLE = re.compile(r"pytorch_model[^/]*\.bin")
# The layers of sentence-transformers, each in a directory of its own.
_MODULE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)")
_PICKLED_MODULE = re.compile(r"\d+_\w+/pytorch_model\.bin")
_CODE = re.compile(r".+\.py")


def is_repo_id(text: str) -> bool:
    """Whether a text can be a Hub id, ``owner/name`` or ``name``."""
    return _REPO_ID.fullmatch(text) is not None


def fetch_checkpoint(
    repo_id: str, revision: str | None = None, *, allow_pickle: bool = False, remote_code: bool = False
) -> tuple[Path, str]:
    """Download what an export reads; without a network, take it from the Hub's cache.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; by default the main branch.
        allow_pickle: Whether to take pickled weights where there are no safetensors.
        remote_code: Whether to download the repository's Python files.

    Returns:
        The snapshot's directory and its commit.

    Raises:
        CheckpointError: the repository has no weights that may be loaded.
        DownloadError: the repository, revision or network is not there, and the cache has nothing.
    """
    from huggingface_hub import HfApi, errors

    try:
        info = HfApi().model_info(repo_id, revision=revision)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise DownloadError(
            f"there is neither a directory nor a Hub repository {_called(repo_id, revision)} (or it is private: set "
            "HF_TOKEN)"
        ) from error
    except Exception as error:
        # Without a network the error is one of the HTTP library that huggingface_hub brings, another one every few
        # versions; whatever it is, the cache may still have the repository.
        directory = _cached(repo_id, revision)
        if directory is None:
            raise DownloadError(
                f"no directory {repo_id!r} is there, the Hub did not answer ({_first_line(error)}), and its cache does "
                f"not have {_called(repo_id, revision)}"
            ) from error
    else:
        names = [file.rfilename for file in info.siblings or []]
        wanted = wanted_files(repo_id, names, allow_pickle=allow_pickle, remote_code=remote_code)
        directory = _download(repo_id, revision, wanted)
    return directory, directory.name  # the cache names a snapshot by its commit


def _cached(repo_id: str, revision: str | None) -> Path | None:
    # Not snapshot_download: it calls a snapshot incomplete that lacks files we never wanted.
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    return Path(path).parent if isinstance(path, str) else None


def _download(repo_id: str, revision: str | None, names: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # By the name of the branch, not the commit: the cache then knows which commit the branch was at.
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=names))
    except Exception as error:  # see above
        raise DownloadError(f"the download of {repo_id} broke off: {_first_line(error)}; try again") from error


def wanted_files(repo_id: str, names: Iterable[str], *, allow_pickle: bool, remote_code: bool) -> list[str]:
    """Those of a repository's files that an export reads.

    Raises:
        CheckpointError: none of them are weights that may be loaded.
    """
    names = sorted(names)
    weights = [name for name in names if _SAFETENSORS.fullmatch(name)]
    pickles = [name for name in names if _PICKLE.fullmatch(name)]
    if not weights and pickles and not allow_pickle:
        raise CheckpointError(
            f"{repo_id} has no safetensors, only pickled weights ({', '.join(pickles)}), and unpickling runs whatever "
            "code their author put in; if you trust them pass allow_pickle=True (--allow-pickle)"
        )
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


def _called(repo_id: str, revision: str | None) -> str:
    return repr(repo_id) if revision is None else f"{repo_id!r} at revision {revision!r}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
