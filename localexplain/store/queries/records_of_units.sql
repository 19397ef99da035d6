-- $low and $high bound $unit_ids: they let DuckDB skip the row groups of all other units.
SELECT unit_id, unit, records.excerpt_id, kind, rank, stratum, split, tokens, token_ids, activations
FROM records
JOIN units USING (unit_id)
JOIN excerpts USING (excerpt_id)
WHERE records.unit_id BETWEEN $low AND $high
    AND list_contains($unit_ids, records.unit_id)
    AND list_contains($splits, coalesce(split, 'none'))
ORDER BY unit_id, kind, stratum, rank;
