"""Text generation: a prompt or a chat, and what the model writes behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from edgepipe.chat_template import is_message
from edgepipe.errors import InputError
from edgepipe.generation.lengths import for_prompt, new_tokens
from edgepipe.tasks.base import Request
from edgepipe.tasks.generative import GenerationSettings, GenerativeTask
from edgepipe.tasks.text_options import checked_flag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Options of sampling, which are defaults only where there is sampling.
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
# Options of the tokenizer; `max_length` is one of the search for tokens as well.
_TOKENIZER = ("add_special_tokens", "truncation", "padding", "max_length")
# Before short prompts of XLNet, by Aman Rusia (https://github.com/rusiaaman/XLNet-gen#methodology); the very text
# that transformers puts there.
_XLNET_PREFIX = """
    In 1991, the remains of Russian Tsar Nicholas II and his family (except for Alexei and Maria) are discovered. The
    voice of Nicholas's young son, Tsarevich Alexei Nikolaevich, narrates the remainder of the story. 1883 Western
    Siberia, a young Grigori Rasputin is asked by his father and a group of men to perform magic. Rasputin has a vision
    and denounces one of the men as a horse thief. Although his father initially slaps him for making such an
    accusation, Rasputin watches as the man is chased outside and beaten. Twenty years later, Rasputin sees a vision of
    the Virgin Mary, prompting him to become a priest. Rasputin quickly becomes famous, with people, even a bishop,
    begging for his blessing. <eod> </s> <eos>
    """


@dataclass(frozen=True, slots=True)
class Settings(GenerationSettings):
    """Checked options.

    Attributes:
        full_text: Whether texts begin with the prompt, and chats with the messages given.
        prefix: Text before every prompt that is not shown.
        hole: Whether a prompt that leaves no room loses its beginning.
        continue_final_message: Whether to go on with a chat's last message; None: where the assistant wrote it.
        template: What else the chat template is given.
    """

    full_text: bool
    prefix: str
    hole: bool
    continue_final_message: bool | str | None
    template: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the result is made of beside new tokens.

    Attributes:
        given: The text, or the messages of a chat.
        shown: Prompt tokens that are decoded with the new ones: those that stand in for an empty prompt.
        continues: Whether the new text belongs to the last message.
    """

    given: str | Sequence[Mapping[str, Any]]
    shown: Sequence[int]
    continues: bool = False


class TextGeneration(GenerativeTask):
    """Continuations of prompts and answers to chats, as transformers' ``TextGenerationPipeline`` gives them.

    Options: those of the search for tokens, ``return_full_text`` (default True), ``return_tensors``,
    ``skip_special_tokens`` (default True), ``clean_up_tokenization_spaces``, ``prefix``, ``handle_long_generation``
    (None or "hole"), ``stop_sequence`` (one or several), ``continue_final_message``, ``tools``, ``documents``,
    ``add_special_tokens``, ``truncation``, ``padding`` and ``tokenizer_encode_kwargs`` (a dict).

    Where neither checkpoint nor caller says otherwise, up to 256 tokens are sampled at a temperature of 0.7.
    """

    name = "text-generation"
    auto_model = "AutoModelForCausalLM"
    head = "ForCausalLM"
    other_heads = ("LMHeadModel", "ModelWithLMHead")
    defaults = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}  # noqa: RUF012
    own_options = (
        "return_full_text", "return_tensors", "return_text", "skip_special_tokens", "clean_up_tokenization_spaces",
        "prefix", "handle_long_generation", "stop_sequence", "continue_final_message", "tools", "documents",
        "add_special_tokens", "truncation", "padding", "tokenizer_encode_kwargs",
    )  # fmt: skip

    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Write behind a prompt.

        Args:
            inputs: A text, or a chat: a list of dicts with ``role`` and ``content``; or a list or iterator of either.
            batch_size: How many prompts go through the decoder at once.
            progress: Whether to count the results of a list or iterator on standard error.
            **options: See the class.

        Returns:
            For each prompt a list of dicts, one a returned sequence, with ``generated_text`` (of a chat: its messages
            and the answer) or ``generated_token_ids``.
        """
        if isinstance(inputs, Iterator):
            inputs = _chat_or_inputs(inputs)
        return super().__call__(inputs, batch_size=batch_size, progress=progress, **options)

    def is_one(self, inputs: Any) -> bool:
        """A chat is one input, though it is a list."""
        return _is_chat(inputs) or super().is_one(inputs)

    def task_options(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The task's defaults, as far as neither checkpoint nor caller sets them; see the base class."""
        given = {**checkpoint_options(self.decoder), **options}
        added = {
            name: value
            for name, value in self.defaults.items()
            if given.get(name) is None and not (name == "max_new_tokens" and given.get("max_length") is not None)
        }
        samples = {**given, **added}.get("do_sample")
        return {name: value for name, value in added.items() if samples or name not in _SAMPLING}
