"""Special tokens, and the blanks that they take from the text around them."""

from __future__ import annotations

from types import SimpleNamespace

from tokenizers import AddedToken

from edgepipe_export.checkpoint.tokenizer_conversion.special_tokens import special_tokens

TOKENIZER = SimpleNamespace(
    special_tokens_map={"eos_token": "</s>", "mask_token": "<mask>", "sep_token": "</s>", "more": ["<a>"]},
    added_tokens_decoder={0: AddedToken("<mask>", lstrip=True), 1: AddedToken("<b>", rstrip=True)},
)


def test_each_is_there_once_in_its_order() -> None:
    assert [token.content for token in special_tokens(TOKENIZER)] == ["</s>", "<mask>"]
    assert [token.content for token in special_tokens(TOKENIZER, ["<b>", "</s>", "<c>"])] == [
        "</s>",
        "<mask>",
        "<b>",
        "<c>",
    ]


def test_blanks_are_taken_as_the_tokenizer_says() -> None:
    found = {token.content: (token.lstrip, token.rstrip) for token in special_tokens(TOKENIZER, ["<b>", "<c>"])}
    assert found == {"</s>": (False, False), "<mask>": (True, False), "<b>": (False, True), "<c>": (False, False)}
    assert all(token.special and not token.normalized for token in special_tokens(TOKENIZER))
