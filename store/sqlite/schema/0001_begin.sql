-- Times are nanoseconds since 1970 UTC, NULL for none. Percent are 0 to 100.

CREATE TABLE meta (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	generation INTEGER NOT NULL,
	term       INTEGER NOT NULL,
	instance   TEXT    NOT NULL, -- of the manager that has the file open, or had it last
	epoch      INTEGER NOT NULL  -- the last one given out
) STRICT;
INSERT INTO meta VALUES (1, 1, 0, '', 0);

CREATE TABLE hosts (
	name             TEXT PRIMARY KEY,
	libvirt_uuid     TEXT NOT NULL,
	machine_id       TEXT NOT NULL,
	cert_serial      TEXT NOT NULL,
	enrolled         INTEGER,
	revoked          INTEGER,
	state            TEXT NOT NULL,
	state_reason     TEXT NOT NULL,
	state_since      INTEGER,
	state_decision   TEXT NOT NULL,
	risk             TEXT NOT NULL, -- JSON
	preferred_target TEXT NOT NULL,
	boot_id          TEXT NOT NULL,
	last_report      INTEGER,
	facts            TEXT NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
	domain        TEXT PRIMARY KEY,
	name          TEXT    NOT NULL,
	holder        TEXT    NOT NULL REFERENCES hosts (name),
	epoch         INTEGER NOT NULL CHECK (epoch > 0),
	phase         TEXT    NOT NULL,
	attempt       TEXT    NOT NULL,
	target        TEXT    REFERENCES hosts (name),
	seen          INTEGER,
	granted_by    TEXT    NOT NULL,
	risk_at_grant REAL    NOT NULL,
	since         INTEGER,
	memory_kib    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_holder ON claims (holder);
CREATE INDEX claims_target ON claims (target) WHERE target IS NOT NULL;

CREATE TABLE migrations (
	id           TEXT PRIMARY KEY,
	domain       TEXT    NOT NULL,
	domain_name  TEXT    NOT NULL,
	source       TEXT    NOT NULL,
	target       TEXT    NOT NULL,
	reason       TEXT    NOT NULL,
	decision     TEXT    NOT NULL,
	state        TEXT    NOT NULL,
	open         INTEGER NOT NULL,
	switchover   TEXT    NOT NULL,
	epoch        INTEGER NOT NULL,
	source_boot  TEXT    NOT NULL,
	before       TEXT    NOT NULL, -- JSON, as are the next two and the last two
	options      TEXT    NOT NULL,
	steps        TEXT    NOT NULL,
	abort_reason TEXT    NOT NULL,
	outcome      TEXT    NOT NULL,
	planned      INTEGER,
	started      INTEGER,
	ended        INTEGER,
	progress     TEXT    NOT NULL,
	downtime     TEXT    NOT NULL
) STRICT;
CREATE INDEX migrations_planned ON migrations (planned, id);
CREATE INDEX migrations_open ON migrations (planned, id) WHERE open;
CREATE INDEX migrations_domain ON migrations (domain, planned);
CREATE INDEX migrations_source ON migrations (source, planned);
CREATE INDEX migrations_target ON migrations (target, planned);
CREATE INDEX migrations_decision ON migrations (decision) WHERE decision <> '';

CREATE TABLE owed (
	kind       TEXT    NOT NULL,
	host       TEXT    NOT NULL,
	domain     TEXT    NOT NULL,
	attempt    TEXT    NOT NULL,
	epoch      INTEGER NOT NULL,
	since      INTEGER,
	memory_kib INTEGER NOT NULL,
	keep       INTEGER NOT NULL,
	autostart  INTEGER NOT NULL,
	PRIMARY KEY (host, domain, kind, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE decisions (
	id          TEXT PRIMARY KEY,
	at          INTEGER,
	host        TEXT NOT NULL,
	kind        TEXT NOT NULL,
	status      TEXT NOT NULL,
	component   TEXT NOT NULL,
	cause       TEXT NOT NULL,
	summary     TEXT NOT NULL,
	threshold   REAL NOT NULL,
	risk        TEXT NOT NULL, -- JSON, as are the next two
	reasons     TEXT NOT NULL,
	placements  TEXT NOT NULL,
	model       TEXT NOT NULL,
	resolved_by TEXT NOT NULL,
	resolution  TEXT NOT NULL,
	resolved_at INTEGER,
	evidence    BLOB
) STRICT;
CREATE INDEX decisions_at ON decisions (at, id);
CREATE INDEX decisions_host ON decisions (host, at);
CREATE INDEX decisions_status ON decisions (status, at);

CREATE TABLE events (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	at        INTEGER,
	kind      TEXT NOT NULL,
	severity  TEXT NOT NULL,
	host      TEXT NOT NULL,
	domain    TEXT NOT NULL,
	migration TEXT NOT NULL,
	decision  TEXT NOT NULL,
	who       TEXT NOT NULL,
	text      TEXT NOT NULL
) STRICT;
CREATE INDEX events_host ON events (host) WHERE host <> '';
CREATE INDEX events_domain ON events (domain) WHERE domain <> '';
CREATE INDEX events_migration ON events (migration) WHERE migration <> '';

CREATE TABLE settings (
	key    TEXT PRIMARY KEY,
	value  TEXT NOT NULL,
	reason TEXT NOT NULL,
	who    TEXT NOT NULL,
	at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
	id         TEXT PRIMARY KEY,
	kind       TEXT    NOT NULL,
	host       TEXT    NOT NULL,
	role       TEXT    NOT NULL,
	hash       BLOB    NOT NULL,
	replace    INTEGER NOT NULL,
	created    INTEGER,
	created_by TEXT    NOT NULL,
	expires    INTEGER,
	used       INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE domains (
	host         TEXT    NOT NULL REFERENCES hosts (name) ON DELETE CASCADE,
	uuid         TEXT    NOT NULL,
	name         TEXT    NOT NULL,
	state        TEXT    NOT NULL,
	state_reason TEXT    NOT NULL,
	memory_kib   INTEGER NOT NULL,
	vcpus        INTEGER NOT NULL,
	persistent   INTEGER NOT NULL,
	autostart    INTEGER NOT NULL,
	lockable     INTEGER NOT NULL,
	seen         INTEGER,
	PRIMARY KEY (host, uuid)
) STRICT, WITHOUT ROWID;
CREATE INDEX domains_uuid ON domains (uuid);
CREATE INDEX domains_name ON domains (name);

-- One signal of one component of one host.
CREATE TABLE series (
	id        INTEGER PRIMARY KEY,
	host      TEXT    NOT NULL,
	component TEXT    NOT NULL,
	signal    TEXT    NOT NULL,
	unit      TEXT    NOT NULL,
	last_at   INTEGER NOT NULL, -- observation time of its newest reading
	UNIQUE (host, component, signal)
) STRICT;

-- Boot ids, said once.
CREATE TABLE boots (
	id      INTEGER PRIMARY KEY,
	boot_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE readings (
	series INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
	at     INTEGER NOT NULL, -- observed
	value  REAL,
	text   TEXT    NOT NULL,
	status TEXT    NOT NULL,
	boot   INTEGER NOT NULL REFERENCES boots (id),
	seq    INTEGER NOT NULL,
	PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;

-- What readings that are no longer stored said. All columns can be merged with what comes late, twice too.
CREATE TABLE rollups (
	series  INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
	width   INTEGER NOT NULL, -- nanoseconds: an hour, a day
	start   INTEGER NOT NULL,
	min     REAL    NOT NULL,
	max     REAL    NOT NULL,
	last    REAL    NOT NULL,
	last_at INTEGER NOT NULL,
	PRIMARY KEY (series, width, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_states (
	host      TEXT NOT NULL,
	component TEXT NOT NULL,
	model     TEXT NOT NULL,
	at        INTEGER,
	state     BLOB NOT NULL,
	PRIMARY KEY (host, component)
) STRICT;

CREATE TABLE risks (
	host      TEXT NOT NULL,
	component TEXT NOT NULL,
	score     TEXT NOT NULL, -- JSON, as is the next
	reasons   TEXT NOT NULL,
	impact    TEXT NOT NULL,
	model     TEXT NOT NULL,
	PRIMARY KEY (host, component)
) STRICT, WITHOUT ROWID;

CREATE TABLE risk_history (
	host      TEXT NOT NULL,
	component TEXT NOT NULL,
	at        INTEGER NOT NULL,
	score     TEXT NOT NULL, -- JSON, as is the next
	reasons   TEXT NOT NULL,
	impact    TEXT NOT NULL,
	model     TEXT NOT NULL,
	PRIMARY KEY (host, component, at)
) STRICT, WITHOUT ROWID;
