-- What made each explanation of a unit: what the explainer was shown and what it answered.
SELECT explanation_key, prompt, raw FROM explanations WHERE unit_id = $unit_id;
