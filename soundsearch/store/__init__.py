"""The database of an index, which is the truth about it: tables, rows in, rows out.

`Store.open` opens an index folder. `store.snapshot()` gives a `Reader` of one consistent state;
`store.writer()` takes the writer's lock and gives a `Writer`, whose `transaction()` changes rows.
"""

from soundsearch.store.reader import Reader
from soundsearch.store.records import (
    Failed,
    FileFacts,
    Indexed,
    PinnedEncoder,
    Recording,
    RecordingFacts,
    Root,
    State,
    StoredCopy,
    StoredSound,
    StoredWindow,
    WindowBlock,
    WordMatch,
    Words,
)
from soundsearch.store.store import Store
from soundsearch.store.transaction import Transaction
from soundsearch.store.writer import Writer

__all__ = [
    "Failed",
    "FileFacts",
    "Indexed",
    "PinnedEncoder",
    "Reader",
    "Recording",
    "RecordingFacts",
    "Root",
    "State",
    "Store",
    "StoredCopy",
    "StoredSound",
    "StoredWindow",
    "Transaction",
    "WindowBlock",
    "WordMatch",
    "Words",
    "Writer",
]
