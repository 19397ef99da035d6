SELECT stage, sum(seconds) AS seconds FROM runs GROUP BY stage ORDER BY stage;
