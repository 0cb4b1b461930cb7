"""The public names, the errors, the tasks, and the house rules about files."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

import edgepipe.errors
from edgepipe.bundle.tasks import ALIASES, TASKS
from edgepipe.pipelines.registry import task_class
from tests.architecture.sources import REPOSITORY, ROOTS, files

PUBLIC = {
    "edgepipe": ["Bundle", "EdgepipeError", "Model", "Tokenizer", "__version__", "check", "map_dataset", "pipeline"],
    "edgepipe_export": ["Audit", "Verification", "audit", "export", "report", "verify"],
    "edgepipe_models": ["Recipe", "default_bundle", "recipe", "recipes"],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_the_public_names(package: str) -> None:
    module = import_module(package)
    assert sorted(module.__all__) == PUBLIC[package]
    assert all(hasattr(module, name) for name in PUBLIC[package])


def test_public_names_are_listed_before_they_are_loaded() -> None:
    assert sorted(PUBLIC["edgepipe"]) == dir(edgepipe)
    with pytest.raises(AttributeError, match="no attribute 'pipelin'"):
        _ = edgepipe.pipelin


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing ``edgepipe.name`` would put the module in the place of what the package loads under that name."""
    modules = {path.stem for path in (ROOTS["edgepipe"] / "edgepipe").iterdir()}
    assert not modules & set(PUBLIC["edgepipe"])


def test_the_version_is_that_of_the_distribution() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{edgepipe.__version__}"' in text


def test_the_drawn_hierarchy_of_errors_is_the_real_one() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for prefix, name in re.findall(r"^    ([│ ├└─]*)(\w+Error)\b", edgepipe.errors.__doc__ or "", re.MULTILINE):
        depth = len(prefix) // 4
        above[depth:] = [name]
        drawn[name] = above[depth - 1] if depth else "Exception"
    errors = {
        name: value
        for name, value in vars(edgepipe.errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert drawn == {name: error.__bases__[0].__name__ for name, error in errors.items()}


def test_every_task_is_one_file_with_golden_answers() -> None:
    for name, entry in TASKS.items():
        module, attribute = entry.pipeline
        task = task_class(name)
        assert (task.__name__, task.name) == (attribute, name)
        assert (ROOTS["edgepipe"] / "edgepipe" / "pipelines" / f"{module}.py").is_file()
        golden = list((REPOSITORY / "tests" / "golden" / name).glob("*.json"))
        assert golden, f"{name} has no golden file"
    assert set(ALIASES.values()) <= set(TASKS)


def test_no_task_is_named_outside_of_the_tasks() -> None:
    """``if task == ...`` anywhere else would be a second registry."""
    names = "|".join([*TASKS, *ALIASES])
    pattern = re.compile(rf"""(==|!=|\bin) *[(\[{{]?["']({names})["']""")
    for path in files("edgepipe", "edgepipe_export"):
        if path.parent.name != "pipelines":
            assert not pattern.search(path.read_text(encoding="utf-8")), path
