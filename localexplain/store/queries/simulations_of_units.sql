-- $low and $high bound $unit_ids: they let DuckDB skip the row groups of all other units.
SELECT simulation_key, unit_id, excerpt_id, source, explanation_key, simulator_key, expected
FROM simulations
WHERE list_contains($simulator_keys, simulator_key)
    AND unit_id BETWEEN $low AND $high AND list_contains($unit_ids, unit_id);
