"""Tests of soundsearch.bench."""
