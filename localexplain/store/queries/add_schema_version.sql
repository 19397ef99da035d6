INSERT INTO schema_versions (version, name) VALUES ($version, $name);
