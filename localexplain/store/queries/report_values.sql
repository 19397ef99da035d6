-- One row for each unit of a series: the mean over samples of one metric, from one source over one selection; NaN
-- where there is none. The controls without a language model serve every series.
WITH means AS (  -- before the join: grouping by layer too takes twice as long
    SELECT unit_id, avg(value) AS value
    FROM scores
    WHERE source = $source AND selection = $selection AND metric = $metric
        AND coalesce(explainer_key, $explainer_key) = $explainer_key
        AND (source IN ('lookup', 'linear') OR (simulator_key = $simulator_key AND mode = $mode))
    GROUP BY unit_id
)
SELECT unit_id, layer, coalesce(value, 'NaN'::DOUBLE) AS value
FROM means
JOIN units USING (unit_id)
ORDER BY unit_id;
