package configs

import (
	_ "embed" // the annotated file
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// ManagerPath is where vireo-manager reads its configuration unless it is told otherwise.
const ManagerPath = "/etc/vireo/manager.toml"

// ManagerTOML is the annotated manager.toml: every key, with its default.
//
//go:embed manager.toml
var ManagerTOML []byte

// Manager is the configuration of vireo-manager.
type Manager struct {
	Listen       string     `toml:"listen"`        // the one HTTPS port, for agents and operators
	StateDir     string     `toml:"state_dir"`     // holds the database
	RunDir       string     `toml:"run_dir"`       // holds the local socket
	PKIDir       string     `toml:"pki_dir"`       // holds the CA, and the manager's certificate and key
	Store        string     `toml:"store"`         // the engine that keeps claims: sqlite or etcd
	Advertise    string     `toml:"advertise"`     // URL of this manager for agents and operators; empty: the machine's name and Listen's port
	Mode         Mode       `toml:"mode"`          // what a decision may do by itself
	Hold         Duration   `toml:"hold"`          // how long a model's risk must stay above a threshold
	HoldReadings int        `toml:"hold_readings"` // and in how many readings in a row
	Model        string     `toml:"model"`         // file of the failure prediction model; empty: the one in the program
	UnknownAfter Duration   `toml:"unknown_after"` // without a report, a host becomes unknown
	Log          Log        `toml:"log"`
	Thresholds   Thresholds `toml:"thresholds"`
	Decision     Decision   `toml:"decision"`
	Migration    Migration  `toml:"migration"`
	Claims       Claims     `toml:"claims"`
	Capacity     Capacity   `toml:"capacity"`
	Metrics      Metrics    `toml:"metrics"`
	Etcd         Etcd       `toml:"etcd"`
}

// The engines.
const (
	StoreSQLite = "sqlite"
	StoreEtcd   = "etcd"
)

// Mode says what happens to a decision once it is made and recorded.
type Mode string

// The modes, from the most careful on.
const (
	ModeShadow    Mode = "shadow"    // nothing
	ModeRecommend Mode = "recommend" // it waits for an operator's approval
	ModeAuto      Mode = "auto"      // it is carried out
)

// Thresholds pairs the failure risk score at which a host enters a state with the lower one at which it leaves it.
type Thresholds struct {
	Watch      Threshold `toml:"watch"`
	Quarantine Threshold `toml:"quarantine"`
	Evacuate   Threshold `toml:"evacuate"`
}

// Threshold is in percent of probability, above 0 and at most 100; Leave is below Enter.
type Threshold struct {
	Enter float64 `toml:"enter"`
	Leave float64 `toml:"leave"`
}

// Decision holds the brakes: what would act on more than this waits for a person, whatever the mode.
type Decision struct {
	MaxHosts   int      `toml:"max_hosts"`   // hosts acted upon within Window
	MaxPercent float64  `toml:"max_percent"` // the same, of all hosts; one host is always within it
	Window     Duration `toml:"window"`
	Cooldown   Duration `toml:"cooldown"` // a domain that was moved is left alone for so long
}

// Migration limits what runs at once and says how one migration is done.
type Migration struct {
	PerSource     int       `toml:"per_source"`      // migrations at a time away from one host
	PerTarget     int       `toml:"per_target"`      // and towards one host
	Cluster       int       `toml:"cluster"`         // and altogether
	TimeoutPerGiB Duration  `toml:"timeout_per_gib"` // a migration may last so long for each GiB of the guest's memory begun
	Stall         Duration  `toml:"stall"`           // without a new low of the data remaining, a migration is stalled
	Bandwidth     Bandwidth `toml:"bandwidth"`       // of one migration
	MaxDowntime   Duration  `toml:"max_downtime"`    // the longest pause that QEMU may aim at for its last pass; a move under KVM begins with a tenth
	AutoConverge  bool      `toml:"auto_converge"`   // slow the guest down when it dirties memory faster than it is sent
	Parallel      int       `toml:"parallel"`        // connections of one migration; 0 is libvirt's single stream
	Switchover    string    `toml:"switchover"`      // guarded
}

// Claims says how permissions are given.
type Claims struct {
	// ArbitrationWindow is how long the first host that asks for a domain waits for others; the least risky gets it. 0: the first.
	ArbitrationWindow Duration `toml:"arbitration_window"`
}

// Capacity says how much of a host guests may have: (total - Reserve) × OvercommitMemory.
type Capacity struct {
	Reserve          Size    `toml:"reserve"`           // memory of each host that is not for guests
	OvercommitMemory float64 `toml:"overcommit_memory"` // 1 is none
}

// Metrics says who may scrape /metrics without a certificate.
type Metrics struct {
	TokenFile string `toml:"token_file"` // a bearer token; empty: certificates only
}

// Etcd says where the store of several managers is. It is read when Store is etcd.
type Etcd struct {
	Endpoints []string `toml:"endpoints"` // URLs of the nodes, all http or all https
	CA        string   `toml:"ca"`        // the certificate of etcd's CA, PEM
	Cert      string   `toml:"cert"`      // this manager's certificate for etcd, PEM; empty: etcd wants none
	Key       string   `toml:"key"`       // and its key
	Prefix    string   `toml:"prefix"`    // of all keys; managers with the same one are one fleet's
}

// DefaultManager gives the configuration that an empty file means.
func DefaultManager() Manager {
	return Manager{
		Listen:       ":7443",
		StateDir:     "/var/lib/vireo-manager",
		RunDir:       "/run/vireo-manager",
		PKIDir:       "/etc/vireo/pki",
		Store:        "sqlite",
		Mode:         ModeRecommend,
		Hold:         Duration(10 * time.Minute),
		HoldReadings: 2,
		UnknownAfter: Duration(30 * time.Second),
		Log:          Log{Level: "info", Format: "text"},
		Thresholds: Thresholds{
			Watch:      Threshold{Enter: 2, Leave: 1},
			Quarantine: Threshold{Enter: 10, Leave: 5},
			Evacuate:   Threshold{Enter: 25, Leave: 12},
		},
		Decision: Decision{
			MaxHosts:   2,
			MaxPercent: 20,
			Window:     Duration(time.Hour),
			Cooldown:   Duration(15 * time.Minute),
		},
		Migration: Migration{
			PerSource:     2,
			PerTarget:     2,
			Cluster:       8,
			TimeoutPerGiB: Duration(150 * time.Second),
			Stall:         Duration(time.Minute),
			MaxDowntime:   Duration(300 * time.Millisecond),
			AutoConverge:  true,
			Switchover:    "guarded",
		},
		Capacity: Capacity{Reserve: 1 << 30, OvercommitMemory: 1},
		Etcd:     Etcd{Endpoints: []string{}, Prefix: "/vireo/"},
	}
}

// LoadManager reads manager.toml over the defaults and validates the outcome.
func LoadManager(path string) (Manager, error) {
	cfg := DefaultManager()
	err := load(path, &cfg)
	return cfg, err
}

// Validate reports every value that cannot work, as joined *Error.
func (m Manager) Validate() error { return validate(&m) }

// Database is the path of the SQLite file.
func (m Manager) Database() string { return filepath.Join(m.StateDir, "vireo.db") }

// EtcdMemory is the path of the file that remembers which etcd this manager works with.
func (m Manager) EtcdMemory() string { return filepath.Join(m.StateDir, "etcd.json") }

// Socket is the path of the local socket, whose root is an admin.
func (m Manager) Socket() string { return filepath.Join(m.RunDir, "manager.sock") }

func (m *Manager) check(c *checks) {
	c.listen("listen", m.Listen)
	c.path("state_dir", m.StateDir)
	c.path("run_dir", m.RunDir)
	c.path("pki_dir", m.PKIDir)
	oneOf(c, "store", m.Store, StoreSQLite, StoreEtcd)
	if m.Advertise != "" {
		c.managerURL("advertise", m.Advertise, false)
	}
	if m.Store == StoreEtcd {
		m.Etcd.check(c)
	}
	oneOf(c, "mode", m.Mode, ModeShadow, ModeRecommend, ModeAuto)
	if m.Model != "" {
		c.path("model", m.Model)
	}
	between(c, "hold", m.Hold, 0, day)
	between(c, "hold_readings", m.HoldReadings, 1, 1000)
	between(c, "unknown_after", m.UnknownAfter, Duration(time.Second), day)
	c.logs(m.Log)
	m.Thresholds.check(c)
	between(c, "decision.max_hosts", m.Decision.MaxHosts, 1, 1_000_000)
	between(c, "decision.max_percent", m.Decision.MaxPercent, 0, 100)
	between(c, "decision.window", m.Decision.Window, Duration(time.Second), 30*day)
	between(c, "decision.cooldown", m.Decision.Cooldown, 0, 30*day)
	m.Migration.check(c)
	between(c, "claims.arbitration_window", m.Claims.ArbitrationWindow, 0, Duration(200*time.Millisecond))
	between(c, "capacity.overcommit_memory", m.Capacity.OvercommitMemory, 0.1, 10)
	c.pathOrNone("metrics.token_file", m.Metrics.TokenFile)
}

const day = Duration(24 * time.Hour)

func (e *Etcd) check(c *checks) {
	const expected = `one or more URLs, all http or all https, such as ["https://etcd1.example:2379"]`
	secure := 0
	for _, endpoint := range e.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || (u.Path != "" && u.Path != "/") {
			c.fail("etcd.endpoints", e.Endpoints, expected)
			return
		}
		if u.Scheme == "https" {
			secure++
		}
	}
	if len(e.Endpoints) == 0 || secure != 0 && secure != len(e.Endpoints) {
		c.fail("etcd.endpoints", e.Endpoints, expected)
	}
	if !strings.HasPrefix(e.Prefix, "/") || !strings.HasSuffix(e.Prefix, "/") || e.Prefix == "/" {
		c.fail("etcd.prefix", e.Prefix, `a path that begins and ends with a slash, such as "/vireo/"`)
	}
	c.pathOrNone("etcd.ca", e.CA)
	c.pathOrNone("etcd.cert", e.Cert)
	c.pathOrNone("etcd.key", e.Key)
	if secure > 0 && e.CA == "" {
		c.fail("etcd.ca", e.CA, "the certificate of etcd's CA: the endpoints are https")
	}
	if (e.Cert == "") != (e.Key == "") {
		c.fail("etcd.key", e.Key, "a key with etcd.cert, or neither")
	}
}

