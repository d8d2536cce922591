"""Shards for arrays of jobs."""
