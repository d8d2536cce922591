"""The words of an index in PostgreSQL: a tsvector of stems for each recording, ranked by BM25.

A part of `Database`. Words are the same as in SQLite's full-text index: runs of letters and digits
without accents, by Porter's stems, and scores are the same (BM25 with k1 = 1.2, b = 0.75: Robertson
and Zaragoza 2009, "The Probabilistic Relevance Framework"). What PostgreSQL ranks by knows no
frequency of words in the library, so the formula is in the statement.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.engine import Connection

from soundsearch.store.backend import unmatched_words
from soundsearch.store.conditions import Holds
from soundsearch.store.matching import folder_names, folders_of, spelling
from soundsearch.store.records import Words
from soundsearch.store.schema import Integer64, recordings_table
from soundsearch.words import RUN, split_name

#: `terms` has the stems, with the places of their words in `tokens`; the fields are apart there by an
#: empty token. `spelling` has the fields as lines of `matching.spelling`. What is counted of words is
#: noted by each statement in a row of its own, so that nobody waits for another.
TABLES = (
    "CREATE TEXT SEARCH DICTIONARY stems (TEMPLATE = pg_catalog.snowball, Language = porter)",
    """CREATE TABLE words (
        recording_id bigint PRIMARY KEY REFERENCES recordings (id) ON DELETE CASCADE,
        name text NOT NULL, folders text NOT NULL, metadata text NOT NULL, file_name text NOT NULL,
        part text NOT NULL, spelling text NOT NULL, folder_path text NOT NULL,
        tokens text[] NOT NULL, n_words integer NOT NULL, n_parts integer NOT NULL,
        terms tsvector NOT NULL)""",
    "CREATE INDEX words_by_term ON words USING gin (terms)",
    "CREATE TABLE word_totals (n_recordings bigint, n_words bigint, n_parts bigint)",
    """CREATE FUNCTION note_words() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE sign integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    BEGIN
        INSERT INTO word_totals SELECT sign * count(*), sign * sum(n_words), sign * sum(n_parts)
            FROM changed HAVING count(*) > 0;
        RETURN NULL;
    END $$""",
    """CREATE TRIGGER words_added AFTER INSERT ON words
        REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_words()""",
    """CREATE TRIGGER words_deleted AFTER DELETE ON words
        REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_words()""",
)
#: Finds parts of names without reading all names, where the server has this extension.
TRIGRAMS = "CREATE INDEX words_by_part ON words USING gin (part gin_trgm_ops)"
COLUMNS = (
    *("recording_id", "name", "folders", "metadata", "file_name", "part", "spelling"),
    *("folder_path", "tokens", "n_words", "n_parts", "terms"),
)
#: How the places of words in these fields are marked, and how much a word counts there.
LABELS = {"name": "A", "folders": "B", "metadata": "C"}
WEIGHTS = {"A": 4.0, "B": 2.0, "C": 2.0}
#: Shorter words are sought whole only: as parts they are in too many names.
SHORTEST_PART = 4
#: What PostgreSQL holds of a tsvector: the last place, and places of one stem.
LAST_PLACE, MOST_PLACES = 16_383, 255
#: Words of fewer letters, or of more bytes, are their own stems. A longer stem is cut.
SHORTEST_STEMMED, LONGEST_STEMMED, LONGEST_STEM = 3, 64, 500
#: Stems that are remembered.
MOST_STEMS = 200_000
#: Words that begin alike that are looked at, and recordings that they are looked for in.
MOST_LIKE, MOST_LOOKED_AT = 500, 20_000

_words = sa.table(
    "words",
    sa.column("recording_id", Integer64),
    sa.column("spelling", sa.Text),
    sa.column("folder_path", sa.Text),
    sa.column("terms"),
)
_SCORE = """
    sum(times * idf * often * CAST(2.2 AS float8) / (often + CAST(1.2 AS float8) *
        (CAST(0.25 AS float8) + CAST(0.75 AS float8) * n_own * n_recordings / n_all)))
