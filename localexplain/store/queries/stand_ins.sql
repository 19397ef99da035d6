-- Which explanation stands in for each of an explainer's in the shuffled control.
SELECT stand_ins.explanation_key AS stands_in_for, others.explanation_key, others.unit_id, others.sample, others.text
FROM stand_ins
JOIN explanations AS others ON others.explanation_key = other_key
WHERE others.explainer_key = $explainer_key;
