-- The units that have a row of scores in a cell, with or without a value.
SELECT DISTINCT unit_id
FROM scores
WHERE source = 'explanation' AND explainer_key = $explainer_key AND simulator_key = $simulator_key;