"""
_IDF = "greatest(ln((CAST(n_recordings AS float8) - n_held + 0.5) / (n_held + 0.5)), 1e-6)"
_OFTEN = " ".join(f"WHEN '{label}' THEN {weight}" for label, weight in WEIGHTS.items())
#: Scores of recordings, from `found`: what was found in each, how often, and how long its text is.
_RANKED = f"""
    totals AS (SELECT greatest(sum(n_recordings), 1) AS n_recordings,
        CAST(greatest(sum({{n_all}}), 1) AS float8) AS n_all FROM word_totals),
    held AS (SELECT what, count(*) AS n_held FROM found GROUP BY what),
    rare AS (SELECT what, n_recordings, n_all, {_IDF} AS idf FROM held, totals),
    ranked AS (SELECT recording_id, {_SCORE} AS score
        FROM found JOIN rare USING (what) GROUP BY recording_id)
"""
_WORD_MATCHES = f"""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:stems AS text[]), CAST(:times AS int[])) AS w (what, times)),
    found AS MATERIALIZED (
        SELECT recording_id, what, times, CAST(n_words AS float8) AS n_own,
            (SELECT CAST(sum(CASE weight {_OFTEN} ELSE 0 END) AS float8)
                FROM unnest(weights) AS weight) AS often
        FROM words CROSS JOIN LATERAL unnest(terms) AS t (lexeme, positions, weights)
        JOIN wanted ON what = lexeme WHERE terms @@ CAST(:any AS tsquery)),
    {_RANKED.format(n_all="n_words")}
    SELECT recording_id, score, (SELECT string_agg(chr(2) || tokens[place] || chr(3), ' ' ORDER BY place)
        FROM unnest(terms) AS t (lexeme, positions, weights), unnest(positions) AS place
        WHERE lexeme = ANY(CAST(:stems AS text[]))) AS text
    FROM ranked JOIN words USING (recording_id)
"""
_PART_MATCHES = f"""
    WITH wanted AS (SELECT unnest(CAST(:parts AS text[])) AS what),
    found AS MATERIALIZED (
        SELECT recording_id, what, 1 AS times, CAST(n_parts AS float8) AS n_own,
            CAST((length(part) - length(replace(part, what, ''))) / length(what) AS float8) AS often
        FROM wanted JOIN words ON part LIKE '%' || what || '%'),
    {_RANKED.format(n_all="n_parts")}
    SELECT recording_id, score, (SELECT string_agg(chr(2) || what || chr(3), ' '
        ORDER BY strpos(part, what)) FROM wanted WHERE strpos(part, what) > 0) AS text
    FROM ranked JOIN words USING (recording_id)
