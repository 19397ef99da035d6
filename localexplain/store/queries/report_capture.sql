SELECT
    seed, length_tokens, bos_token, n_documents, n_excerpts, n_duplicates, layer_sizes,
    corpus, config AS capture_config, model_key
FROM captures;
