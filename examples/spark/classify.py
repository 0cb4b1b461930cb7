"""A bundle over a Spark DataFrame: partitions as Arrow batches, a bundle loaded once in each Python worker.

    spark-submit classify.py BUNDLE IN.parquet OUT.parquet [COLUMN]

Every executor needs edgepipe[cpu,map] and the bundle at the same path, or a Hub id.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import pandas_udf
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

import edgepipe


@cache
def load(bundle: str) -> Any:
    """The pipeline of this worker process, which later tasks find again. One thread: others run beside it."""
    return edgepipe.pipeline(model=bundle, num_threads=1)


def add_results(frame: DataFrame, bundle: str, column: str) -> DataFrame:
    """A DataFrame with the columns of the results and ``error``, as ``edgepipe map`` adds them."""
    empty = to_arrow_schema(frame.schema).empty_table()
    schema = from_arrow_schema(edgepipe.map_dataset(bundle, empty, column=column).schema)

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from edgepipe.map_dataset(load(bundle), batch, column=column)

    return frame.mapInArrow(run, schema)


def make_udf(bundle: str) -> Any:
    """A function over a column of texts that gives their labels, for SQL too."""

    @pandas_udf("string")  # type: ignore[call-overload]
    def label(texts: Iterator[pd.Series]) -> Iterator[pd.Series]:
        for batch in texts:
            table = edgepipe.map_dataset(load(bundle), pa.table({"text": pa.array(batch, pa.string())})).read_all()
            yield table.column("label").to_pandas()

    return label


def main(bundle: str, source: str, target: str, column: str = "text") -> None:
    """Read Parquet, add the results, write Parquet."""
    spark = SparkSession.builder.getOrCreate()
    add_results(spark.read.parquet(source), bundle, column).write.parquet(target)
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
