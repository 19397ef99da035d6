-- Units with the first explanation of an explainer that each has, NULL where it has none.
SELECT unit_id, unit, first(text ORDER BY sample) AS text
FROM units
LEFT JOIN (SELECT unit_id, text, sample FROM explanations WHERE explainer_key = $explainer_key) USING (unit_id)
WHERE list_contains($unit_ids, unit_id)
GROUP BY unit_id, unit;
