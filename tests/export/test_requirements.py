"""The packages that an export needs."""

from __future__ import annotations

import re

import pytest

from edgepipe.errors import DependencyError
from edgepipe_export import requirements
from edgepipe_export.requirements import package_versions, require_packages, require_report_packages


def test_all_are_here_with_their_versions_in_order() -> None:
    require_packages()
    assert list(package_versions()) == ["edgepipe", *requirements.PACKAGES]


def test_what_is_missing_or_too_old_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = {"no-such-package": "no_such_package", "pytest": "pytest.no_such_module", "numpy": "numpy"}
    monkeypatch.setattr(requirements, "PACKAGES", packages)
    old = f"a newer pytest (found {pytest.__version__})"
    message = re.escape(f"an export needs no-such-package, {old}; pip install 'edgepipe[export]'")
    with pytest.raises(DependencyError, match=f"^{message}$"):
        require_packages()
    assert list(package_versions()) == ["edgepipe", "pytest", "numpy"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("pytest", "no_such_package"), "no_such_package, which is not installed. Try: pip install no_such_package"),
        (("no_such", "nor_this"), "no_such and nor_this, which are not installed. Try: pip install no_such nor_this"),
    ],
)
def test_what_a_page_lacks_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], said: str
) -> None:
    require_report_packages()
    monkeypatch.setattr(requirements, "REPORT_PACKAGES", names)
    with pytest.raises(DependencyError, match=f"^{re.escape(f'a report needs {said}')}$"):
        require_report_packages()
