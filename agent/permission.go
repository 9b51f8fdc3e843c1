package agent

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// HookConfig is what the agent is told about libvirt's hook. The zero value has
// no say.
type HookConfig struct {
	Mode       configs.HookMode
	Exempt     []string // names of domains that need no permission
	Optimistic bool     // see configs.Hook
}

// permissions are the questions of libvirt's hook.
type permissions struct {
	asked   map[string]*asking // by nonce
	last    uint64
	refused []*agentv1.RefusedStart // the latest last
}

// asking is one question: libvirt waits for its answer, or the agent itself has
// to make up for an autostart.
type asking struct {
	d       *domain
	op      hook.Operation
	subject virt.Domain
	allowed string // a person's reason
	kind    agentv1.StartKind
	nonce   string
	answer  func(hook.Answer) // nil when nobody's virsh waits
}

var startKinds = map[hook.Operation]agentv1.StartKind{
	hook.Prepare: agentv1.StartKind_START_KIND_START,
	hook.Restore: agentv1.StartKind_START_KIND_RESTORE,
	hook.Migrate: agentv1.StartKind_START_KIND_INCOMING,
}

// Hooked answers libvirt's hook, at once from memory or, after asking the
// leader, within hook.AskWait. answer is called once, inside the loop that owns
// the Core. From the question until the domain has a process or the start has
// failed, libvirt answers nobody about the domain: a look that is begun after a
// yes shows what became of it.
func (c *Core) Hooked(r hook.Request, now time.Time, answer func(hook.Answer)) {
	c.step++
	if !c.hooks() {
		answer(hook.Answer{Allow: true})
		return
	}
	q := &asking{op: r.Operation, allowed: r.Allowed, kind: startKinds[r.Operation], answer: answer}
	subject, err := hook.Subject(r)
	if err != nil {
		q.subject = virt.Domain{Name: r.Name}
		c.deny(q, err.Error(), now)
		return
	}
	q.subject, q.d = subject, c.domain(subject.UUID)
	q.d.Name = subject.Name
	switch j := c.judge(q); j.Decision {
	case hook.Permit:
		c.permit(q, j.Ground, now)
	case hook.Admit:
		c.admit(q, now)
	case hook.Ask:
		c.askLeader(q, j.Reason, now)
	default:
		c.deny(q, j.Reason, now)
	}
}

// hooks says whether the hook has a say on this host.
func (c *Core) hooks() bool {
	return c.cfg.Hook.Mode == configs.HookEnforce || c.cfg.Hook.Mode == configs.HookObserve
}

func (c *Core) judge(q *asking) hook.Judgement {
	return hook.Judge(q.op, q.subject, hook.Memory{
		// Between libvirt's migrate and prepare the copy that comes in is there already, without a definition.
		Domain: q.d.Domain, Known: q.d.known && q.d.seen.Persistent, Moving: q.d.moving(),
		Exempt: slices.Contains(c.cfg.Hook.Exempt, q.subject.Name), Allowed: q.allowed,
	})
}

// moving says whether an order to move the domain away has come and is not
// journaled yet.
func (d *domain) moving() bool {
	is := func(o *agentv1.Order) bool { return o.GetMove() != nil }
	return d.lane.running != nil && is(d.lane.running) || slices.ContainsFunc(d.lane.waiting, is)
}

// permit journals that the start is in progress, which lasts until libvirt shows
// what became of it, and answers yes.
func (c *Core) permit(q *asking, ground journal.Ground, now time.Time) {
	if q.op != hook.Prepare {
		c.say(q, hook.Answer{Allow: true}) // prepare follows, and decides
		return
	}
	if err := c.begins(q.d, q.d.Clone(), ground, now); err != nil {
		c.deny(q, fmt.Sprintf("a start of %s can't be recorded: %v", q.subject.Name, err), now)
		return
	}
	if ground != "" {
		text := fmt.Sprintf("%s starts without a claim (%s)", q.subject.Name, ground)
		if q.allowed != "" && ground == journal.Allowed {
			text += ": " + q.allowed
		}
		c.note(now, q.d.UUID, text)
	}
	c.say(q, hook.Answer{Allow: true})
}

// begins journals next with a start in progress, and follows it.
func (c *Core) begins(d *domain, next journal.Domain, ground journal.Ground, now time.Time) error {
	next.Starts = []journal.Start{{At: now.Round(0), Ground: ground}}
	next.Unclaimed = ground
	if err := c.commit(d, next, now); err != nil {
		return err
	}
	d.started = c.step
	d.touched = c.step
	c.sight(d)
	c.look(d, now)
	return nil
}

