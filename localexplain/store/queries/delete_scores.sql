-- Scores whose simulations have changed since, before they are written anew.
DELETE FROM scores WHERE list_contains($score_keys, score_key);
