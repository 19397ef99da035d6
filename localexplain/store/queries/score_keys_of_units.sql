-- The scores that a new scoring of these units replaces: those of the same sources, explainer and simulators.
SELECT score_key FROM scores
WHERE list_contains($unit_ids, unit_id) AND list_contains($simulator_keys, simulator_key)
    AND list_contains($sources, source) AND coalesce(explainer_key, $explainer_key) = $explainer_key;
