-- What a store of schema step 2 held: in recovery, one of its hosts heard, the other dead. Never edited.
UPDATE meta SET generation = 3, term = 7, instance = 'i', epoch = 42;
INSERT INTO hosts (name, libvirt_uuid, machine_id, cert_serial, enrolled, state, state_reason, state_decision, risk, preferred_target, boot_id, facts, heard, dead)
VALUES ('h1', 'u1', 'm1', 's1', 1700000000000000000, 'healthy', '', '', '{"p24h":0,"p7d":0,"p30d":26,"low30d":0,"high30d":0}', '', 'boot1', '{"memory_kib":67108864}', 3, NULL),
	('h2', 'u2', 'm2', 's2', 1700000000000000000, 'healthy', '', '', '{"p24h":0,"p7d":0,"p30d":0,"low30d":0,"high30d":0}', '', '', '{}', 2, 1700000005000000000);
INSERT INTO claims VALUES ('dom1', 'g1', 'h1', 42, 'held', '', NULL, NULL, 'adoption', 0.5, 1700000000000000000, 131072);
