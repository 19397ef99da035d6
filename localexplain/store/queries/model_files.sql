SELECT path, bytes, sha256, role FROM model_files WHERE model_key = $model_key ORDER BY path;
