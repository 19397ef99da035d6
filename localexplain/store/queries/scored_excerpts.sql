-- $low and $high bound $unit_ids: they let DuckDB skip the row groups of all other units.
SELECT
    unit_id,
    coalesce(list(excerpt_id ORDER BY kind, rank) FILTER (split = 'valid'), []) AS valid,
    coalesce(list(excerpt_id ORDER BY kind, rank) FILTER (split = 'calibration'), []) AS calibration
FROM records
WHERE split IN ('valid', 'calibration') AND unit_id BETWEEN $low AND $high AND list_contains($unit_ids, unit_id)
GROUP BY unit_id
ORDER BY unit_id;
