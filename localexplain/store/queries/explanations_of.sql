SELECT explanation_key, unit_id, sample, text
FROM explanations
WHERE explainer_key = $explainer_key AND list_contains($unit_ids, unit_id)
ORDER BY sample, unit_id;
