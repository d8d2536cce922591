"""What PostgreSQL's errors mean for an index, and what to do about each. No text names a password."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import sqlalchemy as sa

from soundsearch.errors import StoreError
from soundsearch.paths import DatabaseUrl

#: The way out where the database itself is damaged.
RESTORE = "restore the database from a backup (pg_restore), or index again into another one"
#: What makes the vectors of PostgreSQL known to a database.
NO_EXTENSION = (
    "the database lacks the extension that holds vectors; an administrator of it runs once: "
    "CREATE EXTENSION vector (of pgvector 0.8 or newer)"
)
NO_RIGHTS = "the user of the address lacks rights to it; see docs/how-to/postgresql.md"
#: By the beginning of the code that PostgreSQL gives an error.
WAYS_OUT = {
    "28": "the server lets this user in with no such password; give the right one, best in "
    "~/.pgpass or PGPASSWORD",
    "3D": "there is no such database; create it, or name another in the address",
    "42501": NO_RIGHTS,
    "42": "the database is not as soundsearch makes it; run: soundsearch verify",
    "25006": "the server takes no writes, such as a standby; give the address of the primary one",
    "53": "the server has no room left, or too many connections; what was committed is kept",
    "57": "the server ended the connection; run the command again, what was committed is kept",
    "08": "the server does not answer; run the command again, what was committed is kept",
    "40": "another writer was in the way; run the command again",
    "XX": f"the database is damaged; {RESTORE}",
}
#: Texts of errors that come from this side, and so have no code.
UNREACHABLE = "the server does not answer; check the address, and that the server runs"
NOT_UNDERSTOOD = (
    "the address is not understood; expected postgresql://USER@HOST/DATABASE, in which special "
    "characters are written as in %40"
)


@contextlib.contextmanager
def translated(place: DatabaseUrl) -> Iterator[None]:
    """PostgreSQL's errors as StoreErrors that say what to do."""
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        message = _first_line(str(original))
        reason = _way_out(original, message)
        raise StoreError(f"{place}: {masked(message, place)}: {reason}") from None


def masked(text: str, place: DatabaseUrl) -> str:
    """A text without the passwords of an address, however they are written in it."""
    for secret in _secrets(place.url):
        for spelling in {secret, unquote(secret)}:
            text = text.replace(spelling, "***")
    return text


def _secrets(url: str) -> list[str]:
    found = re.findall(r"://[^:@/?#]*:(.*)@", url, re.DOTALL)
    with contextlib.suppress(ValueError):
        query = parse_qs(urlsplit(url).query)
        found += [*query.get("password", []), *query.get("sslpassword", [])]
    return sorted(filter(None, found), key=len, reverse=True)


def _first_line(message: str) -> str:
    """An error in one line: of several attempts to connect, the last."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip(" -")]
    attempts = [line for line in lines if "connection to server" in line]
    return (attempts or lines or ["no reason given"])[-1 if attempts else 0]


def _way_out(error: BaseException | None, message: str) -> str:
    code = getattr(error, "sqlstate", None) or ""
    if "halfvec" in message or ("vector" in message and code.startswith("42")):
        return NO_EXTENSION
    if "authentication failed" in message or "no password supplied" in message:
        code = "28"
    elif "does not exist" in message and "database" in message:
        code = "3D"
    for known in (code, code[:2]):
        if known in WAYS_OUT:
            return WAYS_OUT[known]
    if isinstance(error, psycopg.ProgrammingError) and not code:
        return NOT_UNDERSTOOD
    if isinstance(error, psycopg.OperationalError):
        return UNREACHABLE
    return "run: soundsearch verify"
