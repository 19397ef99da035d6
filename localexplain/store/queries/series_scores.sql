-- The correlation of each unit by explainer, simulator and selection; the mean over samples.
SELECT
    explainers.name AS explainer,
    simulators.name AS simulator,
    simulator_key,
    simulators.kind AS simulator_kind,
    unit,
    layer,
    selection,
    avg(value) AS value
FROM scores
JOIN units USING (unit_id)
JOIN models AS explainers ON explainer_key = explainers.model_key
JOIN models AS simulators ON simulator_key = simulators.model_key
WHERE source = 'explanation' AND metric = 'correlation'
GROUP BY ALL
ORDER BY ALL;
