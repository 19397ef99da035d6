WITH costs AS (
    SELECT prompt_tokens, computed_tokens, generated_tokens FROM explanations
    UNION ALL SELECT prompt_tokens, computed_tokens, generated_tokens FROM simulations
    UNION ALL SELECT prompt_tokens, computed_tokens, generated_tokens FROM failures
)
SELECT
    (SELECT count(*) FROM units) AS units,
    (SELECT count(*) FROM records) AS records,
    (SELECT count(*) FROM explanations) AS explanations,
    (SELECT count(*) FROM simulations) AS simulations,
    (SELECT count(*) FROM failures) AS failures,
    coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(computed_tokens), 0)::BIGINT AS computed_tokens,
    coalesce(sum(generated_tokens), 0)::BIGINT AS generated_tokens
FROM costs;
