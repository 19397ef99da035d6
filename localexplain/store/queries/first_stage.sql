SELECT min(started_at) FROM runs;
