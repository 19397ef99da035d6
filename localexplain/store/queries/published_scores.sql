-- What the release said of each unit beside what its simulations give.
SELECT unit, stored_score, recomputed_score
FROM published
JOIN units USING (unit_id)
ORDER BY unit_id;
