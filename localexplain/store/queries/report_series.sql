-- One row for each explainer, simulator and mode that scores are of; never two modes in one. explainer_key is NULL only
-- for a simulator that no explanation at all could be made for.
SELECT simulator_key, mode, explainer_key, count(DISTINCT scores.unit_id) AS n_units
FROM scores
LEFT JOIN explanations USING (explanation_key)
WHERE source = 'explanation'
GROUP BY simulator_key, mode, explainer_key
QUALIFY explainer_key IS NOT NULL OR count(explainer_key) OVER (PARTITION BY simulator_key, mode) = 0
ORDER BY min(scores.unit_id), explainer_key, simulator_key, mode;
