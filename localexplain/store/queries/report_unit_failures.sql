SELECT stage, excerpt_id, reason FROM failures WHERE unit_id = $unit_id ORDER BY stage, excerpt_id, failure_key;