func (t *Thresholds) check(c *checks) {
	steps := []struct {
		key string
		Threshold
	}{{"watch", t.Watch}, {"quarantine", t.Quarantine}, {"evacuate", t.Evacuate}}
	lower := 0.0
	for _, step := range steps {
		key := "thresholds." + step.key
		if !(step.Enter > lower && step.Enter <= 100) {
			c.fail(key+".enter", step.Enter, "a percentage above "+written(lower)+" (the state below) and at most 100")
		}
		if !(step.Leave >= 0 && step.Leave < step.Enter) {
			c.fail(key+".leave", step.Leave, "a percentage below "+key+".enter, "+written(step.Enter))
		}
		lower = step.Enter
	}
}

func (m *Migration) check(c *checks) {
	between(c, "migration.per_source", m.PerSource, 1, 64)
	between(c, "migration.per_target", m.PerTarget, 1, 64)
	between(c, "migration.cluster", m.Cluster, 1, 100_000)
	between(c, "migration.timeout_per_gib", m.TimeoutPerGiB, Duration(time.Second), day)
	between(c, "migration.stall", m.Stall, Duration(time.Second), day)
	between(c, "migration.max_downtime", m.MaxDowntime, Duration(time.Millisecond), Duration(10*time.Minute))
	between(c, "migration.parallel", m.Parallel, 0, 255)
	oneOf(c, "migration.switchover", m.Switchover, "guarded")
}
