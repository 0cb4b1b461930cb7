"""Text generation: a prompt or a chat, and what the model writes behind it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, Unpack, overload

from edgepipe.arguments import ReferenceOption, is_one_of
from edgepipe.errors import InputError
from edgepipe.generation.config import GenerationConfig
from edgepipe.generation.prompt import count_new_tokens, limit_new_tokens
from edgepipe.pipelines.assistants import read_assistant
from edgepipe.pipelines.base import Outputs, Request, Result
from edgepipe.pipelines.generative import GenerationSettings, GenerativeTask, check_streamer
from edgepipe.pipelines.options import check_tokenizer_arguments, get_flag, min_limit, return_type_name
from edgepipe.pipelines.prefix_caching import CachedPrefix, PrefixCache, check_prefix_cache_bytes
from edgepipe.pipelines.text_columns import as_list
from edgepipe.tokenization.chat_template import is_message

if TYPE_CHECKING:
    from edgepipe.pipelines.task_inputs import AnyChat, Chat, ChatItem
    from edgepipe.pipelines.task_options import CallTextGeneration, CallWholeText, TextGenerationOptions
    from edgepipe.pipelines.task_results import GeneratedTokenIds, TextGenerationResult

# What a pipeline gives for each text that it writes for a chat, by the options that it was made with.
ChatResult = TypeVar("ChatResult")
# Options of the tokenizer; `max_length` is one of the search for tokens as well.
_TOKENIZER = ("add_special_tokens", "truncation", "padding", "max_length")
# Those that the tokenizer gets for a chat; the template gets all others.
_OF_CHATS = ("truncation", "padding", "max_length")
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
class TextGenerationSettings(GenerationSettings):
    """Checked options.

    Attributes:
        full_text: Whether texts begin with the prompt, and chats with the messages given.
        prefix: Text before every prompt that is not shown.
        hole: Whether a prompt that leaves no room loses its beginning.
        continue_final_message: Whether to go on with a chat's last message; None: where the assistant wrote it.
        template: What else the chat template is given.
        prefix_cache_bytes: The most that cached beginnings of prompts may take; 0 for none, None for the default.
    """

    full_text: bool
    prefix: str
    hole: bool
    continue_final_message: bool | str | None
    template: Mapping[str, Any]
    prefix_cache_bytes: int | None


@dataclass(frozen=True, slots=True)
class TextOrChat:
    """What the result is made of beside new tokens.

    Attributes:
        given: The text, or the messages of a chat.
        shown: Prompt tokens that are decoded with the new ones: those that stand in for an empty prompt.
        continues: Whether the new text belongs to the last message.
    """

    given: str | Sequence[Mapping[str, Any]]
    shown: Sequence[int]
    continues: bool = False


class TextGeneration(GenerativeTask, Generic[Result, ChatResult]):
    """Continuations of prompts and answers to chats, as transformers' ``TextGenerationPipeline`` gives them.

    ::

        write = pipeline("text-generation", "path/to/bundle")
        write("Once upon a time", max_new_tokens=40, do_sample=False)  # [{"generated_text": "Once upon a time ..."}]
        write([{"role": "user", "content": "Hello!"}])  # [{"generated_text": [{"role": "user", ...}, {...}]}]
        for piece in write.stream("Once upon a time"):
            print(piece, end="", flush=True)

    The options of a call may be given to ``pipeline`` too; then they hold for every call. Where neither the checkpoint
    nor the caller says otherwise, up to 256 tokens are sampled at a temperature of 0.7.
    """

    name = "text-generation"
    defaults: ClassVar[Mapping[str, Any]] = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.7}
    own_options: ClassVar[tuple[str, ...]] = (
        "return_full_text", "return_tensors", "return_text", "return_type", "skip_special_tokens",
        "clean_up_tokenization_spaces", "prefix", "handle_long_generation", "stop_sequence", "continue_final_message",
        "tools", "documents", "add_special_tokens", "truncation", "padding", "tokenizer_encode_kwargs",
        "generation_config", "streamer", "prefix_cache_bytes", "assistant_model",
    )  # fmt: skip
    reference_options: ClassVar[Mapping[str, ReferenceOption]] = {
        name: option for name, option in GenerativeTask.reference_options.items() if name != "assistant_model"
    }

    @overload
    def __call__(
        self, inputs: str | Chat, *, return_tensors: Literal[True], **options: Unpack[CallTextGeneration]
    ) -> list[GeneratedTokenIds]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...] | list[ChatItem] | tuple[ChatItem, ...],
        *,
        return_tensors: Literal[True],
        **options: Unpack[CallTextGeneration],
    ) -> list[list[GeneratedTokenIds]]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str | AnyChat], *, return_tensors: Literal[True], **options: Unpack[CallTextGeneration]
    ) -> Iterator[list[GeneratedTokenIds]]: ...
    @overload
    def __call__(
        self, inputs: str | Chat, *, return_full_text: Literal[False], **options: Unpack[CallTextGeneration]
    ) -> list[TextGenerationResult]: ...
    @overload
    def __call__(
        self,
        inputs: list[str] | tuple[str, ...] | list[ChatItem] | tuple[ChatItem, ...],
        *,
        return_full_text: Literal[False],
        **options: Unpack[CallTextGeneration],
    ) -> list[list[TextGenerationResult]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str | AnyChat],
        *,
        return_full_text: Literal[False],
        **options: Unpack[CallTextGeneration],
    ) -> Iterator[list[TextGenerationResult]]: ...
    @overload
    def __call__(self, inputs: str, **options: Unpack[CallWholeText]) -> list[Result]: ...
    @overload
    def __call__(self, inputs: Chat, **options: Unpack[CallWholeText]) -> list[ChatResult]: ...
    @overload
    def __call__(self, inputs: list[str] | tuple[str, ...], **options: Unpack[CallWholeText]) -> list[list[Result]]: ...
    @overload
    def __call__(
        self, inputs: list[ChatItem] | tuple[ChatItem, ...], **options: Unpack[CallWholeText]
    ) -> list[list[ChatResult]]: ...
    @overload
    def __call__(self, inputs: Iterator[str], **options: Unpack[CallWholeText]) -> Iterator[list[Result]]: ...
    @overload
    def __call__(self, inputs: Iterator[AnyChat], **options: Unpack[CallWholeText]) -> Iterator[list[ChatResult]]: ...
    def __call__(self, inputs: Any, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """Write behind a prompt.

        Args:
            inputs: A text, or a chat: a list of dicts with ``role`` and ``content``; or a list or iterator of either.
            batch_size: How many prompts go through the decoder at once; by default the pipeline's own.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: Those of the search for tokens (:class:`~edgepipe.generation.config.GenerationConfig`), e.g.
                ``max_new_tokens``, ``do_sample``, ``temperature``, ``num_beams``, ``seed``; and these:
                ``return_full_text``: whether results begin with the prompt, as they do by default.
                ``return_tensors``: whether results are token ids instead of text.
                ``skip_special_tokens``: whether special tokens are left out of the text, as they are by default.
                ``clean_up_tokenization_spaces``: whether blanks before punctuation go.
                ``prefix``: a text before every prompt that is not shown.
                ``stop_sequence``: a text or several; the result ends with the first of them.
                ``handle_long_generation``: "hole" lets a prompt that is too long lose its beginning.
                ``continue_final_message``: whether to go on with the last message of a chat.
                ``tools``, ``documents``: what the chat template is told beside the messages.
                ``add_special_tokens``, ``truncation``, ``padding``, ``tokenizer_encode_kwargs`` (a dict): for the
                tokenizer.
                ``json_schema``, ``regex``, ``choices``: what the new text is held to; see
                docs/how-to/structured-output.md. Needs ``llguidance``.
                ``generation_config``: a ``GenerationConfig`` of transformers, or a dict; the options of the call go
                before it, and it takes the place of those of the search that the pipeline was made with.
                ``streamer``: an object with ``put`` and ``end``, which gets the tokens as they come.
                ``prefix_cache_bytes``: the most that cached beginnings of prompts take (:meth:`cache_prefix`), 1 GiB by
                default. In a call it bounds what the prompts of its list have in common; with 0 each computes all, as
                those of variants that round do by default.
                ``assistant_model``: a pipeline with the same tokens whose guesses are checked; see
                docs/reference/generation.md.

        Returns:
            For each prompt a list of dicts, one a returned sequence, with ``generated_text`` (of a chat: its messages
            and the answer) or ``generated_token_ids``.

        Raises:
            InputError: a prompt or an option cannot be used.
            ClosedError: the pipeline was closed.
        """
        inputs = as_list(inputs)
        if isinstance(inputs, Iterator):
            inputs = _chat_or_inputs(inputs)
        return self._call(inputs, batch_size=batch_size, progress=progress, **options)

    def stream(self, prompt: str | Chat, **options: Unpack[TextGenerationOptions]) -> Generator[str, None, None]:
        """Write behind a prompt, and give each piece of the text as soon as it is whole.

        Args:
            prompt: A text or a chat.
            **options: As in a call.

        Returns:
            An iterator of pieces of text, without the prompt; joined they are the new text of the whole result.
            Whoever closes it, or stops reading, ends the search.

        Raises:
            InputError: the prompt or an option cannot be used; several beams, whose text is certain only at the end.
            ClosedError: the pipeline was closed.
        """
        return self._stream(prompt, options)

    def cache_prefix(self, text: str | Chat, **options: Unpack[TextGenerationOptions]) -> CachedPrefix:
        """Compute how prompts begin once: later calls whose token ids begin as those of the prefix go on from there.

        ::

            write.cache_prefix([{"role": "system", "content": "You are ..."}])
            write([{"role": "system", "content": "You are ..."}, {"role": "user", "content": "Hello!"}])

        A call uses as many of its tokens as it has in common with a prefix, whichever fits best, and gives the tokens
        that it gives without. A pickled pipeline has none of its prefixes.

        Args:
            text: The beginning of a text, or the first messages of a chat.
            **options: As in a call. Those of the tokenizer and the template (``tools``) must be those of the calls, and
                ``prefix_cache_bytes`` bounds what all prefixes of the pipeline take.

        Returns:
            How many tokens it has, and what they take.

        Raises:
            InputError: the prefix or an option cannot be used, this variant cannot use prefixes, or there is no room.
            LengthError: it is longer than the model takes.
            ClosedError: the pipeline was closed.
        """
        settings = self.settings(self.merge_options(options)) if options else self._own_settings
        given = list(text) if isinstance(text, Iterator) else text
        if isinstance(given, str):
            ids = self.tokenizer(settings.prefix + given, **settings.tokenizer)["input_ids"]
        elif _is_chat(given):
            ids = self._encode_chat(given, settings, answers=False)[0]["input_ids"]
        else:
            raise _input_error(given)
        return self._prefixes.add(list(ids), settings.prefix_cache_bytes)

    def clear_prefixes(self) -> None:
        """Let go what :meth:`cache_prefix` holds; its memory is free then."""
        self._prefixes.clear()

    @cached_property
    def _prefixes(self) -> PrefixCache:
        return PrefixCache(self.model)

    def run_requests(
        self, requests: Iterable[Request], batch_size: int, settings: TextGenerationSettings
    ) -> Iterator[Any]:
        """See :meth:`Task.run_requests`; what prompts have in common is computed once."""
        if not self.decoder.joins:
            yield from super().run_requests(requests, batch_size, settings)
            return
        with self._prefixes.share_heads(settings.prefix_cache_bytes) as heads:
            yield from super().run_requests(map(heads.hold, requests), batch_size, settings)

    def is_one(self, inputs: Any) -> bool:
        """A chat is one input, though it is a list."""
        return _is_chat(inputs) or super().is_one(inputs)

    def settings(self, options: Mapping[str, Any]) -> TextGenerationSettings:
        """Check the options; see :meth:`Task.settings`."""
        stop = options.get("stop_sequence")
        searched = dict(options) if stop is None else {**options, "stop_strings": stop}
        generation = self.generation_config(searched)
        tensors, full_text = _result_form(options)
        tokenizer = {name: options[name] for name in _TOKENIZER if options.get(name) is not None}
        extra = check_tokenizer_arguments("tokenizer_encode_kwargs", options.get("tokenizer_encode_kwargs"))
        usual = self._usual_prefix()
        prefix = usual if options.get("prefix") is None else options["prefix"]
        if not isinstance(prefix, str):
            raise InputError(f"prefix must be a text, got {prefix!r}")
        long = options.get("handle_long_generation")
        if not is_one_of(long, (None, "hole")):
            raise InputError(f"handle_long_generation must be None or 'hole', got {long!r}")
        clean_up = get_flag(options, "clean_up_tokenization_spaces", None)
        is_held = generation.constraint is not None
        if is_held and clean_up:
            raise InputError(
                "clean_up_tokenization_spaces=True contradicts json_schema, regex and choices: it changes a text that "
                "is held to a form; leave it out"
            )
        continues = options.get("continue_final_message")
        if not isinstance(continues, bool | str | None):
            raise InputError(f"continue_final_message must be True, False or the field to continue, got {continues!r}")
        return TextGenerationSettings(
            tokenizer={**tokenizer, **extra},
            # As in transformers, where a call with prefix="" still has the length of the pipeline's own.
            generation=self._with_prefix(generation, prefix or usual, options),
            tensors=tensors,
            streamer=check_streamer(options.get("streamer")),
            assistant=read_assistant(options.get("assistant_model"), self, generation),
            clean_up=False if is_held else clean_up,
            # The template that parses a response looks for special tokens; in a text that is held to a form are none.
            skip_special_tokens=get_flag(options, "skip_special_tokens", True)
            and (is_held or not self.tokenizer.has_response_template),
            full_text=full_text,
            prefix=prefix,
            hole=long == "hole",
            continue_final_message=continues,
            template={name: options[name] for name in ("tools", "documents") if options.get(name) is not None},
            prefix_cache_bytes=check_prefix_cache_bytes(options.get("prefix_cache_bytes")),
        )

    def _usual_prefix(self) -> Any:
        """The prefix of calls that have none of their own: the pipeline's, the checkpoint's, or XLNet's."""
        xlnet = _XLNET_PREFIX if self.decoder.config.get("model_type") == "xlnet" else None
        given = (self.options.get("prefix"), self.decoder.config.get("prefix"), xlnet)
        return next((prefix for prefix in given if prefix is not None), "")

    def _with_prefix(self, config: GenerationConfig, prefix: str, options: Mapping[str, Any]) -> GenerationConfig:
        """Total lengths count the prefix, which nobody sees, out of the prompt."""
        if not prefix:
            return config
        special = bool(options.get("add_special_tokens", False))
        tokens = len(self.tokenizer(prefix, add_special_tokens=special)["input_ids"])
        longest = config.max_length
        if longest is not None and config.max_new_tokens is None:
            longest += tokens
        least = config.min_length
        if least and config.min_new_tokens is None:
            least += tokens
        return replace(config, max_length=longest, min_length=least)

    def encode(self, item: Any, settings: TextGenerationSettings) -> Request:
        """Token ids of one prompt or chat."""
        if isinstance(item, str):
            encoding: Mapping[str, Any] = self.tokenizer(settings.prefix + item, **settings.tokenizer)
            continues = False
        elif isinstance(item, (list, tuple)):
            encoding, continues = self._encode_chat(item, settings)
        else:
            raise _input_error(item)
        ids = list(encoding["input_ids"])
        mask = list(encoding.get("attention_mask", [1] * len(ids)))
        if settings.hole:
            kept = self._fit_prompt(len(ids), settings.generation)
            ids, mask = ids[-kept:], mask[-kept:]
        shown: list[int] = []
        if not ids:
            if settings.generation.bos_token_id is None:
                raise InputError("the prompt is empty, and the model has no token to begin a text with; pass some text")
            ids, mask = [settings.generation.bos_token_id], [1]
            shown = ids
        request = Request([{"input_ids": ids, "attention_mask": mask}], TextOrChat(item, shown, continues))
        limit_new_tokens(settings.generation, self.decoder, len(ids))  # here the message gets the input's position
        return request

    def _encode_chat(
        self, messages: Sequence[Any], settings: TextGenerationSettings, *, answers: bool = True
    ) -> tuple[Mapping[str, Any], bool]:
        """Token ids of a chat, and whether its last message goes on; with `answers` an answer begins at its end."""
        for position, message in enumerate(messages):
            if not is_message(message):
                raise InputError(
                    f"message {position} of the chat must be a dict with 'role' and 'content', got {message!r:.60}"
                )
        if not messages:
            raise InputError("the chat has no message; give at least one, {'role': 'user', 'content': ...}")
        continues = settings.continue_final_message if answers else False
        if continues is None:
            # Few models take two messages of the assistant in a row: one at the end is the beginning of its answer.
            continues = messages[-1]["role"] == "assistant"
        if continues and settings.full_text and not isinstance(messages[-1]["content"], str):
            raise InputError("the last message's content is no text, so there is nothing to put the answer behind")
        of_tokenizer = {name: value for name, value in settings.tokenizer.items() if name in _OF_CHATS}
        others = {
            name: value
            for name, value in settings.tokenizer.items()
            if name not in of_tokenizer and name != "add_special_tokens"
        }
        encoding = self.tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=answers and not continues,
            continue_final_message=continues,
            tokenizer_kwargs={"truncation": False, **of_tokenizer},  # max_length alone does not cut a chat
            **settings.template,
            **others,
        )
        return encoding, bool(continues)

    def _fit_prompt(self, length: int, config: GenerationConfig) -> int:
        """How many tokens of a prompt to keep, so that the new tokens have room behind it."""
        new = count_new_tokens(config, length)
        if new < 0:
            raise InputError(
                f"max_length={config.max_length} is less than the {length} tokens of the prompt, so it does not say "
                "how many are to be written; pass max_new_tokens"
            )
        limit = min_limit(self.tokenizer.model_max_length, self.decoder.max_length)
        if limit is None or length + new <= limit:
            return length
        kept = limit - new
        if kept <= 0:
            raise InputError(
                f"{new} new tokens leave no room for a prompt within the {limit} that the model takes; pass a "
                "smaller max_new_tokens"
            )
        return kept

    def before_stream(self, prompt: Any) -> str:
        """The prompt, where results begin with it; see the base class."""
        return prompt if isinstance(prompt, str) and self._own_settings.full_text else ""

    def shown_prompt(self, request: Request) -> Sequence[int]:
        """The token that stands in for an empty prompt; see the base class."""
        prompt: TextOrChat = request.context
        return prompt.shown

    def decode(self, request: Request, outputs: Sequence[Outputs], settings: TextGenerationSettings) -> Any:
        """The result of one prompt, from ``sequences`` int64[sequences, new tokens] and ``padding`` int64[tokens]."""
        prompt: TextOrChat = request.context
        records: list[dict[str, Any]] = []
        for new in outputs[0]["sequences"].tolist():
            if settings.tensors:
                before = outputs[0]["padding"].tolist()
                records.append({"generated_token_ids": [*before, *request.pieces[0]["input_ids"], *new]})
                continue
            text = self.tokenizer.decode(
                [*prompt.shown, *new],
                skip_special_tokens=settings.skip_special_tokens,
                clean_up_tokenization_spaces=settings.clean_up,
            )
            records.append({"generated_text": _full(prompt, text) if settings.full_text else text})
        return records


