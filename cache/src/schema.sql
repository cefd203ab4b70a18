-- The tables of kiln.db, version 1. Times are milliseconds since 1970.

-- Bytes in blobs/.
CREATE TABLE blobs (digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;

-- What was written and not yet synced: after a power cut, what it names is dropped. See `sync.rs`.
CREATE TABLE unsynced (seq INTEGER PRIMARY KEY AUTOINCREMENT, boot TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL);

-- An image without a tag is dangling. `config` is its id, where its manifest is here.
CREATE TABLE images (digest TEXT PRIMARY KEY, descriptor TEXT NOT NULL, config TEXT, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX images_by_config ON images (config);
CREATE TABLE tags (name TEXT PRIMARY KEY, digest TEXT NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (digest);

-- A layer on its parents; `size` of its tar, `clamp_mtime` as it was packed with.
CREATE TABLE layers (
    chain TEXT PRIMARY KEY, parent TEXT, diff_id TEXT NOT NULL, size INTEGER NOT NULL, clamp_mtime INTEGER
) WITHOUT ROWID;
-- Packed forms of a layer; `verified`: we saw these bytes unpack to this diff ID. `compression` has its level too, where it
-- was packed here.
CREATE TABLE layer_blobs (
    diff_id TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    compression INTEGER NOT NULL, verified INTEGER NOT NULL, PRIMARY KEY (diff_id, digest)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_by_digest ON layer_blobs (digest);
-- Where a blob can be fetched or mounted from.
CREATE TABLE sources (
    digest TEXT NOT NULL, registry TEXT NOT NULL, repository TEXT NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (digest, registry, repository)
) WITHOUT ROWID;
-- A layer's table of contents.
CREATE TABLE contents (diff_id TEXT PRIMARY KEY, entries BLOB NOT NULL);

-- Rows of the snapshotter; kind 0 active, 1 view, 2 committed. AUTOINCREMENT: a directory's number is never used twice.
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, name TEXT NOT NULL, parent INTEGER,
    created INTEGER NOT NULL, bytes INTEGER NOT NULL DEFAULT 0, inodes INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX snapshots_by_name ON snapshots (name, kind = 2);
CREATE INDEX snapshots_by_parent ON snapshots (parent);

-- Build results.
CREATE TABLE records (
    key TEXT PRIMARY KEY, layers TEXT NOT NULL, scope TEXT NOT NULL, parts TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX records_by_scope ON records (scope, created);
CREATE TABLE aliases (key TEXT PRIMARY KEY, target TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX aliases_by_target ON aliases (target);
CREATE TABLE history (id TEXT PRIMARY KEY, started INTEGER NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;

-- The context index: one row a directory, its entries packed.
CREATE TABLE context_dirs (root BLOB NOT NULL, dir BLOB NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (root, dir));

-- Documents of containers, networks, volumes.
CREATE TABLE objects (
    kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT, document TEXT NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX objects_by_name ON objects (kind, name) WHERE name IS NOT NULL;

-- Who needs what: a lease (dies with its process) or an object (lives until deleted).
CREATE TABLE holds (owner TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (owner, kind, name)) WITHOUT ROWID;
CREATE INDEX holds_by_name ON holds (kind, name);

-- Directories of RUN --mount=type=cache.
CREATE TABLE cache_dirs (name TEXT PRIMARY KEY, id TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
