"""Shards on a fleet of GPUs with Ray. Not run here: Ray is not among the tested packages.

    python examples/slurm/job_array.py plan s3://archive/sounds --index X --parts /shared/parts
    python -m examples.ray_fleet /shared/parts
    soundsearch index s3://archive/sounds --index X --workers 1 --parts /shared/parts

Each task gets a GPU and reads eight files side by side. Ray runs a task again where its machine is
lost; a part that is there and whole stays, so that is harmless. Workers need soundsearch[dask] and
onnxruntime-gpu.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import ray

from examples.slurm.job_array import read
from indexer.shards import Shard, embed

#: Shards handed out at a time, so that a million of them need no memory.
AT_ONCE = 1000


@ray.remote(num_gpus=1, num_cpus=8, max_retries=2)
def embedded(shard: Shard) -> str:
    return embed(replace(shard, job=replace(shard.job, device="cuda", jobs=8)))


def main() -> None:
    ray.init(address="auto")
    waiting: list[object] = []
    for path in sorted(Path(sys.argv[1], "shards").glob("*.json")):
        if len(waiting) == AT_ONCE:
            done, waiting = ray.wait(waiting)
            ray.get(done)
        waiting.append(embedded.remote(read(path)))
    ray.get(waiting)


if __name__ == "__main__":
    main()
