SELECT stage, started_at, seconds, n_items, config, versions FROM runs ORDER BY run_id;
