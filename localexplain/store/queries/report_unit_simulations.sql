SELECT excerpt_id, explanation_key, simulator_key, mode, expected
FROM simulations
WHERE unit_id = $unit_id AND source = 'explanation'
ORDER BY excerpt_id, explanation_key, simulator_key;
