package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLoadOverDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manager.toml")
	text := "mode = \"auto\"\nhold = \"0s\"\n[migration]\nbandwidth = \"2.5Gbit/s\"\n[thresholds.watch]\nenter = 3.5\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadManager(file)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultManager()
	want.Mode = ModeAuto
	want.Hold = 0
	want.Migration.Bandwidth = 2_500_000_000
	want.Thresholds.Watch.Enter = 3.5
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadMissingFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.toml")
	for _, err := range []error{errOf(LoadManager(file)), errOf(LoadAgent(file)), errOf(LoadCLI(file))} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), file) {
			t.Errorf("got %v", err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// Each error names the file, the key, the value as written and what was expected.
func TestBadInput(t *testing.T) {
	manager := func() config { c := DefaultManager(); return &c }
	agent := func() config { c := DefaultAgent(); return &c }
	cli := func() config { c := DefaultCLI(); return &c }
	tests := []struct {
		name string
		cfg  func() config
		text string
		want string
	}{
		{"unknown key", manager, `mod = "auto"`, `f.toml: mod = "auto": no such key; expected one of listen, state_dir,`},
		{"unknown key in a table", manager, "[migration]\nper_sorce = 2", `f.toml: migration.per_sorce = 2: no such key; expected one of per_source,`},
		{"unknown table", agent, "[etcd]\nx = 1", `f.toml: etcd = {…}: no such key`},
		{"wrong case", manager, `Mode = "auto"`, `f.toml: Mode = "auto": no such key`},
		{"not TOML", manager, "listen = \":7443\"\nmode = auto", `f.toml: mode: line 2 is not TOML: `},
		{"same key twice", manager, "mode = \"auto\"\nmode = \"shadow\"", `line 2 is not TOML`},
		{"string for a number", manager, "[migration]\nper_source = \"2\"", `f.toml: migration.per_source = "2": expected a whole number`},
		{"fraction for a whole number", manager, `hold_readings = 2.5`, `f.toml: hold_readings = 2.5: expected a whole number`},
		{"number for a string", manager, `mode = 3`, `f.toml: mode = 3: expected a string`},
		{"number for a duration", manager, `hold = 10`, `f.toml: hold = 10: expected a duration such as "10s"`},
		{"duration without a unit", manager, `hold = "10"`, `f.toml: hold = "10": expected a duration`},
		{"negative duration", manager, `hold = "-1s"`, `f.toml: hold = "-1s": expected a duration`},
		{"size without a unit", manager, "[capacity]\nreserve = \"1024\"", `f.toml: capacity.reserve = "1024": expected a size such as`},
		{"bandwidth as a size", manager, "[migration]\nbandwidth = \"1GiB\"", `f.toml: migration.bandwidth = "1GiB": expected a bandwidth such as`},
		{"no bandwidth at all", manager, "[migration]\nbandwidth = \"0bit/s\"", `expected a bandwidth such as`},
		{"string for a bool", manager, "[migration]\nauto_converge = \"yes\"", `f.toml: migration.auto_converge = "yes": expected true or false`},
		{"value for a table", manager, `migration = 2`, `f.toml: migration = 2: expected a table, [migration]`},
		{"table for a value", manager, "[mode]\nx = 1", `f.toml: mode = {…}: expected a string`},
		{"string for a list", agent, `exempt_domains = "web"`, `f.toml: exempt_domains = "web": expected a list of strings`},
		{"number in a list", agent, `exempt_domains = ["web", 2]`, `f.toml: exempt_domains = ["web", 2]: expected a list of strings`},
		{"empty name in a list", agent, `exempt_domains = ["web", ""]`, `f.toml: exempt_domains[1] = "": expected the name of a domain`},
		{"impossible mode", manager, `mode = "always"`, `f.toml: mode = "always": expected "shadow", "recommend" or "auto"`},
		{"unknown store", manager, `store = "mysql"`, `f.toml: store = "mysql": expected "sqlite" or "etcd"`},
		{"etcd without a node", manager, `store = "etcd"`, `f.toml: etcd.endpoints = []: expected one or more URLs`},
		{"etcd without a scheme", manager, "store = \"etcd\"\n[etcd]\nendpoints = [\"e1:2379\"]", `f.toml: etcd.endpoints = [e1:2379]: expected one or more URLs`},
		{"etcd half secure", manager, "store = \"etcd\"\n[etcd]\nca = \"/ca\"\nendpoints = [\"https://e1:2379\", \"http://e2:2379\"]", `expected one or more URLs, all http or all https`},
		{"etcd without its CA", manager, "store = \"etcd\"\n[etcd]\nendpoints = [\"https://e1:2379\"]", `f.toml: etcd.ca = "": expected the certificate of etcd's CA`},
		{"etcd certificate without key", manager, "store = \"etcd\"\n[etcd]\nendpoints = [\"https://e1:2379\"]\nca = \"/ca\"\ncert = \"/c\"", `f.toml: etcd.key = "": expected a key with etcd.cert`},
		{"etcd prefix", manager, "store = \"etcd\"\n[etcd]\nendpoints = [\"http://e1:2379\"]\nprefix = \"vireo\"", `f.toml: etcd.prefix = "vireo": expected a path`},
		{"advertised address", manager, `advertise = "m1:7443"`, `f.toml: advertise = "m1:7443": expected a URL such as`},
		{"no manager", agent, `manager = []`, `f.toml: manager = "": expected a URL such as`},
		{"one of several managers", agent, `manager = ["https://m1:7443", "m2"]`, `f.toml: manager = "m2": expected a URL such as`},
		{"no port", manager, `listen = "0.0.0.0"`, `f.toml: listen = "0.0.0.0": expected an address and port`},
		{"port too high", manager, `listen = ":70000"`, `f.toml: listen = ":70000": expected an address and port`},
		{"relative directory", manager, `state_dir = "var"`, `f.toml: state_dir = "var": expected an absolute path`},
		{"hold too long", manager, `hold = "25h"`, `f.toml: hold = "25h": expected a value from 0s to 24h`},
		{"no readings", manager, `hold_readings = 0`, `f.toml: hold_readings = 0: expected a value from 1 to 1000`},
		{"leave above enter", manager, "[thresholds.watch]\nleave = 3", `f.toml: thresholds.watch.leave = 3: expected a percentage below thresholds.watch.enter, 2`},
		{"states in the wrong order", manager, "[thresholds.quarantine]\nenter = 1.5\nleave = 1", `f.toml: thresholds.quarantine.enter = 1.5: expected a percentage above 2 (the state below) and at most 100`},
		{"not a number", manager, "[thresholds.evacuate]\nenter = nan", `f.toml: thresholds.evacuate.enter = NaN: expected a percentage`},
		{"infinite", manager, "[capacity]\novercommit_memory = inf", `f.toml: capacity.overcommit_memory = +Inf: expected a value from 0.1 to 10`},
		{"above all percent", manager, "[decision]\nmax_percent = 101", `f.toml: decision.max_percent = 101: expected a value from 0 to 100`},
		{"plain HTTP", agent, `manager = "http://m:7443"`, `f.toml: manager = "http://m:7443": expected a URL such as "https://`},
		{"agent by socket", agent, `manager = "unix:///run/m.sock"`, `f.toml: manager = "unix:///run/m.sock": expected a URL`},
		{"password in URL", cli, `manager = "https://u:p@m:7443"`, `f.toml: manager = `},
		{"bad host name", agent, `host = "h_1"`, `f.toml: host = "h_1": expected a host name`},
		{"host name with a path", agent, `host = "../h1"`, `expected a host name`},
		{"peer without host", agent, "[migration]\npeer_uri = \"qemu+tls://h2/system\"", `f.toml: migration.peer_uri = "qemu+tls://h2/system": expected a libvirt URI with {host} in it`},
		{"stream without scheme", agent, "[migration]\nuri = \"{host}\"", `f.toml: migration.uri = "{host}": expected a URI with {host} in it`},
		{"libvirt URI", agent, "[libvirt]\nuri = \"qemu\"", `f.toml: libvirt.uri = "qemu": expected a libvirt URI`},
		{"hook mode", agent, "[hook]\nmode = \"strict\"", `f.toml: hook.mode = "strict": expected "observe", "enforce" or "off"`},
		{"log level", agent, "[log]\nlevel = \"loud\"", `f.toml: log.level = "loud": expected "debug", "info", "warn" or "error"`},
		{"timeout", cli, `timeout = "1ms"`, `f.toml: timeout = "1ms": expected a value from 100ms to 1h`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := parse("f.toml", []byte(test.text), test.cfg())
			if err == nil {
				t.Fatal("accepted")
			}
			var named *Error
			if !errors.As(err, &named) || named.File != "f.toml" {
				t.Errorf("%v is no *Error of f.toml", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	cfg := DefaultManager()
	err := parse("f.toml", []byte("mode = 1\nstore = 2\nfoo = 3"), &cfg)
	if got := strings.Count(err.Error(), "f.toml: "); got != 3 {
		t.Errorf("%d of 3 errors in:\n%v", got, err)
	}
}

func TestValidateWithoutFile(t *testing.T) {
	cfg := DefaultManager()
	cfg.Mode = "always"
	err := cfg.Validate()
	if want := `mode = "always": expected "shadow", "recommend" or "auto"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAcceptedValues(t *testing.T) {
	agent := DefaultAgent()
	text := "host = \"h1.example\"\nsmart_interval = \"1s\"\nexempt_domains = [\"manager\"]\n" +
		"[migration]\npeer_uri = \"qemu+ssh://root@{host}/system?keyfile=/k\"\nuri = \"tcp://{host}.storage\""
	if err := parse("f.toml", []byte(text), &agent); err != nil {
		t.Fatal(err)
	}
	if got := agent.Migration.PeerURIOf("h2"); got != "qemu+ssh://root@h2/system?keyfile=/k" {
		t.Errorf("peer URI %s", got)
	}
	if got := agent.Migration.URIOf("h2"); got != "tcp://h2.storage" {
		t.Errorf("stream URI %s", got)
	}
	if agent.SmartInterval != Duration(time.Second) {
		t.Errorf("smart_interval %v", agent.SmartInterval)
	}
	if err := parse("f.toml", []byte(`manager = ["https://m1:7443", "https://m2:7443"]`), &agent); err != nil || len(agent.Manager) != 2 {
		t.Errorf("several managers: %v %v", agent.Manager, err)
	}
	cli := DefaultCLI()
	if err := parse("f.toml", []byte(`manager = "unix:///run/vireo-manager/manager.sock"`), &cli); err != nil {
		t.Error(err)
	}
}
