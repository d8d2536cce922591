"""From videos and manifests to shards of examples, and from shards to batches."""
