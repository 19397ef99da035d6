-- Every score of a unit; for the shuffled control also whose explanation stood in, and what it says.
SELECT
    source, simulator_key, mode, selection, metric, value, reason, scores.n_tokens, scores.n_excerpts,
    explanation_key, scores.explainer_key, sample,
    CASE WHEN source = 'shuffled' THEN text END AS other_text,
    CASE WHEN source = 'shuffled' THEN others.unit END AS other_unit
FROM scores
LEFT JOIN explanations USING (explanation_key)
LEFT JOIN units AS others ON others.unit_id = explanations.unit_id
WHERE scores.unit_id = $unit_id
ORDER BY source, simulator_key, mode, scores.explainer_key, sample, metric, selection;
