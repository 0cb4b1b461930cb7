from __future__ import annotations

from tests.slowest import report_slowest


def test_the_slowest_come_first_by_test_and_by_file() -> None:
    seconds = {"a.py::one": 0.5, "b.py::two": 2.0, "b.py::three": 1.5, "a.py::four[b]": 0.75}
    assert report_slowest(seconds) == [
        "slowest tests, of 5 s:",
        "     2.0 s  b.py::two",
        "     1.5 s  b.py::three",
        "slowest files, of 5 s:",
        "     3.5 s  b.py",
        "     1.2 s  a.py",
    ]


def test_quick_tests_need_no_report() -> None:
    assert report_slowest({"a.py::one": 0.1}) == []
