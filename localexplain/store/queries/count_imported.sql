-- After an import: how many excerpts the run has by now.
UPDATE captures SET n_excerpts = (SELECT count(*) FROM excerpts)
WHERE n_excerpts <> (SELECT count(*) FROM excerpts);
