-- What a release says of a unit that came from one.
SELECT release, stored_score, recomputed_score, reason FROM published WHERE unit_id = $unit_id;
