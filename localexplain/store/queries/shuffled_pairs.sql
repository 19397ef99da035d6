-- Which explanation each unit was given in the shuffled control, so that units explained later do not reshuffle it.
SELECT DISTINCT simulations.unit_id, simulations.explanation_key
FROM simulations
JOIN explanations USING (explanation_key)
WHERE source = 'shuffled' AND simulator_key = $simulator_key AND explainer_key = $explainer_key AND sample = $sample;
