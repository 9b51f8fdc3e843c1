package virsh

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/vireo-kvm/vireo/agent/run"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// Path is where Debian and others install it.
const Path = "/usr/bin/virsh"

// limits of one command: an XML document of a domain is below 1 MiB, a list of
// some thousand domains below 4.
var limits = run.Limits{Timeout: 15 * time.Second, Output: 8 << 20}

// command says what may follow a command's name.
type command struct {
	domain  bool // needs one
	options []string
}

var commands = map[string]command{
	"list": {options: []string{
		"--all", "--inactive", "--name", "--uuid", "--id", "--title", "--table", "--persistent", "--transient", "--autostart", "--no-autostart",
		"--managed-save", "--with-managed-save", "--without-managed-save", "--with-snapshot", "--without-snapshot", "--with-checkpoint",
		"--without-checkpoint", "--state-running", "--state-paused", "--state-shutoff", "--state-other",
	}},
	"dominfo":    {domain: true},
	"domstate":   {domain: true, options: []string{"--reason"}},
	"domjobinfo": {domain: true, options: []string{"--completed", "--keep-completed", "--anystats", "--rawstats"}},
	"dumpxml":    {domain: true, options: []string{"--inactive", "--update-cpu", "--migratable"}},
}

// Virsh runs virsh against one libvirtd.
type Virsh struct {
	Path   string // of the program
	URI    string // of the host's libvirtd
	Runner *run.Runner
}

// Run runs one command: its name, its options, and the domain (name or UUID)
// where the command wants one. What is not on the list is Refused, with the
// reason in Error. It is an agent.Virsh.
func (v Virsh) Run(ctx context.Context, args []string) *agentv1.VirshResult {
	line, err := check(args)
	if err != nil {
		return &agentv1.VirshResult{Error: err.Error(), Refused: true}
	}
	res, err := v.Runner.Run(ctx, limits, v.Path, append([]string{"--readonly", "--connect", v.URI}, line...)...)
	if err != nil {
		return &agentv1.VirshResult{Error: err.Error()}
	}
	return &agentv1.VirshResult{Stdout: res.Stdout, Stderr: res.Stderr, ExitCode: int32(res.ExitCode)}
}

// check gives the arguments as virsh gets them. The domain is given by
// --domain=…, so that no name can be taken for an option.
func check(args []string) ([]string, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("no command; allowed: %s", allowed())
	}
	name := args[0]
	c, ok := commands[name]
	if !ok {
		return nil, fmt.Errorf("virsh %s is not allowed; allowed: %s", printable(name), allowed())
	}
	line, domain := []string{name}, ""
	for _, a := range args[1:] {
		switch {
		case slices.Contains(c.options, a):
			line = append(line, a)
		case !c.domain || strings.HasPrefix(a, "-"):
			return nil, fmt.Errorf("virsh %s %s is not allowed", name, printable(a))
		case domain != "":
			return nil, fmt.Errorf("virsh %s takes one domain, not %s as well", name, printable(a))
		case a == "" || len(a) > 255 || strings.IndexFunc(a, unicode.IsControl) >= 0:
			return nil, fmt.Errorf("%s is no domain's name", printable(a))
		default:
			domain = a
		}
	}
	if !c.domain {
		return line, nil
	}
	if domain == "" {
		return nil, fmt.Errorf("virsh %s needs a domain", name)
	}
	return append(line, "--domain="+domain), nil
}

func allowed() string {
	var names []string
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// printable shortens what a stranger wrote.
func printable(s string) string {
	const enough = 40
	if len(s) > enough {
		s = strings.ToValidUTF8(s[:enough], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}
