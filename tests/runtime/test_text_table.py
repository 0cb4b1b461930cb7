import pytest

from edgepipe.errors import InputError
from edgepipe.text_table import table


def test_columns_are_aligned_and_numbers_are_set_right() -> None:
    assert table(["name", "size"], [["fp32", "90.1 MB"], ["int8", "7 MB"], ["q4", "-"]]) == (
        "name     size\n----  -------\nfp32  90.1 MB\nint8     7 MB\nq4          -"
    )


def test_a_column_with_words_is_set_left_and_lines_have_no_blanks_at_their_ends() -> None:
    assert table(["parity"], [["passed"], ["7"]]) == "parity\n------\npassed\n7"


def test_align_goes_before_the_guess() -> None:
    assert table(["a", "bcd"], [["1", "x"]], align="lr") == "a  bcd\n-  ---\n1    x"


def test_no_rows_leave_the_headers() -> None:
    assert table(["a", "b"], []) == "a  b\n-  -"


def test_wide_and_combining_characters_keep_the_columns_in_line() -> None:
    lines = table(["text", "n"], [["你好", "x"], ["e\u0301", "y"]]).splitlines()
    assert lines[2:] == ["你好  x", "e\u0301     y"]


def test_line_breaks_in_a_cell_become_blanks() -> None:
    assert table(["a"], [["one\n two\t"]]).splitlines()[-1] == "one two"


@pytest.mark.parametrize(("rows", "align"), [([["1"]], None), ([["1", "2"]], "l"), ([["1", "2"]], "lc")])
def test_what_does_not_fit_is_refused(rows: list[list[str]], align: str | None) -> None:
    with pytest.raises(InputError):
        table(["a", "b"], rows, align)
