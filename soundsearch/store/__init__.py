"""The database of an index, which is the truth about it: tables, rows in, rows out."""
