"""What `soundsearch serve` answers under load: clients that search over an index of made-up windows.

Prints milliseconds of one client alone, of many at a time, how many requests failed, the memory of
the server on the way, and the milliseconds to the first sound of a WAV and an AIFF recording.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import numpy as np
import soundfile
from made_index import make_index
from processes import apart

from soundsearch.encoder.registry import DEFAULT_MODEL
from soundsearch.vocabulary import load_vocabulary

#: Of 100 requests of a client under load, how many are of each kind.
MIX = {"search": 75, "similar": 10, "details": 10, "status": 5}
#: Seconds between two looks at the memory of the server.
LOOK_S = 5
#: Of the recordings that are listened to.
LONG_S, RATE = 600, 48_000


def prepare(folder: Path, model: str, n_windows: int) -> None:
    make_index(folder=folder, model=model, n_windows=n_windows)


@contextmanager
def served(index: Path, log: Path) -> Iterator[tuple[int, str]]:
    """A server of its own process: its process id, and its address."""
    command = [sys.executable, "-m", "soundsearch", "serve", "--port", "0", "--index", str(index)]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            assert process.stdout is not None
            yield process.pid, process.stdout.readline().decode().strip()
        finally:
            process.terminate()


def request_of(kind: str, drawn: random.Random, n_recordings: int) -> str:
    """The path of a request."""
    words = load_vocabulary()
    recording = drawn.randrange(1, n_recordings + 1)
    if kind == "search":
        text = f"{drawn.choice(words)} {drawn.choice(words)}"
        return f"/api/search?{urlencode({'q': text, 'k': 20})}"
    if kind == "similar":
        return f"/api/similar?recording={recording}&k=20"
    return f"/api/recordings/{recording}" if kind == "details" else "/api/status"


def timed(connection: http.client.HTTPConnection, path: str) -> tuple[float, int, bytes]:
    """Milliseconds of a request, its status and its body."""
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    return 1000 * (time.perf_counter() - began), answer.status, body


def connected(address: str) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)


def load(
    address: str, clients: int, seconds: float, n_recordings: int
) -> tuple[dict[str, list[float]], list[str]]:
    """What clients measure that ask one after the other for so long: milliseconds by kind, errors."""
    times: dict[str, list[float]] = defaultdict(list)
    errors: list[str] = []
    until = time.monotonic() + seconds

    def ask(seed: int) -> None:
        drawn, connection = random.Random(seed), connected(address)
        while time.monotonic() < until:
            (kind,) = drawn.choices(list(MIX), list(MIX.values()))
            path = request_of(kind, drawn, n_recordings)
            try:
                ms, status, body = timed(connection, path)
            except OSError as error:
                errors.append(f"{path}: {error}")
                connection = connected(address)
                continue
            if status != 200 or (kind == "search" and len(json.loads(body)["hits"]) != 20):
                errors.append(f"{path}: {status}")
            times[kind].append(ms)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(times), errors


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} is gone")


def line_of(what: str, times: list[float]) -> str:
    p50, p95 = np.percentile(times, [50, 95])
    return f"{what:28}{len(times):8} {p50:8.0f} {p95:8.0f} {max(times):8.0f}"


def measure_load(index: Path, arguments: argparse.Namespace, log: Path) -> None:
    n_recordings = arguments.windows // 10
    with served(index, log) as (pid, address):
        connection, drawn = connected(address), random.Random(1)
        paths = [request_of("search", drawn, n_recordings) for _ in range(110)]
        for path in paths[:10]:
            timed(connection, path)
        before = processor_s(pid)
        alone = [timed(connection, path)[0] for path in paths[10:]]
        each_ms = 1000 * (processor_s(pid) - before) / len(alone)
        print(f"{'':28}{'requests':>8} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}")
        print(line_of("search, one client", alone))
        print(f"processor time of a search: {each_ms:.0f} ms", flush=True)
        seen = [memory_mb(pid)]
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(LOOK_S):
                seen.append(memory_mb(pid))

        looker = threading.Thread(target=look)
        looker.start()
        times, errors = apart(load, address, arguments.clients, arguments.seconds, n_recordings)
        stop.set()
        looker.join()
    for kind, of_kind in times.items():
        print(line_of(f"{kind}, {arguments.clients} clients", of_kind))
    n_requests = sum(map(len, times.values()))
    print(f"requests a second: {n_requests / arguments.seconds:.0f}, errors: {len(errors)}")
    for error in errors[:5]:
        print(f"  {error}")
    print(f"memory in MB, every {LOOK_S} s: {' '.join(f'{mb:.0f}' for mb in seen)}")


def measure_sound(folder: Path, log: Path) -> None:
    """Milliseconds to a passage of a long recording: in a file that browsers play, and in another."""
    library = folder / "library"
    library.mkdir()
    sound = (3000 * np.random.default_rng(0).standard_normal(LONG_S * RATE)).astype(np.int16)
    for name in ("long.wav", "long.aiff"):
        soundfile.write(library / name, sound, RATE)
    command = [sys.executable, "-m", "soundsearch", "index", str(library)]
    subprocess.run([*command, "--index", str(folder / "small")], check=True, capture_output=True)
    with served(folder / "small", log) as (_, address):
        connection = connected(address)
        answer = json.loads(timed(connection, "/api/search?filter=duration:%3E0")[2])
        ids = {Path(hit["path"]).suffix: hit["recording_id"] for hit in answer["hits"]}
        drawn, wav, aiff = random.Random(0), [], []
        for _ in range(100):
            second = drawn.randrange(LONG_S - 30)
            connection.putrequest("GET", f"/api/recordings/{ids['.wav']}/audio")
            begin, end = (44 + 2 * RATE * at for at in (second, second + 3))
            connection.putheader("Range", f"bytes={begin}-{end - 1}")
            began = time.perf_counter()
            connection.endheaders()
            connection.getresponse().read()
            wav.append(1000 * (time.perf_counter() - began))
            excerpt = f"/api/recordings/{ids['.aiff']}/excerpt?start={second}&end={second + 30}"
            aiff.append(timed(connection, excerpt)[0])
    print(line_of("3 s of WAV by a range", wav))
    print(line_of("30 s of AIFF as an excerpt", aiff))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument(
        "--index", type=Path, help="that `made_index.py` made so, in place of a new one"
    )
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = arguments.index or folder / "index"
        if arguments.index is None:
            apart(prepare, index, arguments.model, arguments.windows)
        print(f"windows: {arguments.windows}, load average: {os.getloadavg()[0]:.1f}")
        measure_load(index, arguments, folder / "log")
        measure_sound(folder, folder / "log")
        printed = (folder / "log").read_text()
        if printed:
            print(f"the server wrote: {printed}")


if __name__ == "__main__":
    main()
