-- One run: what was captured, explained, simulated and scored. Activations are raw and in excerpt order.

CREATE TABLE models (
    model_key VARCHAR PRIMARY KEY,          -- hash of kind, name and details
    kind VARCHAR NOT NULL,                  -- subject, transformers, vllm, scripted, lookup, rule, control ...
    name VARCHAR NOT NULL,
    details VARCHAR NOT NULL                -- JSON object: weights hash, dtype, prompt version, library versions
);

CREATE TABLE captures (
    capture_key VARCHAR PRIMARY KEY,        -- hash of subject, corpus and capture settings; a run has one
    model_key VARCHAR NOT NULL REFERENCES models (model_key),
    corpus VARCHAR NOT NULL,                -- JSON: CorpusConfig
    config VARCHAR NOT NULL,                -- JSON: CaptureConfig
    seed BIGINT NOT NULL,
    length_tokens INTEGER NOT NULL CHECK (length_tokens > 0),
    bos_token INTEGER,                      -- the token before every excerpt, NULL where there is none
    n_documents INTEGER NOT NULL,
    n_excerpts INTEGER NOT NULL,
    n_duplicates INTEGER NOT NULL,          -- excerpts dropped because their tokens had occurred
    layer_sizes INTEGER[] NOT NULL          -- units of each layer of the subject, captured or not
);

CREATE TABLE runs (                         -- one row for each time a stage did work
    run_id INTEGER PRIMARY KEY,
    stage VARCHAR NOT NULL CHECK (stage IN ('capture', 'explain', 'simulate', 'score')),
    started_at TIMESTAMP NOT NULL,          -- UTC
    seconds DOUBLE NOT NULL CHECK (seconds >= 0),
    config VARCHAR NOT NULL,                -- JSON: the stage's settings
    versions VARCHAR NOT NULL,              -- JSON: package -> version
    n_items BIGINT NOT NULL                 -- rows the stage added
);

CREATE TABLE excerpts (
    excerpt_id INTEGER PRIMARY KEY,
    document_id VARCHAR NOT NULL,
    offset_tokens BIGINT NOT NULL CHECK (offset_tokens >= 0),
    hash UBIGINT NOT NULL,                  -- of the token ids: orders every random choice
    token_ids INTEGER[] NOT NULL,
    tokens VARCHAR[] NOT NULL
);

CREATE TABLE units (
    unit_id INTEGER PRIMARY KEY,
    unit VARCHAR NOT NULL UNIQUE,           -- mlp.3:127
    basis VARCHAR NOT NULL,
    layer INTEGER NOT NULL,
    unit_index INTEGER NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'too_few_active')),
    n_tokens BIGINT NOT NULL,
    n_excerpts INTEGER NOT NULL,
    n_active_excerpts INTEGER NOT NULL CHECK (n_active_excerpts <= n_excerpts),
    active_token_fraction DOUBLE NOT NULL CHECK (active_token_fraction BETWEEN 0 AND 1),
    mean DOUBLE NOT NULL,
    variance DOUBLE NOT NULL CHECK (variance >= 0),
    lowest DOUBLE NOT NULL,
    highest DOUBLE NOT NULL CHECK (highest >= lowest)
);

-- No foreign keys here: millions of rows are appended at once, and an index for each would cost more than the data.
-- `Store.check` looks for rows without a unit or an excerpt.
CREATE TABLE records (
    unit_id INTEGER NOT NULL,
    excerpt_id INTEGER NOT NULL,
    kind VARCHAR NOT NULL CHECK (kind IN ('top', 'random', 'stratum')),
    rank INTEGER NOT NULL CHECK (rank >= 0),
    stratum INTEGER CHECK (stratum BETWEEN 0 AND 4),
    split VARCHAR CHECK (split IN ('train', 'calibration', 'valid', 'test')),
    maximum FLOAT NOT NULL,
    activations FLOAT[] NOT NULL,
    CHECK ((kind = 'stratum') = (stratum IS NOT NULL)),
    CHECK ((kind = 'stratum') = (split IS NULL))
);

