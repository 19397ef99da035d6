-- Score and explanation of some units, for links to them.
SELECT unit, value, text
FROM browse
WHERE series = $series AND list_contains($units, unit);
