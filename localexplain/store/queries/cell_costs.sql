-- Tokens that explaining, and simulating, one explainer's explanations under one simulator took; controls left out.
SELECT
    'explain' AS stage,
    count(*) AS n,
    coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(computed_tokens), 0)::BIGINT AS computed_tokens,
    coalesce(sum(generated_tokens), 0)::BIGINT AS generated_tokens
FROM explanations
WHERE explainer_key = $explainer_key AND list_contains($unit_ids, unit_id)
UNION ALL
SELECT
    'simulate',
    count(*),
    coalesce(sum(simulations.prompt_tokens), 0)::BIGINT,
    coalesce(sum(simulations.computed_tokens), 0)::BIGINT,
    coalesce(sum(simulations.generated_tokens), 0)::BIGINT
FROM simulations
JOIN explanations USING (explanation_key)
WHERE simulations.source = 'explanation' AND simulator_key = $simulator_key AND explainer_key = $explainer_key
    AND list_contains($unit_ids, simulations.unit_id);
