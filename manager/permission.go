package manager

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/decide"
	"github.com/vireo-kvm/vireo/store"
)

// plea is one agent's question whether a domain may start there. Somebody's
// virsh waits for the answer.
type plea struct {
	session *Session
	q       *agentv1.PermissionRequest
	at      time.Time
}

// pleas are the questions of agents: those that wait for the end of an
// arbitration, and what was answered to the latest, by session and nonce, so
// that a question that comes twice has one answer and one effect.
type pleas struct {
	waiting  map[string][]plea // by domain, in the order in which they came
	answered map[nonceKey]*agentv1.PermissionAnswer
	order    []nonceKey
	refused  map[string]string // by host and domain: what was last refused, which is said once
}

type nonceKey struct {
	session *Session
	nonce   string
}

const answersKept = 4096

func newPleas() pleas {
	return pleas{waiting: map[string][]plea{}, answered: map[nonceKey]*agentv1.PermissionAnswer{}, refused: map[string]string{}}
}

// permission takes a question. With an arbitration window the first that asks
// for a domain waits for others; else it is answered at once.
func (c *Core) permission(now time.Time, s *Session, q *agentv1.PermissionRequest) {
	if q.GetSession() != s.id || q.GetBootId() != s.boot {
		return // asked in another conversation: nobody waits there any more
	}
	key := nonceKey{s, q.GetNonce()}
	if a := c.asked.pleas.answered[key]; a != nil {
		c.sendAnswer(s, a)
		return
	}
	domain := q.GetDomain().GetUuid()
	p := plea{s, q, now}
	waiting := c.asked.pleas.waiting[domain]
	if slices.ContainsFunc(waiting, func(o plea) bool { return o.session == s && o.q.GetNonce() == q.GetNonce() }) {
		return
	}
	if c.pol.Arbitration <= 0 || c.heldBy(domain, s.host) {
		c.answer(p, now)
		return
	}
	c.asked.pleas.waiting[domain] = append(waiting, p)
}

func (c *Core) heldBy(domain string, h *host) bool {
	cl := c.claims[domain]
	return cl != nil && cl.Phase == store.Held && cl.Holder == h.Name
}

// arbitrate answers those whose window is over: the least risky first, and of
// equals the first.
func (c *Core) arbitrate(now time.Time) {
	for _, domain := range sortedKeys(c.asked.pleas.waiting) {
		ps := c.asked.pleas.waiting[domain]
		if now.Sub(ps[0].at) < c.pol.Arbitration {
			continue
		}
		delete(c.asked.pleas.waiting, domain)
		slices.SortStableFunc(ps, func(a, b plea) int {
			return cmp.Or(cmp.Compare(b2i(a.session.host.Risk.Hard), b2i(b.session.host.Risk.Hard)), cmp.Compare(a.session.host.Risk.P30d, b.session.host.Risk.P30d))
		})
		for _, p := range ps {
			if p.session.live() {
				c.answer(p, now)
			}
		}
	}
}

// answer grants or refuses, and remembers which. A grant is durable before it is
// sent.
func (c *Core) answer(p plea, now time.Time) {
	h, q := p.session.host, p.q
	a := c.judge(h, q, now)
	a.Nonce, a.BootId, a.Session, a.Domain = q.GetNonce(), q.GetBootId(), q.GetSession(), q.GetDomain().GetUuid()
	a.Generation, a.Term = c.id.Generation, c.id.Term
	k := &c.asked.pleas
	key := nonceKey{p.session, q.GetNonce()}
	k.answered[key], k.order = a, append(k.order, key)
	if len(k.order) > answersKept {
		delete(k.answered, k.order[0])
		k.order = slices.Delete(k.order, 0, 1)
	}
	c.sendAnswer(p.session, a)
	told := h.Name + " " + a.Domain
	if a.Granted {
		delete(k.refused, told)
		return
	}
	c.log.Info("permission refused", "host", h.Name, "domain", a.Domain, "kind", q.GetKind().String(), "reason", a.Reason)
	if k.refused[told] != a.Reason && a.Domain != "" {
		k.refused[told] = a.Reason
		c.event(now, store.Event{Kind: "start.refused", Severity: store.Warning, Host: h.Name, Domain: a.Domain, Who: "agent " + h.Name, Text: a.Reason})
	}
}

func (c *Core) sendAnswer(s *Session, a *agentv1.PermissionAnswer) {
	c.send(s, &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Permission{Permission: a}})
}