// admit lets the attempt's copy come in, once.
func (c *Core) admit(q *asking, now time.Time) {
	if q.op == hook.Prepare {
		next := q.d.Clone()
		next.Attempt.Arrival.Admitted = true
		if err := c.commit(q.d, next, now); err != nil {
			c.deny(q, fmt.Sprintf("the arrival of %s can't be recorded: %v", q.subject.Name, err), now)
			return
		}
		q.d.touched = c.step // a look that was begun before does not show it
		c.look(q.d, now)
	}
	c.say(q, hook.Answer{Allow: true})
}

func (c *Core) say(q *asking, a hook.Answer) {
	if q.answer != nil {
		q.answer(a)
	}
}

// refusalsKept is how many refused starts a report tells of.
const refusalsKept = 32

// deny refuses, or says what would have been refused where the hook only
// observes.
func (c *Core) deny(q *asking, reason string, now time.Time) {
	observed := c.cfg.Hook.Mode == configs.HookObserve
	r := &agentv1.RefusedStart{
		Domain: q.subject.UUID, Name: q.subject.Name, Kind: q.kind, At: timestamppb.New(now), Reason: reason, Allowed: observed,
	}
	c.permissions.refused = append(c.permissions.refused, r)
	if len(c.permissions.refused) > refusalsKept {
		c.permissions.refused = slices.Delete(c.permissions.refused, 0, 1)
	}
	what := "start of %s refused: %s"
	if q.kind == agentv1.StartKind_START_KIND_INCOMING {
		what = "migration of %s to this host refused: %s"
	}
	if observed {
		what = "observed only: " + what
	}
	c.note(now, q.subject.UUID, fmt.Sprintf(what, q.subject.Name, reason))
	if observed && q.d != nil && q.op == hook.Prepare {
		// It runs, whether that can be journaled or not.
		if err := c.begins(q.d, q.d.Clone(), journal.Observed, now); err != nil {
			c.Log.Warn("a start is not recorded", "domain", q.d.UUID, "error", err)
		}
	}
	c.say(q, hook.Answer{Allow: observed, Message: reason})
}

// askLeader asks for what this host does not hold.
func (c *Core) askLeader(q *asking, reason string, now time.Time) {
	if c.link.session == "" {
		c.away(q, reason+", and the manager is away", now)
		return
	}
	p := &c.permissions
	p.last++
	q.nonce = fmt.Sprintf("%s-%x-%d", c.host.Name, c.began.UnixNano(), p.last)
	if p.asked == nil {
		p.asked = map[string]*asking{}
	}
	p.asked[q.nonce] = q
	c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Permission{Permission: &agentv1.PermissionRequest{
		Nonce: q.nonce, BootId: c.host.BootID, Session: c.link.session, Kind: q.kind,
		Domain: c.wanted(q), Wait: durationpb.New(hook.AskWait),
	}}})
	c.later(now.Add(hook.AskWait), func(now time.Time) {
		if p.asked[q.nonce] == q {
			delete(p.asked, q.nonce)
			c.away(q, fmt.Sprintf("%s, and the manager has not answered in %s", reason, hook.AskWait), now)
		}
	})
}

// wanted is the domain as libvirt is about to run it.
func (c *Core) wanted(q *asking) *agentv1.Domain {
	was, s := &domain{Domain: q.d.Domain, known: true, seen: Seen{Domain: q.subject}}, q.d
	was.seen.ID = virt.Inactive
	out := c.show(was)
	out.State, out.Reason = agentv1.DomainState_DOMAIN_STATE_NONE, ""
	out.StartInProgress = false
	if q.op == hook.Migrate {
		out.LiveAttempt = q.subject.Attempt
	}
	if s.known {
		out.State = agentv1.DomainState_DOMAIN_STATE_SHUTOFF
		out.Persistent, out.Autostart, out.ManagedSave = s.seen.Persistent, s.seen.Autostart, s.seen.ManagedSave
	}
	return out
}

// away decides what happens when nobody answers who could grant it.
func (c *Core) away(q *asking, reason string, now time.Time) {
	switch {
	case q.answer == nil:
		return // still owed: it is asked again
	case q.d.leaving() != nil:
		c.deny(q, reason, now) // the guest may be the target's
		return
	case c.cfg.Hook.Optimistic && q.op != hook.Migrate && c.protected(q.subject):
		c.permit(q, journal.Optimistic, now)
		return
	}
	if c.cfg.Hook.Mode == configs.HookEnforce && q.op != hook.Migrate {
		c.learn(q.d, func(n *journal.Domain) { n.Owed = now.Round(0) })
	}
	c.deny(q, reason, now)
}

func (c *Core) protected(d virt.Domain) bool {
	f := c.libvirt.facts
	return virt.Protect(d.Config, f.LockManager, f.LockManagerKnown).Protected
}

// deserted deals with the questions that the leader was asked in a session that is
// over: no answer will come.
func (c *Core) deserted(now time.Time) {
	all := c.permissions.asked
	c.permissions.asked = nil
	for _, q := range sortedAsking(all) {
		c.away(q, fmt.Sprintf("this host does not hold the claim of %s, and the manager went away", q.subject.Name), now)
	}
}

