"""What is wrong with an address, a server or a user costs one line, in which no password stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import soundsearch as package
from soundsearch import paths
from soundsearch.errors import StoreError
from soundsearch.paths import DatabaseUrl
from soundsearch.store import Store
from tests.conftest import Run
from tests.filled_store import put
from tests.postgres import Server

ROOT = Path("/library")


@pytest.mark.parametrize(
    ("url", "facts"),
    [
        ("postgresql://me:secret@127.0.0.1:1/x", ["does not answer", "me:***@127.0.0.1"]),
        (
            "postgresql://me@127.0.0.1:1/x?password=secret&sslmode=disable",
            ["password=***", "answer"],
        ),
        ("postgresql://me:sec ret@host:port/x", ["expected postgresql://"]),
        ("postgresql://me:secret@127.0.0.1/x?schema=a-b", ["schema is 'a-b'", "letters"]),
        ("postgresql://me:se%20cret@127.0.0.1:1/x?sslmode=perhaps", ["sslmode", "perhaps"]),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line(
    soundsearch: Run, url: str, facts: list[str]
) -> None:
    refused = soundsearch("query", "hiss", "--index", url, code=1)
    (line,) = refused.stderr.splitlines()
    assert all(fact in line for fact in facts) and "secret" not in line and "sec ret" not in line


def test_a_wrong_password_is_one_line_without_it(postgres: Server, soundsearch: Run) -> None:
    if postgres.data is None:
        pytest.skip("how another server lets users in is not ours to change")
    rules = postgres.data / "pg_hba.conf"
    before = rules.read_text()
    postgres.execute("CREATE ROLE locked LOGIN PASSWORD 'right one'")
    try:
        rules.write_text(f"local all locked scram-sha-256\n{before}")
        postgres.execute("SELECT pg_reload_conf()")
        name = urlsplit(postgres.new_database()).path[1:]
        for word in ("wrong%20one", "wrong-one"):
            url = postgres.address(name, user=f"locked:{word}")
            refused = soundsearch("status", "--index", url, code=1)
            (line,) = refused.stderr.splitlines()
            assert (
                "password" in line and "~/.pgpass" in line and "one" not in line.split("?host")[0]
            )
    finally:
        rules.write_text(before)
        postgres.execute("SELECT pg_reload_conf()")
        postgres.execute("DROP ROLE locked")


def test_a_database_without_vectors_names_the_way_out(
    postgres: Server, soundsearch: Run, library: Path
) -> None:
    url = postgres.new_database(with_vectors=False)
    name = urlsplit(url).path[1:]
    postgres.execute(f"CREATE ROLE {name} LOGIN")
    postgres.execute(f"GRANT CREATE ON DATABASE {name} TO {name}")
    place = postgres.address(name, user=name)
    refused = soundsearch("index", library, "--index", place, code=1)
    assert "CREATE EXTENSION vector" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert postgres.execute(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'soundsearch'", name
    ) == [(0,)]
    postgres.execute("CREATE EXTENSION vector", name)
    soundsearch("index", library, "--index", place)
    postgres.execute(f"DROP OWNED BY {name} CASCADE", name)
    postgres.execute(f"DROP ROLE {name}")


def test_a_database_that_is_not_there(postgres: Server, soundsearch: Run) -> None:
    refused = soundsearch("status", "--index", postgres.address("nowhere"), code=1)
    assert '"nowhere"' in refused.stderr and "create it" in refused.stderr
    empty = soundsearch("query", "hiss", "--index", postgres.new_place(), code=1)
    assert "soundsearch index FOLDER" in empty.stderr


def test_a_search_whose_session_is_ended_is_one_line(
    url: str, store: Store, postgres: Server
) -> None:
    put(store, ROOT, "first.wav")

    def search() -> None:
        with store.snapshot() as reader:
            postgres.end_sessions(url)
            reader.n_recordings()

    with pytest.raises(StoreError, match="ended the connection"):
        search()
    with store.snapshot() as reader:
        assert reader.n_recordings() == 1


def test_without_the_driver_the_extra_is_named(tmp_path: Path) -> None:
    script = "import sys; sys.modules['psycopg'] = None; from soundsearch.cli import app; app()"
    done = subprocess.run(
        [sys.executable, "-c", script, "status", "--index", "postgresql://host/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "pip install 'soundsearch[postgres]'" in done.stderr


def test_no_text_of_an_address_names_its_password() -> None:
    for url in (
        "postgresql://me:s3cret@host/db",
        "postgresql://me:s3c:r@et@host,other:5433/db?sslmode=verify-full",
        "postgres://host/db?user=me&password=s3cret&schema=a",
        "postgresql://me:s3c/ret@host/db",
    ):
        place = paths.index_place(url)
        assert isinstance(place, DatabaseUrl)
        for text in (str(place), repr(place), f"{place}"):
            assert "s3c" not in text and "et@" not in text
        assert place.url == url
    with pytest.raises(package.SoundsearchError, match="as a text"):
        paths.index_place(Path("postgresql://me@host/db"))


def test_the_schema_of_an_address() -> None:
    place = DatabaseUrl("postgresql://host/db?sslmode=require&schema=radio&sslrootcert=%2Fca.pem")
    assert place.schema == "radio"
    assert place.server == "postgresql://host/db?sslmode=require&sslrootcert=%2Fca.pem"
    assert place.beside("next").schema == "radio_next"
    assert (
        DatabaseUrl("postgresql://host/db").beside("next").url.endswith("?schema=soundsearch_next")
    )
