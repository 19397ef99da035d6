-- Which state of the run's file this is a copy of, and what made it.
CREATE TABLE published_from (
    version VARCHAR NOT NULL,
    size BIGINT NOT NULL,
    changed_ns BIGINT NOT NULL,
    copied_at TIMESTAMP NOT NULL,           -- UTC
    seconds DOUBLE NOT NULL                 -- that making it took
);
