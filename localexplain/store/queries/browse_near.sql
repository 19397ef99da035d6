-- The units before and after one, among those that are explained where it is itself.
WITH here AS (
    SELECT unit_id, value IS NOT NULL OR reason IS NOT NULL AS explained
    FROM browse
    WHERE series = $series AND unit = $unit
)
SELECT
    max_by(browse.unit, browse.unit_id) FILTER (browse.unit_id < here.unit_id) AS before,
    min_by(browse.unit, browse.unit_id) FILTER (browse.unit_id > here.unit_id) AS after
FROM browse, here
WHERE series = $series AND (NOT here.explained OR value IS NOT NULL OR reason IS NOT NULL);
