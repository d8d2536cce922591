"""Read a CSV that lists recordings of one's own, with captions or labels."""

from __future__ import annotations

from pathlib import Path

from soundsearch.bench.datasets.assemble import classification_set, require_choice, retrieval_set
from soundsearch.bench.datasets.audio_folder import AudioFolder
from soundsearch.bench.datasets.kinds import DataSet, DataSetError
from soundsearch.tables import Row, Table, listed


def read_manifest(path: Path, *, split: str | None = None, ask: str | None = None) -> DataSet:
    """A CSV of one's own: columns file and caption, or file and label, perhaps with fold.

    Paths are taken from the folder of the CSV. Rows of one file are its captions; a file has one
    label. Classes stand in the order in which they first appear. Other columns are ignored.

    Args:
        path: the CSV.
        split: only the rows that have this in their column split.
        ask: caption or label, where the CSV has both.

    Raises:
        DataSetError: the CSV is not right, or none of its recordings is there.
    """
    table = Table(path, DataSetError)
    wanted = [ask] if ask else [name for name in ("caption", "label") if name in table.columns]
    if not wanted:
        raise DataSetError(
            f"{path}: its columns are {listed(table.columns)}; "
            "expected file and caption, or file and label (and fold)"
        )
    if len(wanted) > 1:
        raise DataSetError(
            f"{path}: has captions and labels; choose with --ask caption or --ask label"
        )
    part = path.stem if split is None else f"{path.stem}/{split}"
    folder = AudioFolder(path.parent)
    if wanted == ["caption"]:
        captions_of: dict[str, tuple[str, ...]] = {}
        for row in _rows_of_split(table, ["file", "caption"], split):
            captions = captions_of.get(row["file"], ())
            if row["caption"] in captions:
                raise table.fault(row, f"{row['file']} has the caption {row['caption']!r} twice")
            captions_of[row["file"]] = (*captions, row["caption"])
        return retrieval_set("manifest", part, path, folder, captions_of, folder.at)
    with_fold = "fold" in table.columns
    rows = _rows_of_split(table, ["file", "label", *(["fold"] if with_fold else [])], split)
    numbers = {label: str(i) for i, label in enumerate(dict.fromkeys(row["label"] for row in rows))}
    return classification_set(
        "manifest",
        path,
        folder,
        split=part,
        names=[row["file"] for row in rows],
        find=folder.at,
        numbers=[numbers[row["label"]] for row in rows],
        labels=[row["label"] for row in rows],
        folds=[row["fold"] for row in rows] if with_fold else None,
    )


def _rows_of_split(table: Table, columns: list[str], split: str | None) -> list[Row]:
    """The rows of a table, of one split where one is given; there are some."""
    if split is None:
        return list(table.rows(columns))
    rows = list(table.rows([*columns, "split"]))
    require_choice(str(table.path), split, sorted({row["split"] for row in rows}))
    return [row for row in rows if row["split"] == split]
