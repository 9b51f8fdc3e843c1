package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

var errNoLibvirt = errors.New("no connection to libvirtd")

// reports is what the manager has asked for and what is on its way.
type reports struct {
	asked  uint64 // the highest Ask of this session
	since  uint64 // step at which it arrived
	next   time.Time
	wanted bool // another one, made from now on

	listing bool
	answers uint64 // the Ask that the present one answers
	made    bool   // the list is here; domains that changed meanwhile are looked at again
	failed  error  // libvirt did not answer
}

// wantReport begins a complete report, or another one after the present one: a
// report counts only for what arrived before it was begun.
func (c *Core) wantReport(now time.Time) {
	if c.link.session == "" {
		return
	}
	r := &c.reports
	r.next = now.Add(c.link.interval)
	if r.listing || r.made {
		r.wanted = true
		return
	}
	r.wanted, r.listing, r.answers, r.failed = false, true, r.asked, nil
	if !c.libvirt.up {
		r.listing, r.made, r.failed = false, true, errNoLibvirt
		c.reportIfReady(now)
		return
	}
	began := c.step
	c.Hands.List(func(now time.Time, all []Seen, err error) {
		c.step++
		r.listing, r.made, r.failed = false, true, err
		if err == nil {
			c.listed(all, began, now)
		}
		c.reportIfReady(now)
	})
}

// listed takes a complete list: what is not on it libvirt does not know.
func (c *Core) listed(all []Seen, began uint64, now time.Time) {
	here := make(map[string]bool, len(all))
	for _, s := range all {
		if hook.IsProbe(s.UUID) && hook.IsProbeName(s.Name) {
			continue
		}
		here[s.UUID] = true
		c.saw(c.domain(s.UUID), s, true, began, now)
	}
	for _, d := range c.each() {
		if !here[d.UUID] {
			c.saw(d, Seen{}, false, began, now)
		}
		if !d.fresh() && c.libvirt.up {
			c.look(d, now) // something happened while the list was made
		}
	}
	c.makeUps(now)
}

// reportIfReady sends the report when nothing in it is older than what has
// happened since.
func (c *Core) reportIfReady(now time.Time) {
	r := &c.reports
	if !r.made || r.listing {
		return
	}
	if r.failed == nil && !c.libvirt.up {
		r.failed = errNoLibvirt
	}
	if r.failed == nil {
		for _, d := range c.domains {
			if d.looking || !d.fresh() {
				return
			}
		}
	}
	r.made = false
	c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Report{Report: c.report()}})
	if r.wanted {
		c.wantReport(now)
		return
	}
	next := r.next
	c.later(next, func(now time.Time) {
		if r.next.Equal(next) && c.link.session != "" {
			if c.libvirt.up {
				c.refreshFacts()
			}
			c.wantReport(now)
		}
	})
}

func (c *Core) report() *agentv1.Report {
	r := &agentv1.Report{
		Identity: c.identity(), BootId: c.host.BootID, Session: c.link.session, Seq: c.nextSeq(),
		Asked: c.reports.answers, Libvirtd: c.reports.failed == nil,
		TakesNothing: c.host.TakesNothing, Dependencies: c.readings.deps,
	}
	c.reportHook(r)
	if c.libvirt.known {
		r.Facts = c.facts()
	}
	if c.reports.failed != nil {
		// It answers no Ask: what was asked for is what libvirt shows.
		r.Asked, r.LibvirtdError = 0, c.reports.failed.Error()
		return r
	}
	for _, d := range c.each() {
		if d.known || d.journaled() {
			shown := c.show(d)
			d.sighted, d.sightedIn = shown, c.link.session
			r.Domains = append(r.Domains, shown)
		}
	}
	return r
}

// sight sends one domain at once, if it is not what was sent last.
func (c *Core) sight(d *domain) {
	if c.link.session == "" || !d.known && !d.journaled() && d.began == 0 {
		return
	}
	shown := c.show(d)
	if d.sightedIn == c.link.session && proto.Equal(shown, d.sighted) {
		return
	}
	d.sighted, d.sightedIn = shown, c.link.session
	s := &agentv1.Sighting{BootId: c.host.BootID, Session: c.link.session, Seq: c.nextSeq(), Domain: shown}
	if d.began >= c.reports.since {
		s.Asked = c.reports.asked
	}
	c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Sighting{Sighting: s}})
}

func (c *Core) nextSeq() uint64 {
	c.link.seq++
	return c.link.seq
}

func (c *Core) facts() *agentv1.HostFacts {
	f := c.libvirt.facts
	out := &agentv1.HostFacts{
		MemoryKib: f.MemoryKiB, MemoryAvailableKib: f.MemoryAvailableKiB, Cpus: uint32(f.CPUs), Arch: f.Arch,
		CpuXml: f.HostModelXML, MachineTypes: f.Machines, Bridges: f.Bridges,
		LibvirtVersion: version(f.LibvirtVersion), QemuVersion: version(f.HypervisorVersion),
		PeerUri: c.cfg.PeerURI, MigrateUri: c.cfg.MigrateURI,
	}
	for _, n := range f.Networks {
		if n.Active {
			out.Networks = append(out.Networks, n.Name)
		}
	}
	slices.Sort(out.Networks)
	return out
}

// version is how people write what libvirt counts: 9000000 is 9.0.0.
func version(v virt.Version) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1000%1000, v%1000)
}
