-- What comparisons need: the memory a stage took, and what was carried in from a release of published scores.

ALTER TABLE runs ADD COLUMN peak_memory_bytes BIGINT;  -- highest resident memory of the process when the stage ended

CREATE TABLE published (
    unit_id INTEGER PRIMARY KEY REFERENCES units (unit_id),
    release VARCHAR NOT NULL,
    stored_score DOUBLE,                    -- as released; NULL where it was not a number
    recomputed_score DOUBLE,                -- from the released simulations; NULL where it is undefined
    reason VARCHAR,                         -- why it is undefined
    n_dropped INTEGER NOT NULL,             -- records that stood in the release twice
    CHECK ((recomputed_score IS NULL) = (reason IS NOT NULL))
);

CREATE TABLE left_out (
    path VARCHAR PRIMARY KEY,               -- below the release's folder
    reason VARCHAR NOT NULL
);
