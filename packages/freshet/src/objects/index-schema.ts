/** The tables of the index of objects. `total` has what is there, so that nobody has to count it. */
export const indexSchema = `
  CREATE TABLE object (
    version INTEGER PRIMARY KEY,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    type TEXT NOT NULL,
    metadata TEXT NOT NULL,
    source TEXT,
    put_at_ms INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    producer TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    announced INTEGER NOT NULL,
    ended_at_ms INTEGER
  ) STRICT;
  CREATE UNIQUE INDEX object_current ON object (bucket, key) WHERE ended_at_ms IS NULL;
  CREATE INDEX object_blob ON object (bucket, sha256);
  CREATE INDEX object_pending ON object (version) WHERE announced = 0;
  CREATE INDEX object_ended ON object (bucket, ended_at_ms) WHERE ended_at_ms IS NOT NULL;
  CREATE INDEX object_removed ON object (bucket, put_at_ms) WHERE ended_at_ms IS NULL AND deleted = 1;
  CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    type TEXT NOT NULL,
    metadata TEXT NOT NULL,
    source TEXT,
    sha256 TEXT,
    only_new INTEGER NOT NULL,
    touched_at_ms INTEGER NOT NULL,
    version INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX upload_key ON upload (bucket, key);
  CREATE TABLE part (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    place TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE total (
    bucket TEXT PRIMARY KEY,
    objects INTEGER NOT NULL,
    bytes INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER object_added AFTER INSERT ON object WHEN NEW.deleted = 0 BEGIN
    INSERT INTO total VALUES (NEW.bucket, 1, NEW.bytes)
      ON CONFLICT (bucket) DO UPDATE SET objects = objects + 1, bytes = bytes + NEW.bytes;
  END;
  CREATE TRIGGER object_ended AFTER UPDATE OF ended_at_ms ON object
    WHEN OLD.deleted = 0 AND OLD.ended_at_ms IS NULL AND NEW.ended_at_ms IS NOT NULL BEGIN
    UPDATE total SET objects = objects - 1, bytes = bytes - OLD.bytes WHERE bucket = OLD.bucket;
  END;
  CREATE TABLE note (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
`
