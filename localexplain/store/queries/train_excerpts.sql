SELECT unit_id, list(excerpt_id ORDER BY rank) AS excerpt_ids
FROM records
WHERE split = 'train' AND unit_id BETWEEN $low AND $high AND list_contains($unit_ids, unit_id)
GROUP BY unit_id;
