"""Public benchmarks: what an encoder is worth, in numbers that can be compared with others'.

    datasets/ -> embeddings -> scores -> evaluation.py (numbers) -> results.py (one run)
    results.py <-> result_files.py (JSON, ranks as CSV)
    results.py  -> sheets.py, plots.py, compare.py, published.py

`protocols` says what is counted; every number is stored with its protocol, its tie rule and the
queries and candidates it was computed over. docs/benchmarks.md explains and names the sources.
"""