def _input_error(item: Any) -> InputError:
    return InputError(f"expected a text, or a chat as a list of messages, got {type(item).__name__} {item!r:.60}")


def _full(prompt: TextOrChat, text: str) -> str | list[Mapping[str, Any]]:
    """The prompt and the new text."""
    if isinstance(prompt.given, str):
        return prompt.given + text
    *before, last = prompt.given
    if prompt.continues:
        return [*before, {"role": last["role"], "content": last["content"] + text}]
    return [*before, last, {"role": "assistant", "content": text}]


def _result_form(options: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether token ids are wanted, and whether texts begin with the prompt."""
    tensors = get_flag(options, "return_tensors", False)
    full_text = get_flag(options, "return_full_text", True)
    get_flag(options, "return_text", True)
    name = return_type_name(options.get("return_type"), ("TENSORS", "NEW_TEXT", "FULL_TEXT"))
    if name is not None:  # it goes before the others, as in the reference
        return name == "TENSORS", name == "FULL_TEXT"
    both = [name for name in ("return_full_text", "return_text") if options.get(name) is not None]
    if tensors:
        both.append("return_tensors")
    if len(both) > 1:
        raise InputError(f"{both[0]} and {both[1]} exclude each other: each says what form results have; pass one")
    return tensors, full_text


def _is_chat(inputs: Any) -> bool:
    return isinstance(inputs, (list, tuple)) and len(inputs) > 0 and is_message(inputs[0])


def _chat_or_inputs(inputs: Iterator[Any]) -> Any:
    """An iterator of messages is one chat; any other stays as it is."""
    for first in inputs:
        return [first, *inputs] if is_message(first) else chain([first], inputs)
    return iter(())
