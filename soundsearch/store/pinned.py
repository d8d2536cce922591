"""The encoder of an index: chosen once, copied in, and held to.

An index keeps its own copy of the bundle, so that it answers for as long as it exists, whatever
encoders later versions of soundsearch ship with: in its folder, or in its database, from where it is
copied to the cache of each computer that uses it. While an index is embedded again with another
encoder, there is a second one beside it, which is pinned to that one (see `indexer/reembed.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil
import tempfile
from pathlib import Path

from soundsearch.encoder.bundle import MANIFEST, EncoderBundle
from soundsearch.encoder.registry import bundle_folders, model_name
from soundsearch.errors import BundleError, IndexBusyError, IndexMismatchError, StoreError
from soundsearch.files import put_folder_in_place
from soundsearch.paths import cache_folder
from soundsearch.store.backend import Place
from soundsearch.store.reader import Reader
from soundsearch.store.records import PinnedEncoder
from soundsearch.store.sqlite_errors import cannot_write
from soundsearch.store.store import Store, drop_database
from soundsearch.store.writer import Writer

#: Folder inside an index that holds its copy of the bundle.
COPY = "encoder"
#: Folder inside an index that holds the index which another encoder fills.
NEXT = "next"


def create_index(place: Place, bundle: EncoderBundle) -> Store:
    """Make an index in this place, pinned to this bundle, and open it."""
    if isinstance(place, Path):
        try:
            place.mkdir(parents=True, exist_ok=True)
            _copy_bundle(bundle, place)
        except OSError as error:
            raise StoreError(cannot_write(place, error)) from error
    return Store.create(place, PinnedEncoder.of(bundle), bundle)


def put_encoder(writer: Writer, bundle: EncoderBundle) -> None:
    """Give an index a checked copy of its bundle, in place of what it has."""
    if isinstance(writer.place, Path):
        _copy_bundle(bundle, writer.place)
        return
    with writer.transaction(new_revision=False) as changes:
        changes.put_encoder(bundle)
    manifest = (bundle.folder / MANIFEST).read_bytes()
    shutil.rmtree(_cached(manifest), ignore_errors=True)


def encoder_folder(reader: Reader) -> Path:
    """Where an index's own copy of its encoder lies; there may be none, or a damaged one.

    That of a database is fetched into the cache, unless it is there already.
    """
    if isinstance(reader.place, Path):
        return reader.place / COPY
    manifest = reader.encoder_files(MANIFEST).get(MANIFEST, b"")
    folder = _cached(manifest)
    if not folder.exists():
        files = reader.encoder_files()
        try:
            _put_into_cache(folder, files)
        except OSError as error:
            raise StoreError(
                f"{folder}: the encoder of the index cannot be copied there ({error.strerror}); "
                "name another cache folder with SOUNDSEARCH_CACHE"
            ) from error
    return folder


def _cached(manifest: bytes) -> Path:
    """The folder of an encoder; by its manifest, for a fingerprint says nothing of scores."""
    return cache_folder() / "encoders" / hashlib.sha256(manifest).hexdigest()


def _put_into_cache(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of a bundle to a temporary folder, and rename it. Raises OSError."""
    if not files:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as holder:
        temporary = Path(holder) / folder.name
        temporary.mkdir()
        for name, content in files.items():
            (temporary / Path(name).name).write_bytes(content)
        try:
            put_folder_in_place(temporary, folder)
        except OSError:
            if not folder.exists():  # another process was faster
                raise


def _copy_bundle(bundle: EncoderBundle, folder: Path) -> None:
    """Put a checked copy of the bundle into an index folder, in place of what is there."""
    temporary, old = folder / f".{COPY}", folder / f".{COPY}-old"
    for left in (temporary, old):  # by a killed process
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir()
    for file in (*map(bundle.file, bundle.files), bundle.folder / MANIFEST):
        shutil.copyfile(file, temporary / file.name)
    put_folder_in_place(temporary, folder / COPY, old)
    shutil.rmtree(old, ignore_errors=True)


