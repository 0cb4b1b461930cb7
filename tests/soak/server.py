"""``python -m tests.soak.server``: a server at saturation, while clients go away, workers are killed, bundles reloaded.

Each answer is compared with what the pipeline gives alone. A request may be refused for load (429), or lose its
connection with a worker that was killed; nothing else may become of it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepipe import pipeline
from tests.runtime.serve.running_server import RunningServer, serve_bundles
from tests.runtime.small_bundle import write_bundle
from tests.tiny.generation import export_generative

TEXTS = tuple(" ".join("abcdefg"[: 1 + number % 7]) + " one two"[: number % 9] for number in range(40))
PROMPTS = ("Hello there", "a", "The 2nd of May", "What a waste of time. I want", "b c d")
NEW_TOKENS = 12

# Seconds after a kill in which a lost connection is put down to it.
_AFTER_KILL = 5.0


class Soak:
    """What became of the requests.

    Attributes:
        counts: By outcome.
        wrong: What should not have been.
        memory: Seconds since the beginning, and megabytes of all processes.
    """

    def __init__(self, server: RunningServer, seed: int) -> None:
        self.server = server
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.memory: list[tuple[float, float]] = []
        self.stop = threading.Event()
        self._seed = seed
        self._killed = 0.0
        self._lock = threading.Lock()
        with pipeline(model=self.bundle("small"), verify="never") as small:
            self._labels = {text: small([text], top_k=None)[0] for text in TEXTS}
        with pipeline(model=self.bundle("writer"), verify="never") as writer:
            self._written = {text: writer(text, do_sample=False, max_new_tokens=NEW_TOKENS) for text in PROMPTS}

    def bundle(self, name: str) -> Path:
        """The folder of a bundle that is served."""
        return Path(tempfile.gettempdir()) / f"soak-server-{os.getpid()}" / name

    def ask(self, number: int) -> None:
        """Send requests until the end, from a thread."""
        chance = random.Random(self._seed * 1000 + number)
        host = self.server.url.removeprefix("http://")
        connection: http.client.HTTPConnection | None = None
        while not self.stop.is_set():
            begun = time.monotonic()
            leaves = chance.random() < 0.1
            if connection is None:
                connection = http.client.HTTPConnection(host, timeout=chance.uniform(0.001, 0.02) if leaves else 60)
            try:
                outcome = self._ask_once(connection, chance)
            except TimeoutError:
                outcome = "left" if leaves else self._lost("a request took more than a minute", begun)
                connection.close()
                connection = None
            except (OSError, http.client.HTTPException) as error:
                outcome = self._lost(f"a connection was lost: {error!r}", begun)
                connection.close()
                connection = None
            if leaves and connection is not None:
                connection.close()
                connection = None
            with self._lock:
                self.counts[outcome] += 1

    def _ask_once(self, connection: http.client.HTTPConnection, chance: random.Random) -> str:
        if chance.random() < 0.25:
            texts: Sequence[str] = [chance.choice(PROMPTS)]
            name, options = "writer", {"do_sample": False, "max_new_tokens": NEW_TOKENS}
            expected = [self._written[text] for text in texts]
        else:
            texts = [chance.choice(TEXTS) for _ in range(chance.choice((1, 1, 1, 4, 32)))]
            name, options = "small", {"top_k": 3}
            expected = [self._labels[text] for text in texts]
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
        body = json.dumps({"inputs": [tensor], "parameters": options})
        connection.request("POST", f"/v2/models/{name}/infer", body)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 429:
            return "refused"
        if answer.status != 200:
            return self._note(f"status {answer.status}: {content[:200]!r}")
        [output] = [each for each in json.loads(content)["outputs"] if each["name"] == "output"]
        found = [json.loads(each) for each in output["data"]]
        if not _are_same(found, expected):
            return self._note(f"{name}: {texts} gave {found}, expected {expected}")
        return f"right, {name}"

    def _lost(self, message: str, begun: float) -> str:
        if self._killed and begun < self._killed + _AFTER_KILL:
            return "lost with a killed worker"
        return self._note(message)

    def _note(self, message: str) -> str:
        with self._lock:
            if len(self.wrong) < 20:
                self.wrong.append(message)
        return "wrong"

    def disturb(self) -> None:
        """Kill a worker or reload the bundles now and then, and look at the memory, from a thread."""
        chance, begin, number = random.Random(self._seed), time.monotonic(), 0
        while not self.stop.wait(5):
            workers = self.server.workers()
            self.memory.append((time.monotonic() - begin, sum(map(resident_megabytes, workers))))
            number += 1
            if number % 3 == 0:
                self.server.process.send_signal(signal.SIGHUP)
                self.counts["reloads"] += 1
            elif number % 8 == 4 and workers:
                self._killed = time.monotonic()
                os.kill(chance.choice(workers), signal.SIGKILL)
                self.counts["kills"] += 1


def _are_same(found: Any, expected: Any) -> bool:
    """Equal, numbers but for rounding."""
    if isinstance(expected, float):
        return isinstance(found, float) and abs(found - expected) < 1e-5
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(_are_same, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_are_same(found[key], expected[key]) for key in expected)
    return bool(found == expected)


def resident_megabytes(process: int) -> float:
    """Memory of a process; 0 for one that is gone."""
    try:
        return int((Path("/proc") / str(process) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def main() -> int:
    """Run it; the exit status says whether anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.server", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    root = Path(tempfile.gettempdir()) / f"soak-server-{os.getpid()}"
    (root / "made").mkdir(parents=True)
    write_bundle(root / "small", ("fp32",))
    export_generative("gpt2", root / "made")
    (root / "made" / "bundle").rename(root / "writer")
    options = ("--workers", "2", "--max-queue", "500")
    with serve_bundles(root / "small", root / "writer", options=options) as server:
        soak = Soak(server, asked.seed)
        threads = [threading.Thread(target=soak.ask, args=(number,)) for number in range(asked.clients)]
        threads.append(threading.Thread(target=soak.disturb))
        for thread in threads:
            thread.start()
        soak.stop.wait(asked.seconds)
        soak.stop.set()
        for thread in threads:
            thread.join(120)
        status = server.stop()
    print(json.dumps({"seconds": asked.seconds, **soak.counts}))
    third = len(soak.memory) // 3
    early, late = (
        sorted(size for _, size in part)[len(part) // 2] if part else 0.0
        for part in (soak.memory[third : 2 * third], soak.memory[2 * third :])
    )
    print(f"memory of all workers: {early:.1f} MB in the second third, {late:.1f} MB in the last; exit status {status}")
    print("\n".join(soak.wrong) or "nothing was wrong")
    return bool(soak.wrong) or status != 0


if __name__ == "__main__":
    sys.exit(main())
