package manager

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/store"
)

// ListLeftovers implements the service. Nothing of it is ever removed by vireo:
// what looks like rubbish may be somebody's only copy.
func (m *Manager) ListLeftovers(ctx context.Context, req *connect.Request[managerv1.ListLeftoversRequest]) (*connect.Response[managerv1.ListLeftoversResponse], error) {
	if err := m.onlyHost(ctx, req.Msg.GetHost()); err != nil {
		return nil, err
	}
	res := &managerv1.ListLeftoversResponse{}
	err := m.do(ctx, func(time.Time) {
		for _, l := range m.core.leftovers() {
			if req.Msg.GetHost() == "" || l.Host == req.Msg.GetHost() {
				res.Leftovers = append(res.Leftovers, l)
			}
		}
	})
	return connect.NewResponse(res), err
}

// leftovers is what lies about on the hosts that speak, and what silent ones
// still owe.
func (c *Core) leftovers() []*managerv1.Leftover {
	var out []*managerv1.Leftover
	for _, h := range c.sortedHosts() {
		if !h.alive() {
			continue
		}
		for _, uuid := range sortedKeys(h.seen) {
			out = append(out, c.leftoversOf(h, h.seen[uuid])...)
		}
	}
	for _, o := range c.sortedOwed() {
		l := &managerv1.Leftover{Host: o.Host, Kind: "debt", Domain: o.Domain, DomainName: c.domainName(o.Domain)}
		switch o.Kind {
		case store.OwedVoid:
			l.What = fmt.Sprintf("it has not yet confirmed that attempt %s is void; what may lie there of it stays paused", o.Attempt)
		case store.OwedSettle:
			l.What = fmt.Sprintf("definition and autostart do not follow the claim yet after attempt %s", o.Attempt)
		case store.OwedReservation:
			l.What = fmt.Sprintf("%d MiB stay reserved for attempt %s until it has answered", o.MemoryKiB>>10, o.Attempt)
		}
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b *managerv1.Leftover) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.DomainName, b.DomainName), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// leftoversOf looks at one domain on one host.
func (c *Core) leftoversOf(h *host, s *sight) (out []*managerv1.Leftover) {
	uuid := s.GetUuid()
	add := func(kind, what, remove string) {
		out = append(out, &managerv1.Leftover{Host: h.Name, Kind: kind, Domain: uuid, DomainName: cmp.Or(s.GetName(), c.domainName(uuid)), What: what, Remove: remove})
	}
	if c.isCopy(s) {
		attempt := cmp.Or(s.GetLiveAttempt(), s.GetAttempt())
		if c.moves[s.GetLiveAttempt()] == nil && c.moves[s.GetAttempt()] == nil && s.GetJob() == nil {
			add("paused_copy", fmt.Sprintf("a paused copy of attempt %s, of which no move is open: %s", cmp.Or(attempt, "?"), c.worthOf(h, uuid)), "virsh destroy "+uuid)
		}
		return out
	}
	if active(s.Domain) {
		return out
	}
	if s.GetManagedSave() {
		add("managed_save", "saved memory: the next start here restores it, on disks that may be newer by then", "virsh managedsave-remove "+uuid)
	}
	if !s.GetPersistent() || s.GetState() != agentv1.DomainState_DOMAIN_STATE_SHUTOFF || c.busyMove(uuid) {
		return out
	}
	var runs, defined []string
	var other *sight
	for _, o := range c.sortedHosts() {
		if o == h || !o.alive() {
			continue
		}
		switch t := o.seen[uuid]; {
		case t == nil:
		case active(t.Domain):
			runs, other = append(runs, o.Name), t
		case t.GetPersistent():
			defined, other = append(defined, o.Name), cmp.Or(other, t)
		}
	}
	undefine := "virsh undefine " + uuid
	if s.GetManagedSave() {
		undefine += " --managed-save"
	}
	where := func() string {
		if len(runs) > 0 {
			return "runs on " + strings.Join(runs, " and ")
		}
		return "is defined on " + strings.Join(defined, " and ") + " too, and runs nowhere"
	}
	switch {
	case other == nil:
	case clones(s.Domain, other.Domain):
		add("clone", "another guest with this UUID, with other disks, "+where()+": give one of them a UUID of its own", "")
	case s.GetAutostart():
		add("definition", "the guest "+where()+"; this definition would start with the host (autostart)", undefine)
	default:
		add("definition", "the guest "+where()+"; this definition is left over", undefine)
	}
	return out
}

// clones says whether two domains of one UUID are two guests: their writable
// disks have nothing in common.
func clones(a, b *agentv1.Domain) bool {
	mine := map[string]bool{}
	for _, d := range a.GetDisks() {
		if !d.GetReadOnly() && d.GetSource() != "" {
			mine[diskKey(d)] = true
		}
	}
	some := false
	for _, d := range b.GetDisks() {
		if d.GetReadOnly() || d.GetSource() == "" {
			continue
		}
		some = true
		if mine[diskKey(d)] {
			return false
		}
	}
	return some && len(mine) > 0
}

// diskKey tells disks apart. Equal paths count as one disk, on local file systems
// too: after a move with copied disks they are one guest's.
func diskKey(d *agentv1.Disk) string { return d.GetType() + " " + d.GetSource() }
