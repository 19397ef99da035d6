-- One row for each unit, source and selection; the mean over samples of an explanation, NULL when none is scored.
SELECT unit_id, source, selection, avg(value) AS value
FROM scores
WHERE metric = 'correlation' AND list_contains($simulator_keys, simulator_key)
    AND coalesce(explainer_key, $explainer_key) = $explainer_key
GROUP BY ALL
ORDER BY ALL;
