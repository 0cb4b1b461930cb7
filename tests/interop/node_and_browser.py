"""The programs of docs/how-to/node-and-browser.md, in Node and in Chromium: ``make interop`` runs them.

They are run as they stand on the page, with the embedded model in the place of the reader's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from edgepipe import pipeline
from edgepipe_models import default_bundle
from tests.documentation.pages import snippets
from tests.interop.environments import HERE, transformers_js_command

PAGE = "docs/how-to/node-and-browser.md"
TEXT = "I love this"
TOLERANCE = 1e-3
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 120

# Shows the page of the docs, and sends what it answers.
WATCH = """<iframe id="page" src="/page.html"></iframe><script>
const watch = setInterval(() => {
  const answer = document.getElementById("page").contentDocument.getElementById("answer")?.textContent;
  if (answer) { clearInterval(watch); fetch("/answer", { method: "POST", body: answer }); }
}, 200);
</script>"""


def main() -> int:
    """Run both; the exit status."""
    transformers_js_command()  # installs it
    expected = pipeline(model=default_bundle(), dtype="int8")(TEXT)
    with tempfile.TemporaryDirectory(prefix="edgepipe-javascript-", ignore_cleanup_errors=True) as temporary:
        root = Path(temporary)
        shutil.copytree(default_bundle(), root / "bundles" / "my-model")
        (root / "node_modules").symlink_to(HERE / "node_modules")
        answers = {"Node": ask_node(root)}
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            print(f"none of {', '.join(BROWSERS)} is here: the page for browsers was not tried")
        else:
            answers["browser"] = ask_browser(root, browser)
    wrong = [name for name, answer in answers.items() if not is_equal(answer, expected)]
    for name, answer in answers.items():
        print(f"{PAGE}, {name}: {answer}{', not ' + str(expected) if name in wrong else ''}")
    return 1 if wrong else 0


def program(language: str) -> str:
    """The page's program in a language."""
    [code] = [snippet.code for snippet in snippets(PAGE) if snippet.language == language]
    return code


def ask_node(root: Path) -> Any:
    """What the program for Node prints."""
    (root / "page.mjs").write_text(program("js"), encoding="utf-8")
    done = subprocess.run(["node", "page.mjs"], cwd=root, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode != 0:
        raise SystemExit(f"{PAGE}, Node: {done.stderr}")
    return json.loads(done.stdout)


def ask_browser(root: Path, browser: str) -> Any:
    """What the page for browsers shows, served as it says."""
    for folder, package in (("transformers", "@huggingface/transformers"), ("onnxruntime", "onnxruntime-web")):
        (root / folder).symlink_to(HERE / "node_modules" / package / "dist")
    (root / "page.html").write_text(program("html"), encoding="utf-8")
    (root / "watch.html").write_text(WATCH, encoding="utf-8")
    answers: Queue[str] = Queue()

    class Site(SimpleHTTPRequestHandler):
        def do_POST(self) -> None:
            answers.put(self.rfile.read(int(self.headers["Content-Length"])).decode("utf-8"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(root)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/watch.html"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    shown = subprocess.Popen(
        [browser, *options, f"--user-data-dir={root / 'profile'}", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return json.loads(answers.get(timeout=SECONDS))
    except Empty:
        raise SystemExit(f"{PAGE}: the browser gave no answer in {SECONDS} s") from None
    finally:
        shown.terminate()
        shown.wait()
        server.shutdown()


def is_equal(answer: Any, expected: Any) -> bool:
    """Whether JavaScript's labels are Python's, and its scores near to Python's."""
    pairs = list(zip(answer, expected, strict=True))
    return all(
        ours["label"] == theirs["label"] and abs(ours["score"] - theirs["score"]) <= TOLERANCE for ours, theirs in pairs
    )


if __name__ == "__main__":
    sys.exit(main())
