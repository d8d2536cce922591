"""`python -m soundsearch` is the `soundsearch` command."""

from soundsearch.cli import app

if __name__ == "__main__":
    app(prog_name="soundsearch")
