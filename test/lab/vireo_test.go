package lab

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/configs"
)

// TestTheConfigurationIsReadAsMeant gives what the lab writes to those who read it.
func TestTheConfigurationIsReadAsMeant(t *testing.T) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := describe(Options{Hosts: 2, Mode: "auto", Store: configs.StoreSQLite, Managers: 1, Hook: "enforce"}, image{}, time.Time{})
	m, err := configs.LoadManager(write("manager.toml", managerTOML(one, ManagerName)))
	if err != nil {
		t.Fatal(err)
	}
	if d := configs.DefaultManager(); m.Mode != configs.ModeAuto || m.Hold != 0 || m.HoldReadings != 1 || m.Thresholds != d.Thresholds {
		t.Errorf("manager.toml was read as %+v", m)
	}
	a, err := configs.LoadAgent(write("agent.toml", agentTOML(one, "h2")))
	if err != nil {
		t.Fatal(err)
	}
	if a.Manager.String() != "https://manager:7443" || a.Smartctl != "/run/vireo-lab/hosts/h2/disk/smart/smartctl" || a.Roots.Proc != "/proc" || a.Roots.Mounts != "/run/vireo-lab/hosts/h2/mountinfo" || a.Hook.Mode != configs.HookEnforce {
		t.Errorf("agent.toml was read as %+v", a)
	}
	c, err := configs.LoadCLI(write("cli.toml", cliTOML(one)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Manager.String() != managerURL(1) || c.Cert != "/run/vireo-lab/manager/disk/etc/vireo/pki/operator.crt" {
		t.Errorf("cli.toml was read as %+v", c)
	}
}