CREATE TABLE explanations (
    explanation_key VARCHAR PRIMARY KEY,
    unit_id INTEGER NOT NULL REFERENCES units (unit_id),
    explainer_key VARCHAR NOT NULL REFERENCES models (model_key),
    sample INTEGER NOT NULL CHECK (sample >= 0),
    text VARCHAR NOT NULL CHECK (text <> ''),
    prompt VARCHAR NOT NULL,                -- what the explainer was shown
    raw VARCHAR NOT NULL,                   -- what it answered
    excerpt_ids INTEGER[] NOT NULL,         -- the train records it saw
    prompt_tokens BIGINT NOT NULL,
    computed_tokens BIGINT NOT NULL,
    generated_tokens BIGINT NOT NULL
);

CREATE TABLE stand_ins (                    -- the shuffled control: which other unit's explanation stands in for one
    explanation_key VARCHAR PRIMARY KEY REFERENCES explanations (explanation_key),
    other_key VARCHAR NOT NULL REFERENCES explanations (explanation_key),
    CHECK (other_key <> explanation_key)
);

CREATE TABLE simulations (
    simulation_key VARCHAR PRIMARY KEY,
    unit_id INTEGER NOT NULL REFERENCES units (unit_id),
    excerpt_id INTEGER NOT NULL REFERENCES excerpts (excerpt_id),
    source VARCHAR NOT NULL CHECK (source IN ('explanation', 'shuffled', 'empty', 'lookup', 'linear')),
    explanation_key VARCHAR REFERENCES explanations (explanation_key),
    simulator_key VARCHAR NOT NULL REFERENCES models (model_key),
    mode VARCHAR NOT NULL CHECK (mode IN ('expected', 'grid', 'rule', 'control')),
    label_set VARCHAR NOT NULL,
    expected FLOAT[] NOT NULL,
    label_mass FLOAT CHECK (label_mass BETWEEN 0 AND 1.001),
    prompt_tokens BIGINT NOT NULL,
    computed_tokens BIGINT NOT NULL,
    generated_tokens BIGINT NOT NULL,
    CHECK ((source IN ('explanation', 'shuffled')) = (explanation_key IS NOT NULL))
);

CREATE TABLE scores (
    score_key VARCHAR PRIMARY KEY,
    unit_id INTEGER NOT NULL REFERENCES units (unit_id),
    source VARCHAR NOT NULL CHECK (source IN ('explanation', 'shuffled', 'empty', 'lookup', 'linear')),
    explainer_key VARCHAR REFERENCES models (model_key),
    explanation_key VARCHAR REFERENCES explanations (explanation_key),  -- NULL where it could not be made
    simulator_key VARCHAR NOT NULL REFERENCES models (model_key),
    mode VARCHAR NOT NULL CHECK (mode IN ('expected', 'grid', 'rule', 'control')),
    selection VARCHAR NOT NULL CHECK (selection IN ('top_and_random', 'random_only')),
    metric VARCHAR NOT NULL CHECK (metric IN ('correlation', 'explained_variance', 'absolute_deviation_explained')),
    value DOUBLE CHECK (value <= 1.000001),
    reason VARCHAR,                         -- why there is no value
    n_tokens INTEGER NOT NULL,
    n_excerpts INTEGER NOT NULL,
    CHECK ((value IS NULL) = (reason IS NOT NULL)),
    CHECK ((source IN ('explanation', 'shuffled')) = (explainer_key IS NOT NULL))
);

CREATE TABLE failures (                     -- an item that was tried and failed; it is not tried again unless asked
    failure_key VARCHAR PRIMARY KEY,        -- the key its row would have had
    stage VARCHAR NOT NULL CHECK (stage IN ('explain', 'simulate')),
    unit_id INTEGER NOT NULL REFERENCES units (unit_id),
    excerpt_id INTEGER REFERENCES excerpts (excerpt_id),
    reason VARCHAR NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    computed_tokens BIGINT NOT NULL,
    generated_tokens BIGINT NOT NULL
);

CREATE VIEW explained AS                    -- one row for each scored explanation, for reading
SELECT
    units.unit,
    units.layer,
    explanations.text AS explanation,
    scores.selection,
    scores.value AS score,
    scores.reason,
    scores.mode,
    explainers.name AS explainer,
    simulators.name AS simulator,
    explanations.sample
FROM scores
JOIN units USING (unit_id)
JOIN explanations USING (explanation_key)
JOIN models AS explainers ON explainers.model_key = scores.explainer_key
JOIN models AS simulators ON simulators.model_key = scores.simulator_key
WHERE scores.source = 'explanation' AND scores.metric = 'correlation';
