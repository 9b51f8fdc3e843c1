-- Hosts that stood in the store before have been heard in its generation: an upgrade is no recovery.
ALTER TABLE hosts ADD COLUMN heard INTEGER NOT NULL DEFAULT 0;
UPDATE hosts SET heard = (SELECT generation FROM meta);
ALTER TABLE hosts ADD COLUMN dead INTEGER;

CREATE INDEX events_at ON events (at);
