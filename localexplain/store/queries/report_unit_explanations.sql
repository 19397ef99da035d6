SELECT explanation_key, explainer_key, sample, text, excerpt_ids
FROM explanations
WHERE unit_id = $unit_id
ORDER BY explainer_key, sample;
