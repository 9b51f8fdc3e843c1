package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/configs"
)

// bootIDFile is where the kernel names its boot.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// localClaims is what a hypervisor's own journal says: it needs no manager.
type localClaims struct {
	Journal string           `json:"journal"`
	Problem string           `json:"problem,omitempty"` // why none of it is permission
	Host    journal.Host     `json:"host"`
	Domains []journal.Domain `json:"domains"`
	Marks   []journal.Mark   `json:"marks"`
}

// claimsLocal lists what this host holds.
func (p *program) claimsLocal(c *cli.Context) error {
	if c.String("host") != "" {
		return usagef("--local is about this host: it takes no --host")
	}
	cfg, err := configs.LoadAgent(c.String("agent-config"))
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%v: this machine has no agent", err)
	}
	if err != nil {
		return usagef("%v", err)
	}
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return err
	}
	local, err := readLocal(cfg.Journal(), strings.TrimSpace(string(boot)))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		enc := json.NewEncoder(p.out)
		enc.SetIndent("", "  ")
		return enc.Encode(local)
	}
	return p.printLocal(local)
}

// readLocal reads a journal; one that is damaged or of another boot is shown for
// what it forbids.
func readLocal(path, boot string) (localClaims, error) {
	l := localClaims{Journal: path, Domains: []journal.Domain{}, Marks: []journal.Mark{}}
	s, err := journal.Read(path)
	var bad *journal.DamagedError
	switch {
	case errors.As(err, &bad):
		l.Problem = err.Error()
		s = s.Doubt(s.Host.BootID == boot)
	case errors.Is(err, fs.ErrNotExist):
		return l, fmt.Errorf("%s: there is no journal of this boot: the agent has not run in it", path)
	case err != nil:
		return l, err
	case s.Host.BootID != boot:
		l.Problem = "it is of another boot"
		s = s.Doubt(false)
	}
	l.Host = s.Host
	for _, uuid := range s.UUIDs() {
		l.Domains = append(l.Domains, s.Domains[uuid])
	}
	marks, err := journal.Marks(path)
	if err != nil {
		return l, err
	}
	l.Marks = append(l.Marks, marks...)
	return l, nil
}

func (p *program) printLocal(l localClaims) error {
	p.printf("%s of %s: generation %d, term %d, hook %s\n", l.Journal, or(l.Host.Name, "?"), l.Host.Generation, l.Host.Term, or(l.Host.HookMode, "off"))
	if l.Problem != "" {
		p.printf("%s\n", cell{"nothing of it is permission: " + l.Problem, red})
	}
	if l.Host.TakesNothing {
		p.printf("this host takes nothing new\n")
	}
	t := p.table("DOMAIN", "PHASE", ">EPOCH", "MAY START", "ATTEMPT", "FOR", "UUID")
	for _, d := range l.Domains {
		t.row(or(d.Name, "-"), state(or(string(d.Phase), "-")), count(d.Epoch), mayStart(d), attemptOf(d), p.ago(since(d.Changed)), d.UUID)
	}
	if err := t.print(p.out, "no domain is known"); err != nil {
		return err
	}
	for _, m := range l.Marks {
		did := "let start"
		if m.Refused {
			did = "refused to start"
		}
		p.printf("no agent answered: the hook %s %s %s ago\n", did, or(m.Name, m.UUID), p.ago(since(m.At)))
	}
	return nil
}

func since(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// mayStart says whether the host may start the domain without asking anybody.
func mayStart(d journal.Domain) cell {
	switch {
	case len(d.Starts) > 0:
		return cell{"is starting", green}
	case d.Attempt != nil && d.Attempt.Departure != nil && d.Attempt.Stage != journal.Ended:
		return cell{"no, on its way", yellow}
	case d.Phase == journal.Held && d.Confirmed:
		return cell{"yes", green}
	case !d.Owed.IsZero():
		return cell{"when it is granted", yellow}
	case d.Phase == journal.Held:
		return cell{"no, not confirmed", plain}
	}
	return cell{"no", plain}
}

func attemptOf(d journal.Domain) string {
	a := d.Attempt
	switch {
	case a == nil:
		return "-"
	case a.Role == "":
		return fmt.Sprintf("%s %s", a.ID, a.Stage)
	}
	return fmt.Sprintf("%s %s as %s", a.ID, a.Stage, a.Role)
}
