-- The captured units of every layer.
SELECT basis, layer, count(*) AS n, min(unit_index) AS first_index, max(unit_index) AS last_index
FROM units
GROUP BY basis, layer
ORDER BY basis, layer;
