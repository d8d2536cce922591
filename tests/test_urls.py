"""URLs where paths stand."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from soundsearch.files import AtUrlError, Presence, absence, is_absent, open_regular
from soundsearch.urls import UrlPath, is_url, path_of, url_of


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("s3://bucket/a b.wav", "s3://bucket/a b.wav"),
        ("s3:/bucket/a.wav", "s3://bucket/a.wav"),
        ("https://host:80/x?y=1#z", "https://host:80/x?y=1#z"),
        ("file:///tmp/ä.wav", "file:///tmp/ä.wav"),
        ("abfs://c@account.net/x", "abfs://c@account.net/x"),
    ],
)
def test_a_url_stays_as_it_is(text: str, written: str) -> None:
    path = path_of(text)
    assert is_url(text) and isinstance(path, UrlPath)
    assert str(path) == f"{path}" == written
    assert str(path_of(Path(text))) == written  # as a path made of it has fewer slashes
    assert copy.deepcopy(path) == path == pickle.loads(pickle.dumps(path))
    assert str(copy.deepcopy(path)) == written
    assert path.absolute() is path


@pytest.mark.parametrize("text", ["/a/b", "a/b", "./s3:/x", "c:/x", "s3:", "s3://", "S3 ://x", ""])
def test_a_path_is_no_url(text: str) -> None:
    assert not is_url(text)
    assert type(path_of(text, "x")) is type(Path())


def test_recordings_lie_in_their_roots() -> None:
    root = path_of("s3://bucket/lib")
    whole = path_of(root, "a/x.tar!/b c.wav")
    assert str(whole) == "s3://bucket/lib/a/x.tar!/b c.wav"
    assert str(whole.relative_to(root)) == "a/x.tar!/b c.wav"
    assert root in whole.parents and root.is_relative_to(path_of("s3://bucket"))
    assert (whole.name, whole.suffix) == ("b c.wav", ".wav")
    assert str(root / "n") == "s3://bucket/lib/n"


def test_to_the_letter() -> None:
    assert url_of(path_of("s3://b/lib"), "x//y.wav") == "s3://b/lib/x//y.wav"
    assert url_of(path_of("s3://b/lib"), "/y.wav") == "s3://b/lib//y.wav"
    assert url_of(path_of("s3://b/y.wav"), ".") == "s3://b/y.wav"
    assert str(path_of("s3://b/lib", "/y.wav")) == "s3://b/lib/y.wav"


def test_in_a_list_each_recording_has_its_own_address() -> None:
    root = "https://host/list.txt"
    assert str(path_of(root, "s3://b/x.wav")) == "s3://b/x.wav" == url_of(root, "s3://b/x.wav")
    assert str(path_of("/home", "s3:/x.wav")) == "/home/s3:/x.wav"  # a folder of that name


def test_what_lies_at_a_url_is_no_file_here_and_not_gone() -> None:
    path = path_of("s3://bucket/x.wav")
    assert not is_absent(path)
    assert absence(path) is None
    assert Presence()("s3://bucket", "x.wav")
    with pytest.raises(AtUrlError, match="download"):
        open_regular(path)
