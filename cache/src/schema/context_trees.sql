-- Version 3. Trees of build contexts that were read whole: the digest of what is in them by that of their stat data. The rowid
-- tells which is oldest.
CREATE TABLE context_trees (root BLOB NOT NULL, stamp BLOB NOT NULL, content BLOB NOT NULL, UNIQUE (root, stamp));
-- The layers that stand on the same parent: what one of them has need not be read or compressed again for another.
CREATE INDEX layers_by_parent ON layers (parent);
