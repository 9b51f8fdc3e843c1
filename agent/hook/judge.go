package hook

import (
	"fmt"
	"strings"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
)

// Memory is what a host remembers of one domain.
type Memory struct {
	Domain journal.Domain
	// Known: libvirt has a definition of it here, as far as the
	// agent has seen.
	Known bool
	// Moving: an order to move it away is being carried out.
	Moving bool
	// Exempt and Allowed are the ways out: agent.toml's exempt_domains, and the
	// reason of a person on this host.
	Exempt  bool
	Allowed string
}

// Decision is what follows from a Memory.
type Decision string

// The decisions.
const (
	// Permit: it may happen; a start in progress from now on, if it is one.
	Permit Decision = "permit"
	// Admit: it is the attempt's copy that comes in.
	Admit Decision = "admit"
	// Refuse: it may not, whatever the leader would say.
	Refuse Decision = "refuse"
	// Ask: this host holds no permission; the leader may give one.
	Ask Decision = "ask"
)

// Judgement is a decision with its reason.
type Judgement struct {
	Decision Decision
	Reason   string         // of Refuse and Ask, for the user of virsh
	Ground   journal.Ground // of Permit without a claim
	Attempt  string         // of Admit
}

// Subject reads what libvirt is about to run from the XML on the hook's stdin.
func Subject(r Request) (virt.Domain, error) {
	if len(r.XML) > MaxXML {
		return virt.Domain{}, fmt.Errorf("the XML of %s is %d bytes long, expected %d at most", r.Name, len(r.XML), MaxXML)
	}
	d, err := virt.ParseDomain(r.XML)
	switch {
	case err != nil:
		return virt.Domain{}, fmt.Errorf("the XML of %s can't be read: %w", r.Name, err)
	case d.UUID == "" || strings.ContainsAny(d.UUID, "/\x00"):
		return virt.Domain{}, fmt.Errorf("%s has no UUID in its XML", r.Name)
	case d.Name != r.Name:
		return virt.Domain{}, fmt.Errorf("libvirt speaks of %s, the XML of %s", r.Name, d.Name)
	}
	return d, nil
}

// Judge says what a memory permits. What it refuses nobody can grant: the host's
// own call for the domain is out, the domain is on its way, or the attempt is
// void or not known here.
func Judge(op Operation, subject virt.Domain, m Memory) Judgement {
	d := m.Domain
	a := d.Attempt
	refuse := func(format string, args ...any) Judgement {
		return Judgement{Decision: Refuse, Reason: fmt.Sprintf(format, args...)}
	}
	incoming := a != nil && a.Role == journal.Target && a.Stage == journal.Prepared && a.Arrival != nil && !a.Arrival.Resumed
	if id := subject.Attempt; id != "" {
		switch {
		case d.IsVoid(id):
			return refuse("the move %s of %s was given up", id, subject.Name)
		case incoming && a.ID == id && op != Restore:
			if a.Arrival.Admitted {
				return refuse("the move %s of %s has come in here before", id, subject.Name)
			}
			return Judgement{Decision: Admit, Attempt: id}
		}
	}
	if dep := departing(d); dep != nil && dep.Call == journal.CallOut {
		// libvirt would remove the definition of a guest that is started in the
		// call's last 200 ms. Nobody may allow that.
		return refuse("%s is being moved from here to %s (attempt %s)", subject.Name, dep.Target, a.ID)
	}
	if m.Moving {
		return refuse("%s is about to be moved from here", subject.Name)
	}
	if incoming && a.Arrival.ByHand && !a.Arrival.Admitted && a.Arrival.Carries == subject.Attempt && op != Restore && !m.Known {
		return Judgement{Decision: Admit, Attempt: a.ID}
	}
	switch {
	case m.Allowed != "":
		return Judgement{Decision: Permit, Ground: journal.Allowed}
	case m.Exempt:
		return Judgement{Decision: Permit, Ground: journal.Exempt}
	case departing(d) != nil:
		// Whoever has the guest now, only the leader knows it: the target, or nobody,
		// when it has ended on both sides. Then nothing else would close the departure.
		return Judgement{Decision: Ask, Reason: fmt.Sprintf("a move of %s from here to %s (attempt %s) is not closed", subject.Name, departing(d).Target, a.ID)}
	case incoming:
		return refuse("%s is on its way here from %s (attempt %s)", subject.Name, a.Arrival.Source, a.ID)
	case d.Phase == journal.Ambiguous:
		return refuse("%s was seen at work on more than one host: vireo claims resolve", subject.Name)
	case op == Migrate && m.Known:
		return refuse("%s is defined here already: a migration by hand could be mixed up with a start", subject.Name)
	case op == Migrate && subject.Attempt != "":
		// A guest that vireo has moved keeps that move's id, also when virsh moves it on:
		// the leader knows whose id it is.
		return Judgement{Decision: Ask, Reason: fmt.Sprintf("the move %s of %s was not prepared on this host, and a migration by hand needs the manager's consent", subject.Attempt, subject.Name)}
	case op == Migrate:
		return Judgement{Decision: Ask, Reason: fmt.Sprintf("a migration of %s by hand needs the manager's consent", subject.Name)}
	case d.Phase == journal.Held && d.Confirmed:
		return Judgement{Decision: Permit}
	}
	return Judgement{Decision: Ask, Reason: fmt.Sprintf("this host does not hold the claim of %s", subject.Name)}
}

// departing is the source's side of an attempt about which the leader has not
// spoken since; nil without one.
func departing(d journal.Domain) *journal.Departure {
	a := d.Attempt
	if a == nil || a.Stage != journal.Started && a.Stage != journal.Void {
		return nil
	}
	return a.Departure
}
