-- One row for each layer, source and simulator: mean score, how many units have one, how many have none.
SELECT layer, source, simulator_key, mode, avg(value) AS mean, count(value) AS n, count(*) - count(value) AS unscored
FROM scores
JOIN units USING (unit_id)
WHERE metric = $metric AND selection = $selection
GROUP BY ALL
ORDER BY ALL;
