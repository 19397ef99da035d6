SELECT failure_key, reason FROM failures
WHERE stage = $stage AND unit_id BETWEEN $low AND $high AND list_contains($unit_ids, unit_id);