def pinned_bundle(store: Store, *, own_copy: bool = True) -> EncoderBundle:
    """The bundle an index is pinned to: its own copy, or one of the same fingerprint elsewhere.

    Args:
        store: the index.
        own_copy: whether the copy may be it; not where that one is damaged.

    Raises:
        IndexMismatchError: there is none; it names what was wanted and what was found.
    """
    pinned = store.encoder()
    found: list[str] = []
    for candidate in (*(_own_copies(store) if own_copy else ()), *bundle_folders()):
        try:
            bundle = EncoderBundle.read(candidate)
        except BundleError as error:
            found.append(str(error))
            continue
        is_whole = all((candidate / name).exists() for name in bundle.files)
        if bundle.fingerprint == pinned.fingerprint and is_whole:
            return bundle
        missing = "" if is_whole else " (files are missing)"
        found.append(f"{PinnedEncoder.of(bundle)}{missing}")
    raise IndexMismatchError(
        f"{store.name}: this index was built with {pinned}, which is not at hand; found: "
        f"{'; '.join(dict.fromkeys(found)) or 'no encoder'}. Get that bundle back and run: soundsearch "
        "repair --model BUNDLE, or embed all again with: soundsearch reembed --model NAME"
    )


def _own_copies(store: Store) -> list[Path]:
    """Where the index's own copy of its encoder may lie."""
    with store.snapshot() as reader:
        copy = encoder_folder(reader)
    if isinstance(store.place, Path) and (store.place / NEXT).exists():
        return [copy, store.place / NEXT / COPY, copy]  # it may be moved from there at any moment
    return [copy]


def check_same_encoder(store: Store, bundle: EncoderBundle) -> None:
    """Raise IndexMismatchError unless the index is pinned to this very bundle."""
    pinned = store.encoder()
    if pinned.fingerprint != bundle.fingerprint:
        raise IndexMismatchError(
            f"{store.name}: this index was built with {pinned}, you asked for "
            f"{PinnedEncoder.of(bundle)}; leave out --model, give it that encoder with: soundsearch reembed "
            f"--model {shlex.quote(model_name(bundle))}, or make a second index with --index"
        )


def next_place(place: Place) -> Place:
    """Where the index lies that another encoder fills."""
    return place / NEXT if isinstance(place, Path) else place.beside(NEXT)


def next_index(store: Store) -> Store | None:
    """The index that another encoder fills, opened, if this one is being embedded again.

    Raises:
        StoreError: it cannot be used.
    """
    place = next_place(store.place)
    try:
        return Store.open(place) if Store.exists(place) else None
    except IndexBusyError:
        raise
    except StoreError as error:
        raise StoreError(f"{error}; or drop it with: soundsearch reembed --cancel") from error


def finish_switch(store: Store, writer: Writer) -> bool:
    """Put the encoder in place to which the index was switched, and drop what it was made ready in.

    A process that is killed while it does so leaves an index that answers, and the next call does
    the rest.

    Returns:
        Whether there was something to finish.
    """
    if not isinstance(store.place, Path):  # its encoder was put in place with its embeddings
        begun = next_index(store)
        if begun is None:
            return False
        with contextlib.closing(begun):
            is_done = begun.encoder() == store.encoder()
        return is_done and drop_next(writer)
    copy, new = store.place / COPY, store.place / NEXT / COPY
    if new.exists():
        if not awaits_its_place(new, store.encoder()):
            return False
        shutil.rmtree(copy, ignore_errors=True)
        _rename(new, copy)
    return drop_next(writer)


def awaits_its_place(copy: Path, pinned: PinnedEncoder) -> bool:
    """Whether a bundle in the second folder is that of an index which was switched to it already."""
    try:
        return EncoderBundle.read(copy).fingerprint == pinned.fingerprint
    except BundleError:
        return False


def drop_next(writer: Writer) -> bool:
    """Delete the index that another encoder fills; returns whether there was one."""
    if not isinstance(writer.place, Path):
        place = writer.place.beside(NEXT)
        was_there = Store.exists(place)
        drop_database(place)
        return was_there
    folder, gone = writer.folder / NEXT, writer.folder / f".{NEXT}"
    shutil.rmtree(gone, ignore_errors=True)  # of a killed process
    was_there = folder.exists()
    if was_there:
        _rename(folder, gone)  # at once, so that there is never half of one
        shutil.rmtree(gone, ignore_errors=True)  # what stays is deleted by the next call
    return was_there


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        raise StoreError(cannot_write(old.parent, error)) from error
