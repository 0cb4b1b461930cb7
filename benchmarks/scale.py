"""What many texts take, on paper and by simulation: `python -m benchmarks.scale` (docs/scale.md).

The speed of a core is that of benchmarks/results/mapping.json. From it follow cores, time and cost. The simulation
deals parts to workers one after another, as `edgepipe map --ray` does: a worker takes the next part when it has written
the last. Parts differ in length, some nodes are slow, and nodes are lost with the parts that they work on; others take
their place. It says how much longer a job takes than its work divided by its workers.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.mapping.throughput import JOB
from benchmarks.written_results import RESULTS, write_results

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Cluster:
    """What a job runs on.

    Attributes:
        nodes: How many machines.
        cores: Of each; a core makes a part.
        start_s: Seconds until a new node has its bundle loaded.
        lost_every_s: Mean seconds until a node is lost.
        slow_share: How many nodes are slow.
        slow_factor: How much slower those are.
        deal_s: Seconds that the driver needs for each part: no two at a time.
    """

    nodes: int
    cores: int
    start_s: float = 60.0
    lost_every_s: float = 30 * DAY
    slow_share: float = 0.05
    slow_factor: float = 2.0
    deal_s: float = 0.003


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        seconds: How long it took.
        ideal_s: Its work, divided by all cores.
        lost_s: Work of cores that had to be done again.
        lost_nodes: How many nodes were lost.
    """

    seconds: float
    ideal_s: float
    lost_s: float
    lost_nodes: int


@dataclass(frozen=True)
class _Life:
    """A node from when it is ready until it is lost, and how much slower than others it is."""

    begin: float
    end: float
    factor: float


class _Nodes:
    """The nodes of a cluster; where one is lost, another takes its place."""

    def __init__(self, cluster: Cluster, draw: random.Random) -> None:
        self._cluster, self._draw = cluster, draw
        self._lives = [[self._make(0.0)] for _ in range(cluster.nodes)]

    def life(self, node: int, number: int) -> _Life:
        """The node that has a place after so many others."""
        lives = self._lives[node]
        while len(lives) <= number:
            lives.append(self._make(lives[-1].end))
        return lives[number]

    def count_lost(self, seconds: float) -> int:
        """How many were lost by then."""
        return sum(life.end <= seconds for lives in self._lives for life in lives)

    def _make(self, after: float) -> _Life:
        cluster, draw = self._cluster, self._draw
        begin = after + cluster.start_s
        factor = cluster.slow_factor if draw.random() < cluster.slow_share else 1.0
        return _Life(begin, begin + draw.expovariate(1 / cluster.lost_every_s), factor)


def simulate(parts: int, part_s: float, skew: float, cluster: Cluster, seed: int = 0) -> Outcome:
    """Deal parts to the cores of a cluster until all are made.

    Args:
        parts: How many there are.
        part_s: Mean seconds of a core for one.
        skew: Sigma of the log-normal distribution of those seconds.
        cluster: The machines.
        seed: Of all that is drawn.
    """
    draw = random.Random(seed)
    waiting = [part_s * draw.lognormvariate(-skew * skew / 2, skew) for _ in range(parts)]
    ideal = sum(waiting) / (cluster.nodes * cluster.cores)
    nodes = _Nodes(cluster, draw)
    # When a core is free; its node; which of the nodes that have had that place.
    free = [(nodes.life(node, 0).begin, node, 0) for node in range(cluster.nodes) for _ in range(cluster.cores)]
    heapq.heapify(free)
    dealt = lost = last = 0.0
    while waiting:
        now, node, number = heapq.heappop(free)
        life = nodes.life(node, number)
        begin = max(now, dealt + cluster.deal_s)
        if begin >= life.end:
            heapq.heappush(free, (nodes.life(node, number + 1).begin, node, number + 1))
            continue
        dealt = begin
        part = waiting.pop()
        end = begin + part * life.factor
        if end > life.end:  # the node goes with what it has made of the part
            lost += life.end - begin
            waiting.append(part)
            heapq.heappush(free, (nodes.life(node, number + 1).begin, node, number + 1))
        else:
            last = max(last, end)
            heapq.heappush(free, (end, node, number))
    return Outcome(last, ideal, lost, nodes.count_lost(last))


@dataclass(frozen=True)
class Plan:
    """A job on paper."""

    texts: int
    nodes: int
    part_rows: int


# Bytes of a row in Parquet, compressed: of its text, and of what is added.
TEXT_BYTES = 250
RESULT_BYTES = {"distilbert-base": 6, "minilm-embeddings": 1450}

PLANS = (Plan(10**6, 1, 4096), Plan(10**9, 64, 16_384), Plan(10**11, 2000, 262_144))
CORES = 16