// forgetPleas drops what was asked in a conversation that is over.
func (c *Core) forgetPleas(s *Session) {
	k := &c.asked.pleas
	for domain, ps := range k.waiting {
		ps = slices.DeleteFunc(ps, func(p plea) bool { return p.session == s })
		if len(ps) == 0 {
			delete(k.waiting, domain)
		} else {
			k.waiting[domain] = ps
		}
	}
	k.order = slices.DeleteFunc(k.order, func(key nonceKey) bool {
		if key.session == s {
			delete(k.answered, key)
		}
		return key.session == s
	})
}

func refuse(r agentv1.Refusal, format string, args ...any) *agentv1.PermissionAnswer {
	return &agentv1.PermissionAnswer{Refusal: r, Reason: fmt.Sprintf(format, args...)}
}

// judge decides about one question, and writes what it grants.
func (c *Core) judge(h *host, q *agentv1.PermissionRequest, now time.Time) *agentv1.PermissionAnswer {
	d := q.GetDomain()
	name := cmp.Or(d.GetName(), d.GetUuid())
	switch {
	case d.GetUuid() == "" || q.GetNonce() == "":
		return refuse(agentv1.Refusal_REFUSAL_INVALID, "the question of %s names no domain or no nonce", h.Name)
	case d.GetEpoch() > c.book.epoch:
		return refuse(agentv1.Refusal_REFUSAL_INVALID, "%s knows epoch %d of %s, and the store has given out %d: the store is older than what was promised", h.Name, d.GetEpoch(), name, c.book.epoch)
	case c.recovering():
		return refuse(agentv1.Refusal_REFUSAL_UNAVAILABLE, "the manager's store was restored and waits for every host: nobody can say who may run %s", name)
	case c.book.full:
		return refuse(agentv1.Refusal_REFUSAL_UNAVAILABLE, "the manager's disk is full: nobody can be given %s", name)
	case !h.alive():
		return refuse(agentv1.Refusal_REFUSAL_UNAVAILABLE, "%s has not reported completely yet (%s)", h.Name, h.why)
	}
	cl := c.claims[d.GetUuid()]
	if q.GetKind() == agentv1.StartKind_START_KIND_INCOMING {
		return c.judgeIncoming(h, cl, q, now)
	}
	if cl != nil {
		return c.judgeClaimed(h, cl, d, now)
	}
	if m := c.moveOf(d.GetUuid()); m != nil && m.row.Epoch != 0 {
		return refuse(agentv1.Refusal_REFUSAL_TRANSFERRING, "a move of %s from %s to %s is not over (%s)", name, m.row.Source, m.row.Target, m.row.ID)
	}
	if where := c.runsElsewhere(d.GetUuid(), h); len(where) > 0 {
		return runsThere(name, where)
	}
	want := wanted(d, h.Name)
	if no := c.notHere(h, false); no != nil {
		a := refuse(agentv1.Refusal_REFUSAL_HOST, "%s takes nothing new: %s", h.Name, no.why)
		return c.withBetter(a, h, want, now)
	}
	next := store.Claim{
		Domain: d.GetUuid(), Name: d.GetName(), Holder: h.Name, Phase: store.Held, Seen: now, Since: now, GrantedBy: "start on " + h.Name,
		RiskAtGrant: h.Risk.P30d, MemoryKiB: d.GetMemoryKib(),
	}
	return c.give(h, 0, 0, next, now)
}

// runsThere refuses what was last seen at work on other hosts.
func runsThere(name string, where []string) *agentv1.PermissionAnswer {
	a := refuse(agentv1.Refusal_REFUSAL_HELD, "%s was last seen at work on %s", name, strings.Join(where, " and "))
	a.Holder = where[0]
	return a
}

// judgeClaimed answers about a domain of which somebody holds the claim. What
// the asker holds already is written again: a permission that was only read
// could be undone by what is still under way.
func (c *Core) judgeClaimed(h *host, cl *claim, d *agentv1.Domain, now time.Time) *agentv1.PermissionAnswer {
	var a *agentv1.PermissionAnswer
	switch {
	case cl.Phase == store.Transferring:
		a = refuse(agentv1.Refusal_REFUSAL_TRANSFERRING, "%s", standsAgainst(cl.Claim))
	case cl.Phase == store.Ambiguous:
		a = refuse(agentv1.Refusal_REFUSAL_AMBIGUOUS, "%s: vireo claims resolve", standsAgainst(cl.Claim))
	case c.busyMove(cl.Domain):
		m := c.moveOf(cl.Domain)
		a = refuse(agentv1.Refusal_REFUSAL_TRANSFERRING, "a move of %s from %s to %s is not over (%s)", cl.Name, m.row.Source, m.row.Target, m.row.ID)
	case cl.Holder != h.Name:
		a = refuse(agentv1.Refusal_REFUSAL_HELD, "%s", standsAgainst(cl.Claim))
	case len(c.runsElsewhere(cl.Domain, h)) > 0:
		// A restored store's claim may be older than the move that took the guest away.
		return runsThere(cl.Name, c.runsElsewhere(cl.Domain, h))
	default:
		next := cl.Claim
		next.Name, next.Seen = cmp.Or(d.GetName(), cl.Name), now
		next.MemoryKiB = cmp.Or(d.GetMemoryKib(), cl.MemoryKiB)
		return c.give(h, cl.Epoch, cl.MemoryKiB, next, now)
	}
	a.Holder, a.HolderEpoch, a.Since = cl.Holder, cl.Epoch, timestamppb.New(cl.Since)
	return a
}

