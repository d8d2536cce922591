BEGIN TRANSACTION;
PRAGMA application_id = 1936614515;
PRAGMA user_version = 5;
CREATE TABLE index_info (
	id INTEGER NOT NULL, 
	encoder_name TEXT NOT NULL, 
	encoder_version TEXT NOT NULL, 
	encoder_fingerprint TEXT NOT NULL, 
	dim INTEGER NOT NULL, 
	created_at TEXT NOT NULL, 
	float16_from INTEGER DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id), 
	CHECK (id = 1)
);
INSERT INTO "index_info" VALUES(1,'flat','1','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',2,'2026-11-29T08:30:32+00:00',0);
CREATE TABLE recordings (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	root_id INTEGER NOT NULL, 
	relative_path BLOB NOT NULL, 
	size_bytes INTEGER NOT NULL, 
	mtime_ns INTEGER NOT NULL, 
	content_hash BLOB, 
	duration_s DOUBLE, 
	sample_rate INTEGER, 
	n_channels INTEGER, 
	format TEXT, 
	metadata TEXT, 
	state TEXT NOT NULL, 
	cause TEXT, 
	error TEXT, 
	indexed_at TEXT NOT NULL, 
	captions TEXT, 
	words_version INTEGER, 
	sound_hash BLOB, 
	UNIQUE (root_id, relative_path), 
	CHECK (state IN ('indexed', 'failed', 'missing')), 
	FOREIGN KEY(root_id) REFERENCES roots (id)
);
INSERT INTO "recordings" VALUES(1,1,X'612E776176',1000,2000,X'612E776176',2.0,8000,1,'WAV',NULL,'indexed',NULL,NULL,'2026-11-29T08:30:32+00:00','{"text": "rain on a tent"}',2,X'69747320736F756E64');
CREATE TABLE peaks (
	recording_id INTEGER NOT NULL, 
	per_second DOUBLE NOT NULL, 
	extremes BLOB NOT NULL, 
	PRIMARY KEY (recording_id), 
	FOREIGN KEY(recording_id) REFERENCES recordings (id) ON DELETE CASCADE
);
INSERT INTO "peaks" VALUES(1,640.0,X'40804080');
CREATE TABLE revisions (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	token TEXT NOT NULL, 
	UNIQUE (token)
);
INSERT INTO "revisions" VALUES(1,'437b57118431fe0f');
INSERT INTO "revisions" VALUES(2,'137322a11dc54f3c');
CREATE TABLE roots (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	path BLOB NOT NULL, 
	added_at TEXT NOT NULL, 
	UNIQUE (path)
);
INSERT INTO "roots" VALUES(1,X'2F6C696272617279','2026-11-29T08:30:32+00:00');
CREATE TABLE skipped_endings (
	root_id INTEGER NOT NULL, 
	ending BLOB NOT NULL, 
	n_files INTEGER NOT NULL, 
	PRIMARY KEY (root_id, ending), 
	FOREIGN KEY(root_id) REFERENCES roots (id) ON DELETE CASCADE
);
INSERT INTO "skipped_endings" VALUES(1,X'2E6A7067',3);
CREATE TABLE windows (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	recording_id INTEGER NOT NULL, 
	start_s DOUBLE NOT NULL, 
	end_s DOUBLE NOT NULL, 
	embedding BLOB NOT NULL, 
	FOREIGN KEY(recording_id) REFERENCES recordings (id) ON DELETE CASCADE
);
INSERT INTO "windows" VALUES(1,1,0.0,1.0,X'003C0000');
INSERT INTO "windows" VALUES(2,1,1.0,2.0,X'0000003C');
CREATE INDEX recordings_by_sound ON recordings (sound_hash);
CREATE INDEX windows_by_recording ON windows (recording_id);
CREATE VIRTUAL TABLE words USING fts5(name, folders, metadata, tokenize = 'porter unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE name_parts USING fts5(name, tokenize = 'trigram');
INSERT INTO words (rowid, name, folders, metadata) VALUES(1,'a','library','rain on a tent');
INSERT INTO name_parts (rowid, name) VALUES(1,'a');
CREATE TRIGGER words_of_deleted AFTER DELETE ON recordings BEGIN DELETE FROM words WHERE rowid = old.id; DELETE FROM name_parts WHERE rowid = old.id; END;
COMMIT;
