-- The tokens that a unit's top records peak on, the highest first.
CREATE TABLE browse_peaks AS
SELECT unit_id, string_agg(token, chr(31) ORDER BY best DESC, token) AS peaks
FROM (
    SELECT unit_id, tokens[list_position(activations, maximum)] AS token, max(maximum) AS best
    FROM records
    JOIN excerpts USING (excerpt_id)
    WHERE kind = 'top'
    GROUP BY ALL
)
WHERE token IS NOT NULL
GROUP BY unit_id;
