package manager

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/store"
)

// against is why a host may take nothing new now.
type against struct {
	why    string
	policy bool // its risk or state; a person may take that risk
}

// notHere says what is against letting a host take something new, nil when
// nothing is. force leaves risk and state out.
func (c *Core) notHere(h *host, force bool) *against {
	switch {
	case !h.Revoked.IsZero():
		return &against{why: "it was removed"}
	case !h.alive():
		return &against{why: "it is unknown: " + h.why}
	case h.takes:
		return &against{why: "its agent has promised to take nothing new (vireo return " + h.Name + ")"}
	}
	view := c.hostView(h, view{only: []string{}}, 0)
	if why := decide.AtRisk(&view); why != "" && !force {
		return &against{why: why, policy: true}
	}
	return nil
}

// error is the refusal of a grant to a person.
func (a *against) error(c *Core, h *host, d decide.Domain, now time.Time) error {
	text := fmt.Sprintf("%s cannot be given %s: %s", h.Name, cmp.Or(d.Name, d.UUID), a.why)
	if better := c.better(h, d, now); better != "" {
		text += "; better: " + better
	}
	if a.policy {
		return apierr.New(apierr.Policy, "%s. --force grants it all the same", text)
	}
	return apierr.New(apierr.Policy, "%s. --force does not change that", text)
}

// better is the best other host for a domain that runs nowhere, "" when there is
// none.
func (c *Core) better(h *host, d decide.Domain, now time.Time) string {
	d.Host = h.Name
	return decide.Elsewhere(c.snapshot(now, view{only: []string{}}), c.pol.Decide, d).Target
}

// knownDomain is what is known of a domain that need not run anywhere, best as
// one host shows it.
func (c *Core) knownDomain(uuid, at string) decide.Domain {
	d := decide.Domain{UUID: uuid, Host: at}
	hosts := c.sortedHosts()
	slices.SortStableFunc(hosts, func(a, b *host) int { return cmp.Compare(b2i(a.Name != at), b2i(b.Name != at)) })
	for _, h := range hosts {
		if last, ok := h.last[uuid]; ok {
			d.Name, d.MemoryKiB = cmp.Or(d.Name, last.Name), cmp.Or(d.MemoryKiB, last.MemoryKiB)
		}
		if s := h.seen[uuid]; s != nil && d.Machine == "" {
			d.Machine, d.CPUXML, d.Bridges, d.Networks = s.GetMachine(), s.GetCpuXml(), s.GetBridges(), s.GetNetworks()
			for _, disk := range s.GetDisks() {
				d.Disks = append(d.Disks, decide.Disk{Target: disk.GetTarget(), Source: disk.GetSource(), Local: disk.GetLocal()})
			}
		}
	}
	return d
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// noRoom gives a refusal for want of capacity its kind; hint says what would
// change it.
func noRoom(err error, hint string) error {
	if errors.Is(err, errRefused) {
		return apierr.New(apierr.Policy, "%w; %s", err, hint)
	}
	if errors.Is(err, store.ErrStale) {
		return apierr.New(apierr.Claim, "somebody was faster: %w", err)
	}
	return err
}
