-- How many units fit; the same conditions as browse_list.
SELECT count(*) AS n
FROM browse
WHERE
    series = $series
    AND ($layer IS NULL OR layer = $layer)
    AND ($low IS NULL OR value >= $low)
    AND ($high IS NULL OR value <= $high)
    AND ($rare IS NULL OR active_token_fraction >= $rare)
    AND ($frequent IS NULL OR active_token_fraction <= $frequent)
    AND ($explained IS NULL OR $explained = (value IS NOT NULL OR reason IS NOT NULL))
    AND (
        $q = ''
        OR ($in_said AND contains(said, $q))
        OR ($in_peaked AND contains(peaked, $q))
    );
