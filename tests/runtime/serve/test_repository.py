"""Models by their names: loaded, exchanged, let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgepipe.errors import BundleError, EdgepipeError
from edgepipe.serve.call import Call, RefusedError
from edgepipe.serve.observability.metrics import ServerMetrics
from edgepipe.serve.repository import Repository
from edgepipe.serve.settings import ServedBundle, ServeSettings
from tests.runtime.small_bundle import write_bundle


@pytest.fixture
def folders(tmp_path: Path) -> tuple[ServedBundle, ...]:
    names = ("one", "other")
    return tuple(ServedBundle(name, str(write_bundle(tmp_path / name, ("fp32",)))) for name in names)


def use(folders: tuple[ServedBundle, ...], work: Callable[[Repository], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        repository = Repository(ServeSettings(folders), ServerMetrics())
        await repository.load_all()
        try:
            await work(repository)
        finally:
            await repository.close()
        assert not repository.is_ready

    asyncio.run(run())


def test_by_name(folders: tuple[ServedBundle, ...]) -> None:
    async def work(repository: Repository) -> None:
        assert repository.is_ready
        assert repository.names == ("one", "other")
        assert repository.get().name == "one"
        assert repository.get("other").name == "other"
        with pytest.raises(RefusedError, match="there is no model 'x'; those here are one, other") as refused:
            repository.get("x")
        assert refused.value.status == 404
        with pytest.raises(RefusedError, match="there is no model 'x'"):
            await repository.load("x")
        assert not any(model.generates for model in repository.models.values())

    use(folders, work)


def test_one_that_was_let_go_can_be_loaded_again(folders: tuple[ServedBundle, ...]) -> None:
    async def work(repository: Repository) -> None:
        await repository.unload("one")
        with pytest.raises(RefusedError, match="'one' is not loaded; load it first") as refused:
            repository.get("one")
        assert refused.value.status == 503
        assert repository.get().name == "other"
        await repository.load("one")
        [result] = await repository.get("one").run_all(["a"], {}, Call())
        assert result["label"]
        assert repository.get().name == "one", "the first is the first again"

    use(folders, work)


def test_one_that_cannot_be_loaded_again_stays_as_it_was(folders: tuple[ServedBundle, ...]) -> None:
    async def work(repository: Repository) -> None:
        before = repository.get("one")
        (Path(folders[0].path) / "onnx" / "model.onnx").unlink()
        assert await repository.reload_all() == ["one"]
        assert repository.get("one") is before
        assert repository.is_ready
        await repository.unload("one")
        with pytest.raises(EdgepipeError):
            await repository.load("one")
        assert not repository.is_ready
        with pytest.raises(RefusedError, match=r"'one' is not loaded: .*model\.onnx"):
            repository.get("one")

    use(folders, work)


def test_a_start_fails_with_its_first_bundle_that_does(folders: tuple[ServedBundle, ...], tmp_path: Path) -> None:
    async def work(repository: Repository) -> None:
        raise AssertionError("it was not to start")

    with pytest.raises(BundleError):
        use((*folders, ServedBundle("none", str(tmp_path / "none"))), work)


def test_without_any(folders: tuple[ServedBundle, ...]) -> None:
    async def work(repository: Repository) -> None:
        for name in repository.names:
            await repository.unload(name)
        with pytest.raises(RefusedError, match="no model is loaded"):
            repository.get()

    use(folders, work)
