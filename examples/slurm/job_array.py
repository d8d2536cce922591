"""Shards as files: written by one command, embedded by an array of jobs.

    python examples/slurm/job_array.py plan s3://archive/sounds --index X --parts /shared/parts
    python examples/slurm/job_array.py embed /shared/parts 0

The first makes the index if there is none, writes what is to be read as /shared/parts/shards/N.json
and prints how many files these are. The second embeds one of them; it is safe to run it twice. Then
`soundsearch index` with the same arguments, --workers 1 and --parts stores the parts.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
from dataclasses import asdict
from pathlib import Path

from indexer.plan import make_plan
from indexer.shards import Job, Shard, ShardFile, cut_shards, embed
from indexer.targets import apply_targets, choose_targets
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.paths import index_place
from soundsearch.store import FileFacts, Store
from soundsearch.store.pinned import create_index, pinned_bundle
from soundsearch.urls import path_of


def plan(arguments: argparse.Namespace) -> int:
    """Write the shards of what the index lacks; returns how many."""
    if Store.exists(arguments.index):
        store = Store.open(arguments.index)
    else:
        store = create_index(arguments.index, find_bundle(arguments.model))
    bundle = pinned_bundle(store)
    job = Job(str(arguments.parts.absolute()), str(bundle.folder), bundle.fingerprint)
    with contextlib.closing(store), store.writer() as writer:
        with writer.snapshot() as reader:
            targets = choose_targets(reader.roots(), [path_of(url) for url in arguments.urls])
        todo = make_plan(store, apply_targets(writer, targets))
    files = [
        ShardFile(str(todo.roots[one.file.root_id]), one.file, one.known_hash, one.again)
        for one in todo.to_read
    ]
    folder = arguments.parts / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    n_shards = 0
    for shard in cut_shards(job, files):
        (folder / f"{n_shards}.json").write_text(json.dumps(asdict(shard), default=_plain))
        n_shards += 1
    return n_shards


def read(path: Path) -> Shard:
    """A shard that `plan` wrote."""
    facts = json.loads(path.read_text())
    files = []
    for file in facts["files"]:
        known = file.pop("known_hash")
        one = FileFacts(**file.pop("facts"))
        files.append(ShardFile(facts=one, known_hash=known and base64.b64decode(known), **file))
    return Shard(Job(**facts["job"]), tuple(files))


def _plain(value: object) -> str:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    planning = commands.add_parser("plan")
    planning.add_argument("urls", nargs="+")
    planning.add_argument("--index", type=index_place, required=True)
    planning.add_argument("--parts", type=Path, required=True)
    planning.add_argument("--model", default=DEFAULT_MODEL)
    embedding = commands.add_parser("embed")
    embedding.add_argument("parts", type=Path)
    embedding.add_argument("number", type=int)
    arguments = parser.parse_args()
    if arguments.command == "plan":
        print(plan(arguments))
    else:
        print(embed(read(arguments.parts / "shards" / f"{arguments.number}.json")))


if __name__ == "__main__":
    main()
