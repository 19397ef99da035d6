SELECT version FROM schema_versions ORDER BY version;
