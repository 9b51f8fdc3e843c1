package hostinit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vireo-kvm/vireo/test/lab/supervise"
)

// Spec says what a machine is. It is read from Dir/spec.json.
type Spec struct {
	Name string `json:"name"` // its host name
	Dir  string `json:"dir"`  // /run/vireo-lab/hosts/NAME; the same path inside and outside
	// Private machines have a file system view of their own; the switch has not.
	Private  bool                `json:"private"`
	State    string              `json:"state,omitempty"` // where Dir/state is mounted inside, such as /var/lib/vireo-agent
	Mount    string              `json:"mount,omitempty"` // an empty directory, used to put /run and /dev together
	Bin      string              `json:"bin,omitempty"`   // the programs, seen inside as Dir/bin
	Cache    string              `json:"cache,omitempty"` // seen inside at the same path, read-only
	BootID   string              `json:"boot_id"`         // what /proc/sys/kernel/random/boot_id says inside
	Services []supervise.Service `json:"services"`
}

// Disk and the next ones are places inside a machine's directory.
func (s Spec) Disk() string      { return filepath.Join(s.Dir, "disk") }      // tmpfs with etc and var
func (s Spec) StateDisk() string { return filepath.Join(s.Dir, "state") }     // tmpfs for State
func (s Spec) Control() string   { return filepath.Join(s.Dir, "init.sock") } // the supervisor's socket
func (s Spec) Logs() string      { return filepath.Join(s.Dir, "log") }       // the services' output
func (s Spec) file() string      { return filepath.Join(s.Dir, "spec.json") }

// Write stores the spec where Main reads it.
func (s Spec) Write() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.file(), append(b, '\n'), 0o644)
}

// Read returns the spec of the machine with a directory.
func Read(dir string) (Spec, error) {
	b, err := os.ReadFile(Spec{Dir: dir}.file())
	if err != nil {
		return Spec{}, err
	}
	var s Spec
	if err := json.Unmarshal(b, &s); err != nil {
		return Spec{}, fmt.Errorf("%s: %w", Spec{Dir: dir}.file(), err)
	}
	return s, nil
}
