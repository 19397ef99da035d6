-- What a column of scores is of, numbered from 1, in the order of report_series.
CREATE TABLE browse_series AS
SELECT
    CAST(row_number() OVER (ORDER BY count(DISTINCT unit_id) DESC, explainer_key, simulator_key, mode) AS INTEGER)
        AS series,
    explainer_key, simulator_key, mode
FROM scores
WHERE source = 'explanation'
GROUP BY explainer_key, simulator_key, mode;
