SELECT unit_id, unit, status, n_active_excerpts FROM units ORDER BY unit_id;
