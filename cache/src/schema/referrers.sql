-- Version 2. Artifacts that are about another manifest, their `subject`; each lives as long as that one.
CREATE TABLE referrers (
    subject TEXT NOT NULL, digest TEXT NOT NULL, descriptor TEXT NOT NULL, PRIMARY KEY (subject, digest)
) WITHOUT ROWID;
