SELECT model_key, kind, name, details FROM models ORDER BY kind, name, model_key;
