"""What comes first for twenty everyday questions, for a person to judge.

Indexes the recordings of one split of a table (columns file, caption, split) and asks. Prints the
captions of the first hits, by sound alone and as `soundsearch query` ranks. The program never sees
the captions; names are those of the files.

    .venv/bin/python -m examples.questions_study DATA/sounds.csv --split valid
"""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.names_study import indexed, read_split

#: Chosen by what everyone knows and the split has, before any of them was asked.
QUESTIONS = (
    "dog barking",
    "cat meowing",
    "cow mooing",
    "rooster crowing",
    "horse neighing",
    "wolf howling",
    "crickets",
    "heavy rain",
    "thunder",
    "ocean waves",
    "church bells",
    "telephone ringing",
    "alarm clock",
    "car horn",
    "helicopter",
    "steam train",
    "door closing",
    "typing on a keyboard",
    "crowd applauding",
    "fireworks",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--split", default="valid")
    parser.add_argument("--model", help="encoder, by default the one that ships")
    options = parser.parse_args()
    files = read_split(options.table, options.split)
    with indexed(options.table.parent, files, options.model) as (index, library):
        captions = {library / file: caption for file, caption in files.items()}
        print("| question | first by sound | first by sound and names |\n| --- | --- | --- |")
        for question in QUESTIONS:
            by_sound, by_both = (
                captions[index.search(text=question, top_k=1, by=by)[0].path]
                for by in ("sound", "both")
            )
            print(f"| {question} | {by_sound} | {by_both} |")


if __name__ == "__main__":
    main()
