SELECT score_key FROM scores
WHERE list_contains($simulator_keys, simulator_key) AND list_contains($unit_ids, unit_id);
