-- Why units of report_values have no value: the reason of each unit's first sample that has none. A unit may have a
-- value all the same, from another sample.
WITH unscored AS (
    SELECT unit_id, reason, explanation_key
    FROM scores
    WHERE reason IS NOT NULL AND source = $source AND selection = $selection AND metric = $metric
        AND coalesce(explainer_key, $explainer_key) = $explainer_key
        AND (source IN ('lookup', 'linear') OR (simulator_key = $simulator_key AND mode = $mode))
)
SELECT unit_id, first(reason ORDER BY coalesce(sample, 0)) AS reason
FROM unscored
LEFT JOIN (
    SELECT explanation_key, sample FROM explanations WHERE $source IN ('explanation', 'shuffled')
) USING (explanation_key)
GROUP BY unit_id
ORDER BY unit_id;