def describe(plan: Plan, rate: float, price: float, text_bytes: int, result_bytes: int) -> dict[str, Any]:
    """What a job takes.

    Args:
        plan: The job.
        rate: Rows a second of a core.
        price: Of a core for an hour.
        text_bytes: Of a row that is read, compressed.
        result_bytes: Of a row's results, compressed.
    """
    cluster = Cluster(plan.nodes, CORES)
    parts = -(-plan.texts // plan.part_rows)
    calm = simulate(parts, plan.part_rows / rate, 0.05, cluster)
    core_hours = plan.texts / rate / HOUR
    return {
        "texts": plan.texts,
        "core_hours": core_hours,
        "nodes": plan.nodes,
        "cores": CORES,
        "hours": calm.seconds / HOUR,
        "efficiency": calm.ideal_s / calm.seconds,
        "parts": parts,
        "cost": core_hours / (calm.ideal_s / calm.seconds) * price,
        "read_gb": plan.texts * text_bytes / 1e9,
        "written_gb": plan.texts * result_bytes / 1e9,
    }


def trouble(rate: float) -> list[dict[str, Any]]:
    """A billion texts on the middle plan, with one thing after another that goes wrong."""
    plan = PLANS[1]
    parts, part_s = -(-plan.texts // plan.part_rows), plan.part_rows / rate
    calm = Cluster(plan.nodes, CORES, lost_every_s=1e12, slow_share=0.0)
    cases = {
        "nothing": (parts, part_s, 0.0, calm),
        "parts of 4,096 rows": (parts * 4, part_s / 4, 0.0, calm),
        "parts of 262,144 rows": (-(-parts // 16), part_s * 16, 0.0, calm),
        "lengths that differ (sigma 1 from part to part)": (parts, part_s, 1.0, calm),
        "one node in twenty at half the speed": (parts, part_s, 0.05, replace(calm, slow_share=0.05)),
        "each node is lost once a day": (parts, part_s, 0.05, replace(calm, lost_every_s=DAY)),
        "each node is lost every two hours, as those that may be taken away": (
            parts, part_s, 0.05, replace(calm, lost_every_s=2 * HOUR)
        ),
        "the driver needs 50 ms for a part": (parts, part_s, 0.05, replace(calm, deal_s=0.05)),
    }  # fmt: skip
    found = []
    for name, case in cases.items():
        outcome = simulate(*case)
        found.append(
            {
                "case": name,
                "hours": outcome.seconds / HOUR,
                "efficiency": outcome.ideal_s / outcome.seconds,
                "lost_nodes": outcome.lost_nodes,
                "lost_share": outcome.lost_s / (outcome.ideal_s * plan.nodes * CORES),
            }
        )
    return found


def main() -> None:
    arguments = _arguments()
    measured = json.loads((RESULTS / "mapping.json").read_text(encoding="utf-8"))
    models: dict[str, Any] = {}
    for model, execution in measured["executions"].items():
        rate = statistics.median(measured["rows_per_second"][model][JOB]) / measured["threads"]
        models[model] = {
            "rate": rate,
            "tokens": execution["tokens"] / execution["rows"],
            "plans": [describe(plan, rate, arguments.price, TEXT_BYTES, RESULT_BYTES[model]) for plan in PLANS],
        }
    record = {
        "machine": measured["machine"],
        "price": arguments.price,
        "models": models,
        "trouble": trouble(models["minilm-embeddings"]["rate"]),
    }
    write_results(arguments.output, "scale", record, _markdown(record))


def _markdown(record: dict[str, Any]) -> str:
    lines = [
        "# Many texts",
        "",
        f"`python -m benchmarks.scale --price {record['price']}`, from the speed of {record['machine']}.",
        "",
        "| | texts | core hours | machines of 16 cores | hours | parts | cost | read | written |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model, found in record["models"].items():
        lines += [
            f"| {model}, {found['tokens']:.0f} tokens | {plan['texts']:,} | {plan['core_hours']:,.0f} "
            f"| {plan['nodes']:,} | {plan['hours']:,.1f} | {plan['parts']:,} | {plan['cost']:,.0f} "
            f"| {plan['read_gb']:,.1f} GB | {plan['written_gb']:,.1f} GB |"
            for plan in found["plans"]
        ]
    lines += [
        "",
        "A billion texts to vectors on 64 machines, where one thing goes wrong:",
        "",
        "| | hours | of the cores' time used | nodes lost | work done twice |",
        "|---|---|---|---|---|",
    ]
    for each in record["trouble"]:
        lines.append(
            f"| {each['case']} | {each['hours']:,.1f} | {each['efficiency']:.1%} | {each['lost_nodes']:,} "
            f"| {each['lost_share']:.2%} |"
        )
    return "\n".join([*lines, ""])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour  [default: 0.04]")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
