SELECT status, count(*) AS n FROM units GROUP BY status ORDER BY status;
