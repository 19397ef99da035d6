-- One row for each explainer, simulator and mode that scores are of; never two modes in one.
SELECT explainer_key, simulator_key, mode, count(DISTINCT unit_id) AS n_units
FROM scores
WHERE source = 'explanation'
GROUP BY explainer_key, simulator_key, mode
ORDER BY n_units DESC, explainer_key, simulator_key, mode;
