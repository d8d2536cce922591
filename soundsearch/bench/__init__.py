"""Public benchmarks: what an encoder is worth, in numbers that can be compared with others'.

    data set -> embeddings -> scores -> protocols.py (numbers) -> results.py (JSON, ranks as CSV)
                                            results -> report.py, plots.py, compare.py, published.py

`protocols` says what is counted; every number is kept with its protocol, its tie rule and the
queries and candidates it was computed over. docs/benchmarks.md explains and names the sources.
"""
