-- Failures of items that are tried again, in the transaction that stores what came of it.
DELETE FROM failures WHERE list_contains($failure_keys, failure_key);
