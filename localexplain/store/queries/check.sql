SELECT 'record of a unit that is not there: unit_id ' || unit_id AS fault
FROM records ANTI JOIN units USING (unit_id)
UNION ALL
SELECT 'record of an excerpt that is not there: excerpt_id ' || excerpt_id
FROM records ANTI JOIN excerpts USING (excerpt_id)
UNION ALL
SELECT 'excerpt ' || excerpt_id || ' twice among the records of unit_id ' || unit_id
FROM records GROUP BY unit_id, excerpt_id HAVING count(*) > 1
UNION ALL
SELECT 'record of unit_id ' || records.unit_id || ' not as long as its excerpt ' || records.excerpt_id
FROM records JOIN excerpts USING (excerpt_id) WHERE len(activations) <> len(token_ids)
UNION ALL
SELECT 'simulation ' || simulation_key || ' not as long as its excerpt'
FROM simulations JOIN excerpts USING (excerpt_id) WHERE len(expected) <> len(token_ids)
UNION ALL
SELECT DISTINCT 'files of a model without an entry: model_key ' || model_key
FROM model_files ANTI JOIN model_entries USING (model_key)
UNION ALL
SELECT 'entry of a model without files: model_key ' || model_key
FROM model_entries ANTI JOIN model_files USING (model_key);