func sortedAsking(all map[string]*asking) []*asking {
	out := make([]*asking, 0, len(all))
	for _, q := range all {
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b *asking) int {
		if len(a.nonce) != len(b.nonce) {
			return len(a.nonce) - len(b.nonce)
		}
		if a.nonce < b.nonce {
			return -1
		}
		return 1
	})
	return out
}

// granted takes the leader's answer. One that comes too late, or that nobody
// here has asked for, changes nothing.
func (c *Core) granted(a *agentv1.PermissionAnswer, now time.Time) {
	q := c.permissions.asked[a.GetNonce()]
	if q == nil {
		c.Log.Warn("nobody waits for this permission", "domain", a.GetDomain(), "epoch", a.GetEpoch(), "granted", a.GetGranted())
		return
	}
	delete(c.permissions.asked, a.GetNonce())
	if why := c.astray(q, a); why != "" {
		c.away(q, why, now)
		return
	}
	if err := c.adopt(a.GetGeneration(), a.GetTerm()); err != nil {
		c.away(q, err.Error(), now)
		return
	}
	switch {
	case !a.GetGranted() && a.GetRefusal() == agentv1.Refusal_REFUSAL_UNAVAILABLE:
		c.away(q, a.GetReason(), now)
	case !a.GetGranted():
		c.learn(q.d, func(n *journal.Domain) { n.Owed = time.Time{} }) // somebody has spoken
		c.deny(q, a.GetReason(), now)
	default:
		c.take(q, a, now)
	}
}

// astray says why an answer is not the one to this question.
func (c *Core) astray(q *asking, a *agentv1.PermissionAnswer) string {
	switch {
	case a.GetBootId() != c.host.BootID || a.GetSession() != c.link.session || a.GetDomain() != q.d.UUID:
		return fmt.Sprintf("the manager's answer is for another boot, session or domain than that of %s", q.subject.Name)
	case a.GetGranted() && (a.GetEpoch() == 0 || a.GetGeneration() == q.d.Generation && a.GetEpoch() <= q.d.Epoch):
		return fmt.Sprintf("the manager's permission for %s has epoch %d, this host knows %d", q.subject.Name, a.GetEpoch(), q.d.Epoch)
	}
	return ""
}

// take journals a permission and makes use of it, if nothing that has happened
// since forbids it.
func (c *Core) take(q *asking, a *agentv1.PermissionAnswer, now time.Time) {
	d := q.d
	if j := c.judge(q); j.Decision == hook.Refuse {
		c.deny(q, j.Reason, now)
		return
	}
	next := d.Clone()
	next.Generation, next.Epoch, next.Owed = a.GetGeneration(), a.GetEpoch(), time.Time{}
	old, over := d.Attempt, closeDeparture(&next)
	if q.kind == agentv1.StartKind_START_KIND_INCOMING {
		c.expect(q, a, next, now)
		return
	}
	next.Phase, next.Confirmed, next.Unclaimed = journal.Held, true, ""
	var err error
	switch {
	case q.answer == nil:
		c.startOwed(d, next, now)
		return
	case q.op == hook.Restore:
		err = c.commit(d, next, now)
	default:
		err = c.begins(d, next, "", now)
	}
	if err != nil {
		c.deny(q, fmt.Sprintf("the permission for %s can't be recorded: %v", q.subject.Name, err), now)
		return
	}
	if over {
		c.unwatch(d, old)
	}
	c.say(q, hook.Answer{Allow: true})
}

// expect journals a migration by hand for which the leader has opened a
// transfer: its copy carries no id of this attempt, and is let in once.
func (c *Core) expect(q *asking, a *agentv1.PermissionAnswer, next journal.Domain, now time.Time) {
	d := q.d
	switch {
	case d.known:
		c.deny(q, fmt.Sprintf("%s is defined here already: a migration by hand could be mixed up with a start", q.subject.Name), now)
		return
	case a.GetAttempt() == "" || d.open() != nil:
		c.deny(q, fmt.Sprintf("another move of %s is open here", q.subject.Name), now)
		return
	}
	old := d.Attempt
	retire(&next)
	next.Phase, next.Confirmed = journal.Transferring, false
	next.Attempt = &journal.Attempt{ID: a.GetAttempt(), Role: journal.Target, Stage: journal.Prepared, Arrival: &journal.Arrival{
		Source: a.GetSource(), Name: q.subject.Name, MemoryKiB: q.subject.MaxMemoryKiB, ByHand: true, Carries: q.subject.Attempt,
	}}
	if err := c.commit(d, next, now); err != nil {
		c.deny(q, fmt.Sprintf("the arrival of %s can't be recorded: %v", q.subject.Name, err), now)
		return
	}
	c.unwatch(d, old)
	c.sight(d)
	c.say(q, hook.Answer{Allow: true})
}
