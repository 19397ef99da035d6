SELECT excerpt_id, kind, rank, stratum, split, document_id, offset_tokens, tokens, activations
FROM records
JOIN excerpts USING (excerpt_id)
WHERE unit_id = $unit_id
ORDER BY kind = 'random', kind = 'stratum', stratum, rank;
