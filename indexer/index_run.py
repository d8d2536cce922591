"""An index run from the names of folders to its report, for the command line and for Python.

In: the place of an index, which may not exist yet, and folders of sound. Out: a `Plan` of what would be
done, or what was done. Impossible paths and encoders are refused before anything is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from indexer.captions import Caption, read_captions
from indexer.index_options import DEFAULTS, IndexOptions
from indexer.pipeline import run
from indexer.plan import Plan, make_plan
from indexer.report import Report
from indexer.targets import choose_targets
from soundsearch.encoder.registry import DEFAULT_MODEL, find_bundle
from soundsearch.encoder.towers import Encoder
from soundsearch.progress import SILENT, Progress
from soundsearch.store import Store
from soundsearch.store.backend import Place
from soundsearch.store.pinned import check_same_encoder, create_index, pinned_bundle


class IndexRun:
    """What is to be indexed, and where. Use it as a context manager, which closes the index.

    Attributes:
        paths: the folders and files to index; without any, none has been indexed before.
    """

    def __init__(
        self,
        place: Place,
        paths: Sequence[Path] = (),
        model: str | None = None,
        *,
        captions: Path | None = None,
        no_captions: bool = False,
    ) -> None:
        """Look at the index as it is; nothing is changed.

        Args:
            place: of the index.
            paths: folders and files; none means all roots that the index has.
            model: encoder of a new index, by its name or its bundle's folder.
            captions: table of captions, which take the place of all that were given before.
            no_captions: take all captions away.

        Raises:
            StoreError: the index cannot be used, or a path cannot be indexed.
            IndexMismatchError: the index was built with another encoder than this model.
            BundleError: there is no such encoder.
            TableError: the captions cannot be read.
        """
        self._place = place
        self._captions: list[Caption] | None = [] if no_captions else None
        if captions is not None:
            self._captions = read_captions(captions)
        self._model = find_bundle(model) if model else None
        self._store = Store.open(place) if Store.exists(place) else None
        try:
            roots = []
            if self._store is not None:
                if self._model is not None:
                    check_same_encoder(self._store, self._model)
                with self._store.snapshot() as reader:
                    roots = reader.roots()
            self.paths = list(paths) or [root.path for root in roots]
            self._targets = choose_targets(roots, self.paths)
        except BaseException:
            self.close()
            raise

    def plan(self, options: IndexOptions = DEFAULTS, *, progress: Progress = SILENT) -> Plan:
        """What `run` would do with these options; nothing is changed."""
        return make_plan(self._store, self._targets, options, progress=progress)

    def run(
        self, options: IndexOptions = DEFAULTS, *, progress: Progress = SILENT
    ) -> tuple[Plan, Report]:
        """Make the index if there is none, and bring it up to date; see `pipeline.run`."""
        if self._store is None:
            self._store = create_index(self._place, self._model or find_bundle(DEFAULT_MODEL))
        return run(
            self._store,
            Encoder(pinned_bundle(self._store), options.device),
            self.paths,
            options,
            targets=self._targets,
            captions=self._captions,
            progress=progress,
        )

    def close(self) -> None:
        """Close the database."""
        if self._store is not None:
            self._store.close()

    def __enter__(self) -> IndexRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
