-- $low and $high bound $unit_ids: they let DuckDB skip the row groups of all other units.
SELECT explanation_key AS key
FROM explanations
WHERE $stage = 'explain' AND unit_id BETWEEN $low AND $high AND list_contains($unit_ids, unit_id)
UNION ALL
SELECT simulation_key
FROM simulations
WHERE $stage = 'simulate' AND unit_id BETWEEN $low AND $high AND list_contains($unit_ids, unit_id);
