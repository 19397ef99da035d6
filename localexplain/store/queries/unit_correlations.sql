-- One row for each unit, source and selection; the mean over samples of an explanation, NULL when none is scored.
-- Explanations of another explainer are left out; a row without an explanation is one that could not be made.
SELECT scores.unit_id, source, selection, avg(value) AS value
FROM scores
LEFT JOIN explanations USING (explanation_key)
WHERE metric = 'correlation' AND list_contains($simulator_keys, simulator_key)
    AND (explainer_key = $explainer_key OR explanation_key IS NULL)
GROUP BY ALL
ORDER BY ALL;
