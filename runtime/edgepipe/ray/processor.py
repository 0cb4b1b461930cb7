"""A processor in the shape of Ray's own batch inference (``ray.data.llm``): dataset in, dataset out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepipe.errors import InputError
from edgepipe.ray.predictor import Predictor
from edgepipe.ray.ray_module import load_ray

Row = dict[str, Any]
MapRow = Callable[[Row], Row]


@dataclass(frozen=True)
class ProcessorConfig:
    """What a processor does; names are those of Ray's ``ProcessorConfig``, and mean the same.

    Attributes:
        model_source: The bundle: a directory that every node has, or a Hub id.
        column: See :class:`Predictor`.
        options: Of :func:`edgepipe.pipeline` and of the task, e.g. ``{"dtype": "int8", "top_k": 2}``.
        batch_size: Rows that an actor gets at once. How many go through the model together is another thing: so many
            as change no result.
        concurrency: Actors; ``(MIN, MAX)`` for a pool that grows and shrinks.
        num_cpus: Processors of an actor.
        num_gpus: GPUs of an actor.
        accelerator_type: The kind of node that actors need, as Ray names it.
        runtime_env: See Ray.
        should_continue_on_error: Whether a row that cannot be used gets a message in the column ``error``. Without it
            the first one ends the work, as in Ray.
    """

    model_source: str
    column: str | tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 256
    concurrency: int | tuple[int, int] = 1
    num_cpus: float = 1
    num_gpus: float = 0
    accelerator_type: str | None = None
    runtime_env: Mapping[str, Any] | None = None
    should_continue_on_error: bool = False

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: they cannot be used.
        """
        least, most = self.pool_size
        if not 0 < least <= most:
            raise InputError(f"concurrency is a number of actors or (MIN, MAX), got {self.concurrency!r}; begin at 1")
        if self.batch_size < 1:
            raise InputError(f"batch_size is the rows of a batch, got {self.batch_size}; give 1 or more")

    @property
    def pool_size(self) -> tuple[int, int]:
        """The least and the most actors."""
        return (self.concurrency, self.concurrency) if isinstance(self.concurrency, int) else self.concurrency


class BundleProcessor:
    """Runs a bundle over a dataset of Ray's, between two functions over rows.

    Args:
        config: What it does.
        preprocess: Makes a row that the bundle reads of a row; None where the dataset has such rows.
        postprocess: Makes a row of one with the results.
        preprocess_map_kwargs: Of ``Dataset.map`` for the first.
        postprocess_map_kwargs: Of ``Dataset.map`` for the last.
    """

    def __init__(
        self,
        config: ProcessorConfig,
        preprocess: MapRow | None = None,
        postprocess: MapRow | None = None,
        preprocess_map_kwargs: Mapping[str, Any] | None = None,
        postprocess_map_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self._before = preprocess, dict(preprocess_map_kwargs or {})
        self._after = postprocess, dict(postprocess_map_kwargs or {})

    def __call__(self, dataset: Any) -> Any:
        """The dataset with the results; nothing runs before it is read.

        Args:
            dataset: A ``ray.data.Dataset``.
        """
        config, data = self.config, load_ray("data")
        if self._before[0] is not None:
            dataset = dataset.map(self._before[0], **self._before[1])
        least, most = config.pool_size
        where: dict[str, Any] = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus}
        if config.accelerator_type is not None:
            where["accelerator_type"] = config.accelerator_type
        if config.runtime_env is not None:
            where["runtime_env"] = dict(config.runtime_env)
        dataset = dataset.map_batches(
            Predictor,
            fn_constructor_args=(config.model_source,),
            fn_constructor_kwargs={
                "column": config.column,
                "fail_fast": not config.should_continue_on_error,
                **config.options,
            },
            batch_size=config.batch_size,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(min_size=least, max_size=most),
            **where,
        )
        if self._after[0] is not None:
            dataset = dataset.map(self._after[0], **self._after[1])
        return dataset


def build_processor(
    config: ProcessorConfig,
    preprocess: MapRow | None = None,
    postprocess: MapRow | None = None,
    preprocess_map_kwargs: Mapping[str, Any] | None = None,
    postprocess_map_kwargs: Mapping[str, Any] | None = None,
) -> BundleProcessor:
    """Build a processor, as ``ray.data.llm.build_processor`` does.

    ::

        processor = build_processor(
            ProcessorConfig("path/to/bundle", concurrency=(1, 8)),
            preprocess=lambda row: {"text": row["title"], **row},
            postprocess=lambda row: {"title": row["title"], "label": row["label"]},
        )
        processor(ray.data.read_parquet("articles/")).write_parquet("labels/")

    Args:
        config: What it does.
        preprocess: Makes a row that the bundle reads of a row. All columns are carried over.
        postprocess: Makes a row of one with the results.
        preprocess_map_kwargs: Of ``Dataset.map`` for the first, e.g. ``num_cpus``.
        postprocess_map_kwargs: Of ``Dataset.map`` for the last.
    """
    return BundleProcessor(config, preprocess, postprocess, preprocess_map_kwargs, postprocess_map_kwargs)
