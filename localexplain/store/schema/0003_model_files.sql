-- What the models were loaded from: every file of every language model that the run used.

CREATE TABLE model_entries (
    model_key VARCHAR PRIMARY KEY REFERENCES models (model_key),
    entry VARCHAR,                          -- its name in the model store; NULL where it lay in none
    repository VARCHAR,                     -- where it came from, and which commit; NULL where that is not known
    revision VARCHAR,
    digest VARCHAR NOT NULL                 -- sha256 over paths, sizes and hashes of the files
);

CREATE TABLE model_files (
    model_key VARCHAR NOT NULL REFERENCES models (model_key),
    path VARCHAR NOT NULL,                  -- below the model's folder
    bytes BIGINT NOT NULL CHECK (bytes >= 0),
    sha256 VARCHAR NOT NULL CHECK (length(sha256) = 64),
    role VARCHAR NOT NULL,                  -- weights, config, tokenizer, chat template ...
    PRIMARY KEY (model_key, path)
);
