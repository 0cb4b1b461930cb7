"""What a model thought of each token that it wrote, in the two forms that completions and chats have."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgepipe.serve.protocols.openai.openai_writing import WrittenToken
from edgepipe.serve.served_model import ServedModel
from edgepipe.tokenization.token_bytes import TokenBytes

# What OpenAI gives for a logarithm of 0, which JSON cannot write.
_IMPOSSIBLE = -9999.0


class CompletionLogprobs(msgspec.Struct):
    """What the model thought of each token of a completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class TopLogprob(msgspec.Struct):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token that was written, and what else could have been."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct):
    """What the model thought of each token of an answer."""

    content: list[TokenLogprob]
    refusal: None = None


class LogprobWriter:
    """Writes what a model thought of tokens."""

    def __init__(self, model: ServedModel) -> None:
        self._bytes = TokenBytes(model.task.tokenizer)

    def for_completion(self, tokens: Sequence[WrittenToken], wanted: int) -> CompletionLogprobs:
        """Lists beside each other, as completions have them."""
        shown = CompletionLogprobs([], [], [] if wanted else None, [])
        for each in tokens:
            assert each.logprobs is not None, "it was asked for"
            name, chosen = self._name(each.token_id), _finite(each.logprobs.chosen)
            shown.tokens.append(name)
            shown.token_logprobs.append(chosen)
            shown.text_offset.append(each.start)
            if shown.top_logprobs is not None:
                best = {self._name(token): _finite(logprob) for token, logprob in reversed(each.logprobs.best)}
                shown.top_logprobs.append(dict(reversed(best.items())) | {name: chosen})
        return shown

    def for_chat(self, tokens: Sequence[WrittenToken]) -> ChatLogprobs:
        """A record for each token, as chats have them."""
        content = []
        for each in tokens:
            assert each.logprobs is not None, "it was asked for"
            best = [TopLogprob(*self._describe(token, logprob)) for token, logprob in each.logprobs.best]
            content.append(TokenLogprob(*self._describe(each.token_id, each.logprobs.chosen), best))
        return ChatLogprobs(content)

    def _describe(self, token: int, logprob: float) -> tuple[str, float, list[int] | None]:
        found = self._bytes[token]
        if found is None:
            return "", _finite(logprob), None
        return found.decode(errors="replace"), _finite(logprob), list(found)

    def _name(self, token: int) -> str:
        """The token's text; as OpenAI writes it where that is no whole character."""
        found = self._bytes[token] or b""
        try:
            return found.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in found)


def _finite(logprob: float) -> float:
    return max(logprob, _IMPOSSIBLE)
