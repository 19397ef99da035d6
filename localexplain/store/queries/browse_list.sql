-- A page of the units that fit, beside how many fit in all: one row without a unit where the page is empty. $q is in
-- lower case, $seed draws the order 'random'. What fits is found by its number and sort
-- key alone: only the page's own rows are read whole.
WITH fit AS MATERIALIZED (
    SELECT
        unit_id,
        CASE $sort
            WHEN 'best' THEN -value
            WHEN 'worst' THEN value
            WHEN 'frequent' THEN -active_token_fraction
            WHEN 'rare' THEN active_token_fraction
            WHEN 'random' THEN hash(unit_id, $seed)
        END AS sort_key
    FROM browse
    WHERE
        series = $series
        AND ($layer IS NULL OR layer = $layer)
        AND ($low IS NULL OR value >= $low)
        AND ($high IS NULL OR value <= $high)
        AND ($rare IS NULL OR active_token_fraction >= $rare)
        AND ($frequent IS NULL OR active_token_fraction <= $frequent)
        AND ($explained IS NULL OR $explained = (value IS NOT NULL OR reason IS NOT NULL))
        AND (
            $q = ''
            OR ($in_said AND contains(said, $q))
            OR ($in_peaked AND contains(peaked, $q))
        )
),
page AS (
    SELECT unit_id, sort_key FROM fit ORDER BY sort_key NULLS LAST, unit_id LIMIT $n OFFSET $skipped
)
SELECT
    n_fit, unit, status, active_token_fraction, highest, value, reason, lookup, shuffled, text, peaks
FROM (SELECT count(*) AS n_fit FROM fit) AS counted
LEFT JOIN (SELECT * FROM page JOIN browse USING (unit_id) WHERE series = $series) AS shown ON true
ORDER BY sort_key NULLS LAST, unit_id;
