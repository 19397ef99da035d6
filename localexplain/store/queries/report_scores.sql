-- One row for each unit, source and selection of a series: the mean over samples, or why there is none.
-- Controls are those of the series' units; the ones without a language model serve every series.
WITH chosen AS (
    SELECT scores.unit_id, source, selection, value, reason, coalesce(sample, 0) AS sample
    FROM scores
    LEFT JOIN explanations USING (explanation_key)
    WHERE metric = $metric
        AND coalesce(scores.explainer_key, $explainer_key) = $explainer_key
        AND (source IN ('lookup', 'linear') OR (simulator_key = $simulator_key AND mode = $mode))
)
SELECT
    unit_id, layer, source, selection, avg(value) AS value,
    CASE WHEN count(value) = 0 THEN first(reason ORDER BY sample) END AS reason
FROM chosen
JOIN units USING (unit_id)
WHERE unit_id IN (SELECT unit_id FROM chosen WHERE source = 'explanation')
GROUP BY unit_id, layer, source, selection
ORDER BY unit_id, source, selection;
