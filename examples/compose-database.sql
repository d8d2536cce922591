-- Run once by the server of compose.yaml, when its volume is empty.
CREATE EXTENSION vector;
CREATE EXTENSION pg_trgm;
