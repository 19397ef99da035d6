-- One row for each unit, source and selection of one explainer under one simulator and the controls; the mean over samples.
SELECT unit_id, unit, layer, source, selection, avg(value) AS value
FROM scores
JOIN units USING (unit_id)
WHERE metric = 'correlation' AND list_contains($simulator_keys, simulator_key)
    AND coalesce(explainer_key, $explainer_key) = $explainer_key
    AND list_contains($unit_ids, unit_id)
GROUP BY ALL
ORDER BY ALL;