"""


class WordIndex:
    """Words by which recordings are found, in statements and as such."""

    _stems: dict[str, str]

    def create_word_tables(self, connection: Connection) -> None:
        """Make the tables of words."""
        for statement in TABLES:
            connection.exec_driver_sql(statement)
        query = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"
        if connection.exec_driver_sql(query).scalar():
            try:
                with connection.begin_nested():
                    connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
                    connection.exec_driver_sql(TRIGRAMS)
            except sa.exc.DBAPIError:  # all names are read then
                return

    def put_words(self, connection: Connection, words: Mapping[int, Words | None]) -> None:
        """Store by which words recordings are found, by their ids; None: by none."""
        if not words:
            return
        delete = sa.text("DELETE FROM words WHERE recording_id = ANY(:ids)")
        connection.execute(delete, {"ids": list(words)})
        self.add_words(connection, {i: w for i, w in words.items() if w is not None})

    def add_words(self, connection: Connection, words: Mapping[int, Words]) -> None:
        """Store by which words recordings are found that have none yet, by their ids."""
        if not words:
            return
        columns = recordings_table.c
        query = sa.select(columns.id, columns.relative_path).where(
            columns.id == sa.func.any(sa.literal(list(words), sa.ARRAY(Integer64)))
        )
        paths = dict(connection.execute(query).all())
        rows = {i: _Row(one) for i, one in words.items()}
        stems = self.stems(connection, (t for row in rows.values() for t in row.tokens if t))
        raw = connection.connection.driver_connection
        assert raw is not None
        statement = f"COPY words ({', '.join(COLUMNS)}) FROM STDIN"
        with raw.cursor() as cursor, cursor.copy(statement) as copy:
            for i, row in rows.items():
                one = words[i]
                texts = (one.name, one.folders, one.metadata, one.file_name)
                folders = folders_of(paths[i]).decode("latin-1")
                terms = row.terms(stems)
                counts = (row.n_words, row.n_parts)
                copy.write_row(
                    (i, *texts, row.part, row.spelling, folders, row.tokens, *counts, terms)
                )

    def stems(self, connection: Connection, tokens: Iterable[str]) -> dict[str, str]:
        """The stem of each of these words; in small letters, without accents."""
        wanted = set(tokens)
        bare = {token: _bare(token) for token in wanted - self._stems.keys()}
        if len(self._stems) + len(bare) > MOST_STEMS:
            self._stems.clear()
            bare = {token: _bare(token) for token in wanted}
        if bare:
            query = sa.text("SELECT w, (ts_lexize('stems', w))[1] FROM unnest(:words) AS w")
            query = query.bindparams(sa.bindparam("words", type_=sa.ARRAY(sa.Text)))
            long_enough = {word for word in bare.values() if _is_stemmed(word)}
            stemmed: dict[str, str] = dict(
                connection.execute(query, {"words": sorted(long_enough)}).all()
            )
            self._stems |= {t: (stemmed.get(w) or w)[:LONGEST_STEM] for t, w in bare.items()}
        return {token: self._stems[token] for token in wanted}

    def words(self, connection: Connection, recording_id: int) -> Words | None:
        """By which words a recording is found; None: by none."""
        query = sa.text(
            "SELECT name, folders, metadata, file_name FROM words WHERE recording_id = :id"
        )
        row = connection.execute(query, {"id": recording_id}).first()
        return None if row is None else Words(*row)

    def empty_words(self, connection: Connection) -> None:
        """Take all words away."""
        connection.exec_driver_sql("TRUNCATE words, word_totals")

    def sum_up(self, connection: Connection) -> None:
        """Make one row of the counts that statements noted."""
        connection.exec_driver_sql(
            "WITH noted AS (DELETE FROM word_totals RETURNING *) INSERT INTO word_totals "
            "SELECT sum(n_recordings), sum(n_words), sum(n_parts) FROM noted HAVING count(*) > 0"
        )

    def word_problems(self, connection: Connection) -> list[str]:
        """Where words and recordings disagree, in words."""
        found = unmatched_words(connection, "words", "recording_id")
        counted = "coalesce(sum(n_words), 0), coalesce(sum(n_parts), 0)"
        held, noted = (
            tuple(connection.exec_driver_sql(query).one())
            for query in (
                f"SELECT count(*), {counted} FROM words",
                f"SELECT coalesce(sum(n_recordings), 0), {counted} FROM word_totals",
            )
        )
        if held != noted:
            found.append(f"table words: counted {held[0]}, noted {noted[0]}, or other words")
        return found

    def damaged_words(self) -> list[str]:
        """None: the server sees to it that an index finds what its table holds."""
        return []

    # ---- recordings found by words

    def word_matches(self, connection: Connection, terms: Sequence[str]) -> sa.Subquery:
        """Recordings with any of these words: recording_id, score, and text for `FOUND`."""
        stems = self.stems(connection, terms)
        times = Counter(stems[term] for term in terms)
        return _matches(
            _WORD_MATCHES,
            stems=list(times),
            times=list(times.values()),
            any=" | ".join(f"'{stem}'" for stem in times),
        )

    def part_matches(self, connection: Connection, terms: Sequence[str]) -> sa.Subquery:
        """Recordings whose names contain any of these words; as `word_matches`."""
        parts = dict.fromkeys(term.lower() for term in terms if len(term) >= SHORTEST_PART)
        return _matches(_PART_MATCHES, parts=list(parts))

    def holding(self, connection: Connection, condition: Holds) -> sa.Select[tuple[int]]:
        """Ids of the recordings that hold words side by side."""
        label = LABELS["metadata"] if condition.only_metadata else ""
        found = sa.select(_words.c.recording_id).where(
            self._side_by_side(connection, condition.text, label)
        )
        if condition.is_exact:
            spelled: sa.ColumnElement[str] = _words.c.spelling
            if condition.only_metadata:
                spelled = sa.func.split_part(spelled, "\n", 3)
            is_there = [
                sa.func.strpos(spelled, spelling(" ".join(words))) > 0
                for words in _spellings(condition.text)
            ]
            found = found.where(sa.or_(*is_there))
        return found

    def in_folders(
        self, connection: Connection, names: Sequence[str], *, at_top: bool
    ) -> sa.ColumnElement[bool]:
        """Whether a recording lies in folders of these names, one in the other, in its root."""
        named = folder_names(names, at_top=at_top).decode("latin-1")
        found = sa.select(_words.c.recording_id).where(
            sa.func.strpos(_words.c.folder_path, named) > 0
        )
        words = "/".join(names)
        if RUN.search(words):
            found = found.where(self._side_by_side(connection, words, LABELS["folders"]))
        return recordings_table.c.id.in_(found)

    def known_words(self, connection: Connection, words: Iterable[str]) -> set[str]:
        """Those of these words that any recording holds in any form."""
        stems = self.stems(connection, words)
        _by_index(connection, True)  # the planner would read all rows to see that a word is nowhere
        query = sa.text(
            "SELECT s FROM unnest(:stems) AS s WHERE EXISTS "
            "(SELECT 1 FROM words WHERE terms @@ CAST('''' || s || '''' AS tsquery))"
        ).bindparams(sa.bindparam("stems", type_=sa.ARRAY(sa.Text)))
        held = set(connection.execute(query, {"stems": sorted(set(stems.values()))}).scalars())
        _by_index(connection, False)
        return {word for word, stem in stems.items() if stem in held}

    def words_like(self, connection: Connection, start: str) -> list[str]:
        """Words of recordings that begin so, one for each stem, in small letters."""
        query = sa.text(
            "SELECT DISTINCT ON (lexeme) lower(tokens[positions[1]]) FROM "
            "(SELECT * FROM words WHERE terms @@ CAST(:match AS tsquery) LIMIT :rows) AS w, "
            "unnest(terms) AS t (lexeme, positions, weights) "
            "WHERE starts_with(lexeme, :start) ORDER BY lexeme, recording_id LIMIT :n"
        )
        if not RUN.fullmatch(start):
            return []
        limits = {"rows": MOST_LOOKED_AT, "n": MOST_LIKE}
        _by_index(connection, True)
        rows = connection.execute(query, {"match": f"'{start}':*", "start": start, **limits})
        found = list(rows.scalars())
        _by_index(connection, False)
        return found

    def _side_by_side(
        self, connection: Connection, text: str, label: str
    ) -> sa.ColumnElement[bool]:
        """Whether a row has the words of a text side by side in one field, alike in their stems."""
        phrases = []
        for words in _spellings(text):
            stems = self.stems(connection, words)
            marked = (f"'{stems[word]}'{':' + label if label else ''}" for word in words)
            phrases.append(f"({' <-> '.join(marked)})")
        query = sa.cast(sa.literal(" | ".join(phrases), sa.Text), TSQUERY)
        return _words.c.terms.op("@@", is_comparison=True)(query)


class _Row:
    """What a row of words holds beside the texts themselves."""

    def __init__(self, words: Words) -> None:
        self.tokens: list[str] = []
        self._labels: list[str] = []
        for field, label in LABELS.items():
            found = RUN.findall(unicodedata.normalize("NFC", getattr(words, field)))
            self.tokens += [*found, ""]
            self._labels += [label] * (len(found) + 1)
        fields = (words.name, words.folders, words.metadata)
        self.spelling = "\n".join(map(spelling, fields))
        self.part = words.file_name.lower()
        self.n_words = len(self.tokens) - len(LABELS)
        self.n_parts = max(0, len(self.part) - 2)  # of three letters each

    def terms(self, stems: Mapping[str, str]) -> str:
        """The stems with their places, as PostgreSQL reads them."""
        places: dict[str, list[str]] = {}
        for place, (token, label) in enumerate(zip(self.tokens, self._labels, strict=True), 1):
            if token and place <= LAST_PLACE:
                places.setdefault(stems[token], []).append(f"{place}{label}")
        return " ".join(f"'{stem}':{','.join(p[:MOST_PLACES])}" for stem, p in places.items())


def _bare(token: str) -> str:
    """A word in small letters without accents."""
    return "".join(RUN.findall(spelling(token))) or token.lower()


def _is_stemmed(word: str) -> bool:
    return SHORTEST_STEMMED <= len(word.encode()) <= LONGEST_STEMMED


def _spellings(text: str) -> list[list[str]]:
    """The words of a text as they stand in metadata, and as they stand in names."""
    return [RUN.findall(unicodedata.normalize("NFC", text)), split_name(text)]


def _matches(statement: str, **values: object) -> sa.Subquery:
    return (
        sa.text(statement)
        .bindparams(**values)
        .columns(
            sa.column("recording_id", Integer64), sa.column("score", sa.Double), sa.column("text")
        )
        .subquery()
    )


def _by_index(connection: Connection, only: bool) -> None:
    """Whether statements of this transaction avoid to read whole tables."""
    connection.exec_driver_sql(f"SET LOCAL enable_seqscan = {'off' if only else 'on'}")
