"""The encoder of an index: chosen once, copied in, and held to.

An index keeps its own copy of the bundle, so that it answers for as long as it exists, whatever
encoders later versions of soundsearch ship with.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from soundsearch.encoder.bundle import MANIFEST, EncoderBundle
from soundsearch.encoder.registry import bundle_folders
from soundsearch.errors import BundleError, IndexMismatchError, StoreError
from soundsearch.files import flush
from soundsearch.store.folder import Store
from soundsearch.store.records import PinnedEncoder
from soundsearch.store.sqlite import cannot_write

#: Folder inside an index that holds its copy of the bundle.
COPY = "encoder"


def create_index(folder: Path, bundle: EncoderBundle) -> Store:
    """Make an index in this folder, pinned to this bundle, and open it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copy_bundle(bundle, folder)
    except OSError as error:
        raise StoreError(cannot_write(folder, error)) from error
    return Store.create(folder, PinnedEncoder.of(bundle))


def copy_bundle(bundle: EncoderBundle, folder: Path) -> None:
    """Put a checked copy of the bundle into an index folder, in place of what is there."""
    temporary, copy = folder / f".{COPY}", folder / COPY
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for file in (*map(bundle.file, bundle.files), bundle.folder / MANIFEST):
        flush(Path(shutil.copyfile(file, temporary / file.name)))
    shutil.rmtree(copy, ignore_errors=True)
    temporary.rename(copy)


def pinned_bundle(store: Store, *, own_copy: bool = True) -> EncoderBundle:
    """The bundle an index is pinned to: its own copy, or one of the same fingerprint elsewhere.

    Args:
        store: the index.
        own_copy: whether the copy may be it; not where that one is damaged.

    Raises:
        IndexMismatchError: there is none; it names what was wanted and what was found.
    """
    pinned = _encoder_of(store)
    found: list[str] = []
    own = [store.folder / COPY] if own_copy else []
    for candidate in (*own, *bundle_folders()):
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
        f"{store.folder}: this index was built with {pinned}, which is not at hand; found: "
        f"{'; '.join(found) or 'no encoder'}. Get that bundle back and run: soundsearch repair --model BUNDLE"
    )


def check_same_encoder(store: Store, bundle: EncoderBundle) -> None:
    """Raise IndexMismatchError unless the index is pinned to this very bundle."""
    pinned = _encoder_of(store)
    if pinned.fingerprint != bundle.fingerprint:
        raise IndexMismatchError(
            f"{store.folder}: this index was built with {pinned}, you asked for "
            f"{PinnedEncoder.of(bundle)}; leave out --model, or make a second index with --index"
        )


def _encoder_of(store: Store) -> PinnedEncoder:
    with store.snapshot() as reader:
        return reader.encoder()