// give writes a claim with the next epoch, if the host has room for what it adds
// to what counts there already.
func (c *Core) give(h *host, expected, counted uint64, next store.Claim, now time.Time) *agentv1.PermissionAnswer {
	capacity := c.pol.Decide.CapacityKiB(h.Facts.MemoryKiB)
	err := c.update("granting "+next.Domain, func(tx store.Tx) error {
		if next.MemoryKiB > counted {
			if err := room(tx, h.Name, capacity, next.MemoryKiB-counted); err != nil {
				return err
			}
		}
		epoch, err := tx.NextEpoch()
		if err != nil {
			return err
		}
		next.Epoch = epoch
		return tx.SwapClaim(expected, next)
	})
	name := cmp.Or(next.Name, next.Domain)
	switch {
	case errors.Is(err, errRefused):
		a := refuse(agentv1.Refusal_REFUSAL_CAPACITY, "%s has no room for %s: %s", h.Name, name, strings.TrimPrefix(err.Error(), "granting "+next.Domain+": "))
		return c.withBetter(a, h, c.knownDomain(next.Domain, h.Name), now)
	case errors.Is(err, store.ErrStale):
		return refuse(agentv1.Refusal_REFUSAL_HELD, "somebody was faster with the claim of %s", name)
	case err != nil:
		return refuse(agentv1.Refusal_REFUSAL_UNAVAILABLE, "the permission for %s could not be written: %s", name, err)
	}
	c.setClaim(next.Domain, next, false)
	cl := c.claims[next.Domain]
	cl.fresh, cl.promised = false, promise{h.session, now} // the answer tells it
	if expected == 0 {
		c.event(now, store.Event{Kind: "claim.granted", Host: h.Name, Domain: next.Domain, Who: "agent " + h.Name, Text: fmt.Sprintf("%s may run %s: epoch %d", h.Name, name, next.Epoch)})
	}
	return &agentv1.PermissionAnswer{Granted: true, Epoch: next.Epoch}
}

// promise is a permission that was sent and of which the agent has not shown
// that it has it: until then what it shows is older.
type promise struct {
	session *Session
	at      time.Time
}

// useOfPromise is how long a permission may still be on its way into use: agents
// wait two seconds for it, and a report follows.
const useOfPromise = 5 * time.Second

// promised says whether a holder may be about to make use of a permission that
// its word does not show yet. Asking for it back would be refused.
func (c *Core) promised(cl *claim, h *host, s *sight, now time.Time) bool {
	p := cl.promised
	return p.session != nil && p.session == h.session && s.GetEpoch() < cl.Epoch && now.Sub(p.at) < useOfPromise
}

// withBetter names a better host in a refusal.
func (c *Core) withBetter(a *agentv1.PermissionAnswer, h *host, d decide.Domain, now time.Time) *agentv1.PermissionAnswer {
	if a.BetterHost = c.better(h, d, now); a.BetterHost != "" {
		a.Reason += "; better: " + a.BetterHost
	}
	return a
}

// wanted is the domain that libvirt is about to run, as placement sees it.
func wanted(d *agentv1.Domain, at string) decide.Domain {
	out := decide.Domain{
		UUID: d.GetUuid(), Name: d.GetName(), Host: at, MemoryKiB: d.GetMemoryKib(), Machine: d.GetMachine(), CPUXML: d.GetCpuXml(),
		Bridges: d.GetBridges(), Networks: d.GetNetworks(),
	}
	for _, disk := range d.GetDisks() {
		out.Disks = append(out.Disks, decide.Disk{Target: disk.GetTarget(), Source: disk.GetSource(), Local: disk.GetLocal()})
	}
	return out
}

// refusalOf is an error of a verb as an agent's refusal.
func refusalOf(err error, otherwise agentv1.Refusal) *agentv1.PermissionAnswer {
	var e *apierr.Error
	if errors.As(err, &e) && e.Kind == apierr.Unavailable {
		otherwise = agentv1.Refusal_REFUSAL_UNAVAILABLE
	}
	return refuse(otherwise, "%s", err)
}
