"""What all tasks share: how inputs arrive, how they are batched, and in what order results leave."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgepipe.arguments import ReferenceOption, check_flag, check_whole, drop_reference_options
from edgepipe.backend.device import DeviceSpec
from edgepipe.backend.session import SessionConfig, SessionOwner
from edgepipe.bundle.directory import Bundle
from edgepipe.bundle.labels import Labels, check_labels, read_labels
from edgepipe.bundle.model_config import ModelConfig
from edgepipe.bundle.tasks import TASKS
from edgepipe.errors import DependencyError, InputError, not_finite_error
from edgepipe.models.graph_outputs import check_output
from edgepipe.pipelines.batching import WINDOW, batches, chunks, reads_padding, round_length
from edgepipe.pipelines.cut_texts import CutTexts, asks_to_cut
from edgepipe.pipelines.pipeline_options import CALL_OPTIONS
from edgepipe.pipelines.text_columns import as_list
from edgepipe.pipelines.workers import Workers, read_ahead
from edgepipe.tokenization.batch_encoding import BatchEncoding
from edgepipe.tokenization.tokenizer import Tokenizer

Outputs = Mapping[str, NDArray[Any]]
# What a pipeline gives for one input, by the options that it was made with.
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Request:
    """One input on its way through the graph.

    Attributes:
        pieces: Token ids and masks of each piece, as lists of one length. A text is one piece; tasks that cut long
            texts, or that ask several questions of one text, have more.
        context: Whatever the task needs to decode, e.g. the text and its offsets.
        is_cut: Whether something of the input was cut off, because it is too long.
    """

    pieces: Sequence[Mapping[str, list[int]]]
    context: Any = None
    is_cut: bool = False

    @property
    def cut_at(self) -> int | None:
        """The tokens that are left of an input that was cut; None for one that is whole."""
        return max(len(piece["input_ids"]) for piece in self.pieces) if self.is_cut else None


class TaskModel(Protocol):
    """What every task needs of a model.

    :class:`~edgepipe.models.loaded_variant.LoadedVariant` is one, a checkpoint in PyTorch may be. A task that writes
    text has a decoder (:class:`~edgepipe.generation.decoder_protocol.Decoder`); the others call theirs as a
    :class:`~edgepipe.models.encoder.Model` is called.

    Attributes:
        dtype: The variant.
        max_length: Longest input in tokens; None where it has no limit.
    """

    dtype: str
    max_length: int | None

    @property
    def config(self) -> ModelConfig:
        """The checkpoint's ``config.json``."""
        ...

    @property
    def few_shapes(self) -> bool:
        """Whether the first run of each shape takes long."""
        ...

    @property
    def workers(self) -> int:
        """How many of its runs go side by side."""
        ...

    @property
    def device(self) -> DeviceSpec:
        """Where it runs."""
        ...

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on a processor."""
        ...

    @property
    def output_shapes(self) -> Mapping[str, Sequence[int | str | None]]:
        """The declared shapes of its outputs, as far as they are known before it runs."""
        ...

    def close(self) -> None:
        """Release its memory."""
        ...


class Task(SessionOwner):
    """A pipeline: encode, run, decode.

    A subclass has the name of its entry in :data:`edgepipe.bundle.tasks.TASKS`. It turns one input into token arrays,
    and the graph's outputs for them into a result. Its ``__call__`` has the types of its inputs, options and results.

    Attributes:
        task: The task's name as it was asked for, e.g. ``"ner"``.
        name: The task's name, as in the registry.
        auto_model: Name of the transformers auto class that loads a checkpoint for it.
        heads: How the class names of such checkpoints end, the usual one first.
        outputs: The output tensors the task reads.
        token_level: Whether these have an entry for each token.
        scores_per_label: Whether an entry is several numbers, one for each label, word or dimension, and not one.
        generates: Whether it writes text, token by token.
        has_labels: Whether its results name the checkpoint's labels, one for each logit.
        json_example: An input as JSON, for tasks whose inputs are no texts; None for the others.
        reference_options: What transformers' pipeline takes at a call, and what has no use here.
        window: How many batches are read ahead, to find inputs of like length.
        token_types: Whether models that take ``token_type_ids`` get those of a pair, whatever the tokenizer gives.
        tokenizer: The bundle's tokenizer.
        model: The bundle's graph, or what else :meth:`load` gives. ``model.config`` is the checkpoint's config.
        batch_size: How many pieces go through the graph at once.
        options: The pipeline's own options; those of a call go before them.
        warns_of_cuts: Whether a call warns of texts that were cut because nobody said what to do with long ones.
    """

    name: ClassVar[str]
    auto_model: ClassVar[str]
    heads: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    token_level: ClassVar[bool] = False
    scores_per_label: ClassVar[bool] = True
    generates: ClassVar[bool]
    has_labels: ClassVar[bool] = False
    json_example: ClassVar[str | None] = None
    token_types: ClassVar[bool] = False
    reference_options: ClassVar[Mapping[str, ReferenceOption]] = CALL_OPTIONS
    window: ClassVar[int] = WINDOW
    task: str
    tokenizer: Tokenizer
    model: TaskModel

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        entry = TASKS.get(cls.__dict__.get("name", ""))
        if entry is not None:
            cls.auto_model, cls.heads, cls.generates = entry.auto_model, entry.heads, entry.generates

    def __init__(
        self, tokenizer: Tokenizer, model: TaskModel, *, task: str | None = None, batch_size: int = 1, **options: Any
    ) -> None:
        self.task = self.name if task is None else task
        self.tokenizer = tokenizer
        self.model = model
        self.batch_size = check_whole("batch_size", batch_size, 1)
        self.options: Mapping[str, Any] = drop_reference_options(options, self.reference_options)
        self.warns_of_cuts = True
        self._checked_logits: int | None = None
        if self.has_labels:
            logits = (*self.model.output_shapes.get("logits", ()),)[-1:]
            if logits and isinstance(logits[0], int):  # else it is checked when the first result is there
                self.labels_of(logits[0])
        # Wrong options are reported here, not at the first call, and calls without options need not check them again.
        self._own_settings = self.settings(self.options)

    @classmethod
    def fits(cls, architecture: str) -> bool:
        """Whether a checkpoint of a transformers class, e.g. ``BertForMaskedLM``, has what the task reads."""
        return architecture.endswith(cls.heads)

    @classmethod
    def load(cls, bundle: Bundle, dtype: str | None, session: SessionConfig) -> TaskModel:
        """What of a bundle the task runs: here its one graph, as a :class:`~edgepipe.models.encoder.Model`.

        Raises:
            BundleError: the bundle is damaged or has no such variant.
            DeviceError: the device or a provider cannot be used here.
        """
        from edgepipe.models.encoder import Model

        return Model(bundle, dtype, session)

    @abstractmethod
    def settings(self, options: Mapping[str, Any]) -> Any:
        """Check the options and give them the form that :meth:`encode` and :meth:`decode` take.

        Raises:
            InputError: an option is unknown or has a value that cannot be used.
        """

    @abstractmethod
    def encode(self, item: Any, settings: Any) -> Request:
        """Tokenize one input.

        Raises:
            InputError: the input cannot be used.
        """

    @abstractmethod
    def decode(self, request: Request, outputs: Sequence[Outputs], settings: Any) -> Any:
        """The result of one input, from the graph's outputs for each of its pieces (without the batch axis)."""

    @property
    def device(self) -> DeviceSpec:
        """Where the model runs, with the attributes of a ``torch.device``: ``"cpu"``, ``"cuda:0"``."""
        return self.model.device

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the tokenizer, the options, and where the model came from; see :class:`LoadedVariant`."""
        given = {"task": self.task, "batch_size": self.batch_size, **self.options}
        return _make_again, (type(self), self.tokenizer, self.model, given)

    def with_tokenizer(self, tokenizer: Tokenizer) -> Self:
        """The same task with the same model and another tokenizer. Both are closed when one of them is."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.tokenizer = tokenizer
        return other

    def close(self) -> None:
        """Release the model and its memory. Closing twice does nothing; a call afterwards is a `ClosedError`."""
        self.model.close()
        self._workers.close()

    def __repr__(self) -> str:
        own = {"batch_size": self.batch_size, "workers": self._workers.count}
        given = {name: value for name, value in own.items() if value != 1}
        options = "".join(f", {name}={value!r}" for name, value in {**given, **self.options}.items())
        return f"{type(self).__name__}(task={self.task!r}, model={self.model!r}{options})"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run the task.

        Args:
            inputs: One input; a list or tuple of them; or a generator or other iterator.
            batch_size: How many pieces go through the graph at once, instead of the pipeline's own. With more than 1
                inputs are read ahead, and pieces of like length go together.
            progress: Whether to count the results of a list or iterator on standard error. Needs ``tqdm``.
            **options: The task's options; they go before the pipeline's own.

        Returns:
            The result of one input; a list of results; or an iterator of results, which reads the iterator only as
            far as it needs. Results come in the order of the inputs.

        Raises:
            InputError: an input or option cannot be used; of a list, the message has the input's position.
            ClosedError: the pipeline was closed.
            DependencyError: `progress` without ``tqdm``.
        """
        return self._call(*arguments, **options)  # each task has its own signature, with its types

    def _call(self, inputs: Any, /, *, batch_size: int | None = None, progress: bool = False, **options: Any) -> Any:
        """What all tasks do in a call; see :meth:`__call__`."""
        settings = self.settings(self.merge_options(options)) if options else self._own_settings
        size = self.check_batch_size(batch_size)
        check_flag("progress", progress)
        inputs = as_list(inputs)
        if not self.is_one(inputs):
            total = len(inputs) if isinstance(inputs, (list, tuple)) else None
            cut = CutTexts()
            requests = self._encode_all(inputs, lambda item: cut.add(self.encode_input(item, settings)))
            results = self.run_requests(requests, size, settings)
            if not self._asks_to_cut(options):
                results = cut.warn_after(results)
            if progress:
                results = show_progress(results, total)
            return results if total is None else list(results)
        request = self.encode_input(inputs, settings)
        run = self._run_in_order if self._batches_in_order else self._run_chunk
        [result] = run([request], size, settings)
        self.warn_of_cut(request, options)
        return result

    def _asks_to_cut(self, options: Mapping[str, Any]) -> bool:
        """Whether long texts are cut in silence: the options of a call, or the pipeline's own, ask for it."""
        return not self.warns_of_cuts or asks_to_cut(self.merge_options(options), generates=self.generates)

    def merge_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a call and, where it has none, the pipeline's own.

        Raises:
            InputError: one of transformers' that has no use here would change something.
        """
        return {**self.options, **drop_reference_options(options, self.reference_options)}

    def warn_of_cut(self, request: Request, options: Mapping[str, Any]) -> None:
        """Warn if the one input of a call was cut, unless the caller asked for that."""
        if request.is_cut and not self._asks_to_cut(options):
            cut = CutTexts()
            cut.add(request)
            cut.warn()

    def is_one(self, inputs: Any) -> bool:
        """Whether this is one input, and not a list or iterator of them."""
        return not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes, Mapping))

    @cached_property
    def _workers(self) -> Workers:
        return Workers(self.model.workers)

    @cached_property
    def id2label(self) -> Labels:
        """The checkpoint's labels by the places of their logits."""
        return read_labels(self.model.config)

    @property
    def labels(self) -> tuple[Any, ...]:
        """The checkpoint's labels in the order of the logits."""
        return tuple(label for _, label in sorted(self.id2label.items()))

    def labels_of(self, logits: int) -> Labels:
        """The checkpoint's labels, checked for a graph that gives so many logits.

        Raises:
            BundleError: a logit has no label.
        """
        if logits != self._checked_logits:
            check_labels(self.id2label, logits)
            self._checked_logits = logits
        return self.id2label

    def check_batch_size(self, batch_size: int | None) -> int:
        """The batch size of a call: the pipeline's own where the call names none.

        Raises:
            InputError: it is no whole number of at least 1.
        """
        # No more than `islice` takes.
        return self.batch_size if batch_size is None else min(check_whole("batch_size", batch_size, 1), 2**31)

    def split_rows(self, encoding: BatchEncoding) -> list[dict[str, list[int]]]:
        """What the model reads of each row of an encoding."""
        names = [name for name in self.tokenizer.model_input_names if name in encoding]
        return [{name: encoding[name][row] for name in names} for row in range(len(encoding["input_ids"]))]

    def encode_input(self, item: Any, settings: Any) -> Request:
        """Encode an input; see :meth:`encode`. With :meth:`run_batch` and :meth:`decode` a call in three steps.

        Raises:
            InputError: the input cannot be used, or becomes no tokens, of which an encoder can say nothing.
        """
        request = self.encode(item, settings)
        if not self.generates and not all(piece["input_ids"] for piece in request.pieces):
            raise InputError(f"{item!r:.60} becomes no tokens, so there is no result; leave it out")
        return request

    def _encode_all(self, inputs: Iterable[Any], encode: Callable[[Any], Request]) -> Iterator[Request]:
        """Encode inputs one after another; the message of an error has the input's position."""
        for position, item in enumerate(inputs):
            try:
                yield encode(item)
            except InputError as error:
                raise InputError(f"input {position}: {error}") from error

    @property
    def keeps_padding(self) -> bool:
        """Whether results show the padding of the batch that an input was in, as those of transformers."""
        return False

    @cached_property
    def reads_padding(self) -> bool:
        """Whether the model reads padding, so that results depend on the batch that an input is in."""
        return reads_padding(self.model.config.get("model_type"), self.tokenizer.padding_side)

    @property
    def _batches_in_order(self) -> bool:
        """Whether batches must be those of transformers, as results depend on them or show them."""
        return self.keeps_padding or (self.reads_padding and not self.generates)

    def run_requests(self, requests: Iterable[Request], batch_size: int, settings: Any) -> Iterator[Any]:
        """The results of encoded inputs, in their order; `batch_size` pieces go through the graph at once."""
        if self._batches_in_order:
            yield from self._run_in_order(requests, batch_size, settings)
            return
        started: deque[Sequence[Request]] = deque()

        def pieces_of_chunks() -> Iterator[list[Mapping[str, list[int]]]]:
            for chunk in chunks(requests, batch_size, window=self.window):
                started.append(chunk)
                yield list_pieces(chunk)

        for outputs in self.run_lists(self.run_batch, pieces_of_chunks(), batch_size):
            yield from self._decode_all(started.popleft(), outputs, settings)

    def _run_in_order(self, requests: Iterable[Request], batch_size: int, settings: Any) -> Iterator[Any]:
        """The results of requests, whose pieces are batched as transformers does it: so many as come one after another.

        Args:
            requests: Encoded inputs.
            batch_size: How many pieces go through the graph at once.
            settings: Of the call.

        Raises:
            InputError: what encoding an input raised, after the results of those before it.
        """
        waiting: deque[Request] = deque()

        def start_batches() -> Iterator[Callable[[], list[Outputs]]]:
            pieces: list[Mapping[str, list[int]]] = []
            failure: InputError | None = None
            try:
                for request in requests:
                    waiting.append(request)
                    pieces += request.pieces
                    while len(pieces) >= batch_size:
                        yield self._workers.start(partial(self.run_batch, pieces[:batch_size]))
                        del pieces[:batch_size]
            except InputError as error:
                failure = error
            yield self._workers.start(partial(self.run_batch, pieces)) if pieces else list
            if failure is not None:
                raise failure

        outputs: deque[Outputs] = deque()
        for wait in read_ahead(start_batches(), self._workers.ahead):
            outputs += wait()
            while waiting and len(waiting[0].pieces) <= len(outputs):
                request = waiting.popleft()
                yield self.decode(request, [outputs.popleft() for _ in request.pieces], settings)

    def _run_chunk(self, requests: Sequence[Request], batch_size: int, settings: Any) -> Iterator[Any]:
        """The results of requests that are batched together, in their order.

        Args:
            requests: Encoded inputs.
            batch_size: How many pieces go through the graph at once.
            settings: Of the call.
        """
        [outputs] = self.run_lists(self.run_batch, [list_pieces(requests)], batch_size)
        return self._decode_all(requests, outputs, settings)

    def _decode_all(self, requests: Sequence[Request], outputs: Sequence[Outputs], settings: Any) -> Iterator[Any]:
        """The results of requests, from the graph's outputs for each of their pieces."""
        rows = iter(outputs)
        for request in requests:
            yield self.decode(request, list(islice(rows, len(request.pieces))), settings)

    def run_lists(
        self,
        run: Callable[[Sequence[Mapping[str, list[int]]]], Iterable[Result]],
        lists: Iterable[Sequence[Mapping[str, list[int]]]],
        batch_size: int,
    ) -> Iterator[list[Result]]:
        """What `run` gives for the pieces of each list, list by list; pieces of like length go together.

        Args:
            run: Gives something for each piece of a batch, e.g. :meth:`run_batch`.
            lists: The pieces. Batches of the next list are started before the last one has all its results.
            batch_size: The most pieces of a batch.
        """
        return self._workers.run_batches(run, lists, lambda lengths: self._batches(lengths, batch_size))

    def compute_outputs(
        self, pieces: Sequence[Mapping[str, list[int]]], following: Sequence[int] = ()
    ) -> Sequence[Outputs]:
        """What the model gives for pieces that go through it at once: for those who compare models, not results.

        Args:
            pieces: Token ids and masks.
            following: What a task that writes text is made to write.

        Returns:
            The outputs for each piece; of a task that writes text for each step.

        Raises:
            BundleError: an output is missing, or is not finite.
        """
        return self.run_batch(pieces)

    def run_batch(self, pieces: Sequence[Mapping[str, list[int]]]) -> list[Outputs]:
        """The graph's outputs for pieces that go through it at once, without those for padding unless it is kept."""
        model: Any = self.model  # tasks whose model cannot be called do not come here
        padded = self._pad(pieces)
        arrays = model(**padded)
        self.check_outputs(arrays, *np.shape(padded["input_ids"]))
        own = {name: array for name, array in arrays.items() if np.shape(array)[:1] == (len(pieces),)}
        outputs: list[Outputs] = []
        for row, piece in enumerate(pieces):
            unpadded = {name: self._unpad(array[row], len(piece["input_ids"])) for name, array in own.items()}
            outputs.append(self.select_outputs(piece, unpadded))
            self._check_finite(outputs[-1])
        return outputs

    def check_outputs(self, outputs: Outputs, rows: int, tokens: int) -> None:
        """Check that a graph gave what the task reads, for so many rows of so many tokens.

        Raises:
            BundleError: it did not.
        """
        axes = (rows, tokens) if self.token_level else (rows,)
        for name in self.outputs:
            check_output(outputs, name, (*axes, None) if self.scores_per_label else axes)

    def _batches(self, lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
        padded = map(self._padded_length, lengths)
        return batches(list(padded), batch_size, on_cpu=self.model.on_cpu, few_shapes=self.model.few_shapes)

    @cached_property
    def _rounds_lengths(self) -> bool:
        """Whether inputs get more padding than their batch needs, for an engine that makes kernels for each shape."""
        return (
            self.model.few_shapes
            and not self.generates
            and not self._batches_in_order
            and self.tokenizer.pad_token_id is not None
            and "attention_mask" in getattr(self.model, "input_names", ())
        )

    def _padded_length(self, length: int) -> int:
        """How long inputs become of which the longest has so many tokens."""
        if not self._rounds_lengths:
            return length
        rounded, limit = round_length(length), self.model.max_length
        return length if limit is not None and rounded > limit else rounded

    def _pad(self, pieces: Sequence[Mapping[str, list[int]]]) -> Mapping[str, Any]:
        if len(pieces) == 1 and not self._rounds_lengths:
            return {name: [values] for name, values in pieces[0].items()}
        return self._pad_arrays(pieces)

    def _pad_arrays(self, pieces: Sequence[Mapping[str, list[int]]]) -> Mapping[str, Any]:
        """Pieces as arrays of one length, int64[pieces, tokens] each."""
        longest = max(len(piece["input_ids"]) for piece in pieces)
        length = self._padded_length(longest)
        how: dict[str, Any] = {"padding": "max_length", "max_length": length} if length > longest else {}
        return self.tokenizer.pad(pieces, return_tensors="np", **how)

    def _check_finite(self, outputs: Outputs) -> None:
        """Check that a result can be made of outputs: a logit may be minus infinity, which is never the best.

        Raises:
            BundleError: an output holds something else that is not finite.
        """
        for name, array in outputs.items():
            if array.dtype.kind != "f" or not array.size:
                continue
            if not (array.max() < np.inf and (name.endswith("logits") or array.min() > -np.inf)):
                raise not_finite_error(name, self.model.dtype)

    def select_outputs(self, piece: Mapping[str, list[int]], outputs: Outputs) -> Outputs:
        """The part of a piece's outputs that :meth:`decode` needs, where all of them would fill the memory."""
        return outputs

    def _unpad(self, array: NDArray[Any], length: int) -> NDArray[Any]:
        if not self.token_level or self.keeps_padding or len(array) == length:
            return array
        return array[:length] if self.tokenizer.padding_side == "right" else array[-length:]


def list_pieces(requests: Iterable[Request]) -> list[Mapping[str, list[int]]]:
    """All pieces of requests, in their order."""
    return [piece for request in requests for piece in request.pieces]


def _make_again(kind: type[Task], tokenizer: Tokenizer, model: TaskModel, given: Mapping[str, Any]) -> Task:
    return kind(tokenizer, model, **given)


def show_progress(results: Iterable[Any], total: int | None) -> Iterator[Any]:
    """The same results, counted on standard error.

    Args:
        results: What to count.
        total: How many there will be; None where nobody knows.

    Raises:
        DependencyError: tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise DependencyError("progress=True needs tqdm; pip install tqdm, or leave progress out") from error
    return iter(tqdm(results, total=total, unit=" inputs"))
