"""From videos and manifests to shards of clips, and from shards to batches."""
