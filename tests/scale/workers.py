"""What workers of the tests run: the real thing, which dies of a file called poison."""

from __future__ import annotations

import os
import signal

from indexer.shards import Shard, embed


def embed_or_die(shard: Shard) -> str:
    if any("poison" in file.facts.relative_path for file in shard.files):
        os.kill(os.getpid(), signal.SIGKILL)
    return embed(shard)
