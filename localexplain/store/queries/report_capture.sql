SELECT
    seed, length_tokens, bos_token, n_documents, n_excerpts, n_duplicates, layer_sizes,
    corpus, captures.config AS capture_config, models.kind, models.name, models.details
FROM captures
JOIN models USING (model_key);
