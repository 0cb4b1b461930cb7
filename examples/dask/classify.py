"""A bundle over a Dask DataFrame: partition by partition, a bundle loaded once in each worker process.

    python classify.py BUNDLE IN.parquet OUT.parquet [COLUMN]

Every worker needs edgepipe[cpu,map] and the bundle at the same path, or a Hub id.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import dask.dataframe as dd
import pandas as pd

import edgepipe


@cache
def load(bundle: str) -> Any:
    """The pipeline of this worker. One thread for a run: partitions run side by side."""
    return edgepipe.pipeline(model=bundle, num_threads=1)


def run(part: pd.DataFrame, bundle: str, column: str) -> pd.DataFrame:
    """A partition with the columns of the results and ``error``, as ``edgepipe map`` adds them."""
    found = edgepipe.map_dataset(load(bundle), part.reset_index(drop=True), column=column).read_all().to_pandas()
    return found.set_axis(part.index)


def add_results(frame: dd.DataFrame, bundle: str, column: str) -> dd.DataFrame:
    """A Dask DataFrame with the results; nothing runs before it is asked for."""
    meta = run(frame._meta, bundle, column)
    return frame.map_partitions(run, bundle, column, meta=meta)


def main(bundle: str, source: str, target: str, column: str = "text") -> None:
    """Read Parquet, add the results, write Parquet."""
    add_results(dd.read_parquet(source), bundle, column).to_parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
