"""Tests of soundsearch.benchmarks."""
