DELETE FROM failures WHERE list_contains($stages, stage);
