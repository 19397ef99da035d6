-- One row for each series and unit (series 0 where nothing is scored): what lists and searches need, in one scan.
-- value and reason are over top_and_random: the mean over samples, or why there is none; both NULL where the unit is
-- not of the series. What is searched in is folded to lower case here, once.
CREATE TABLE browse AS
WITH all_series AS (
    SELECT series, explainer_key, simulator_key, mode FROM browse_series
    UNION ALL
    SELECT 0, NULL, NULL, NULL WHERE NOT EXISTS (FROM browse_series)
),
own AS (
    SELECT series, scores.unit_id, avg(value) AS value,
        CASE WHEN count(value) = 0 THEN first(reason ORDER BY sample) END AS reason
    FROM scores
    JOIN browse_series USING (explainer_key, simulator_key, mode)
    LEFT JOIN explanations USING (explanation_key)
    WHERE source = 'explanation' AND metric = 'correlation' AND selection = 'top_and_random'
    GROUP BY ALL
),
lookup AS (
    SELECT unit_id, avg(value) AS lookup
    FROM scores
    WHERE source = 'lookup' AND metric = 'correlation' AND selection = 'top_and_random'
    GROUP BY unit_id
),
shuffled AS (
    SELECT series, unit_id, avg(value) AS shuffled
    FROM scores
    JOIN browse_series USING (explainer_key, simulator_key, mode)
    WHERE source = 'shuffled' AND metric = 'correlation' AND selection = 'top_and_random'
    GROUP BY ALL
),
texts AS (
    SELECT series, unit_id, first(text ORDER BY explanations.explainer_key, sample) AS text, string_agg(text, chr(31)) AS all_texts
    FROM explanations
    JOIN all_series ON all_series.explainer_key IS NULL OR all_series.explainer_key = explanations.explainer_key
    GROUP BY ALL
)
SELECT
    series, unit_id, unit, basis, layer, unit_index, status, active_token_fraction, highest, value, reason, lookup,
    shuffled, text, peaks, lower(coalesce(all_texts, '')) AS said, lower(coalesce(peaks, '')) AS peaked
FROM all_series
CROSS JOIN units
LEFT JOIN own USING (series, unit_id)
LEFT JOIN lookup USING (unit_id)
LEFT JOIN shuffled USING (series, unit_id)
LEFT JOIN texts USING (series, unit_id)
LEFT JOIN browse_peaks USING (unit_id)
ORDER BY series, unit_id;
