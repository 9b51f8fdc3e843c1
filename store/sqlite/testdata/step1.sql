-- What a store of schema step 1 held: a fleet of two hosts in mid-move, in generation 3. Never edited.
UPDATE meta SET generation = 3, term = 7, instance = 'i', epoch = 42;
INSERT INTO hosts VALUES ('h1', 'u1', 'm1', 's1', 1700000000000000000, NULL, 'evacuating', 'risk', 1700000001000000000, 'd-1',
	'{"p24h":1,"p7d":2,"p30d":26,"low30d":12,"high30d":48,"grade":"C"}', 'h2', 'boot1', 1700000002000000000, '{"memory_kib":67108864,"cpus":8}');
INSERT INTO hosts VALUES ('h2', 'u2', 'm2', 's2', 1700000000000000000, 1700000003000000000, 'healthy', '', NULL, '', '{"p24h":0,"p7d":0,"p30d":0,"low30d":0,"high30d":0}', '', '', NULL, '{}');
INSERT INTO claims VALUES ('dom1', 'g1', 'h1', 42, 'transferring', 'm-1', 'h2', 1700000004000000000, 'd-1', 26.0, 1700000004000000000, 131072);
INSERT INTO claims VALUES ('dom2', 'g2', 'h1', 9, 'held', '', NULL, NULL, 'adoption', 0.5, 1700000000000000000, 65536);
INSERT INTO migrations VALUES ('m-1', 'dom1', 'g1', 'h1', 'h2', 'risk', 'd-1', 'running', 1, 'guarded', 42, 'boot1', '{"persistent":true,"memory_kib":131072}', '{}',
	'[{"at":"2023-11-14T22:13:24Z","name":"claimed","detail":"claim transferring to h2"}]', '', '', 1700000004000000000, 1700000004000000000, NULL, '{}', '{}');
INSERT INTO owed VALUES ('void', 'h2', 'dom2', 'm-0', 8, 1700000000000000000, 65536, 0, 0);
INSERT INTO decisions VALUES ('d-1', 1700000001000000000, 'h1', 'evacuate', 'acting', '', 'c', 'risk 26 %', 25.0, '{"p24h":1,"p7d":2,"p30d":26,"low30d":12,"high30d":48}', '[]', '[]', 'default', '', '', NULL, x'7b7d');
INSERT INTO events (at, kind, severity, host, domain, migration, decision, who, text) VALUES (1700000001000000000, 'decision.evacuate', 'warning', 'h1', '', '', 'd-1', '', 'acting: risk 26 %');
INSERT INTO settings VALUES ('automation', 'off', 'night', 'alice', 1700000000000000000);
INSERT INTO tokens VALUES ('t', 'enrol', 'h3', '', x'00ff', 0, 1700000000000000000, 'root', 1700003600000000000, NULL);
INSERT INTO domains VALUES ('h1', 'dom1', 'g1', 'running', '', 131072, 1, 1, 1, 0, 1700000002000000000);
INSERT INTO series VALUES (1, 'h1', 'disk:S1', 'smart_5_raw', 'count', 1700000000000000000);
INSERT INTO boots VALUES (1, 'boot1');
INSERT INTO readings VALUES (1, 1700000000000000000, 8.0, '', 'ok', 1, 1);
INSERT INTO model_states VALUES ('h1', 'disk:S1', 'default', 1700000000000000000, x'01');
INSERT INTO risks VALUES ('h1', 'disk:S1', '{"p24h":1,"p7d":2,"p30d":26,"low30d":12,"high30d":48}', '[]', '', 'default');
