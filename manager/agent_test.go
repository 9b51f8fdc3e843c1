package manager

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

type process string

const (
	none    process = ""
	running process = "running"
	stopped process = "stopped" // by the move, or by the guard
)

// fakeHost is a host with its agent and libvirt: a small, honest one that does
// what the protocol of moves asks, and the faults that a test switches on.
type fakeHost struct {
	w           *world
	name        string
	index       int
	boot        string
	session     *Session
	id          string // of the session
	seq         uint64
	asked       uint64
	domains     map[string]*fakeDomain
	takes       bool
	unproven    bool // libvirtd was not seen to call the hook
	hookProblem string
	inbox       []*agentv1.ManagerMessage
	outbox      []*agentv1.AgentMessage

	memory   uint64
	libvirtd bool
	away     bool // no session
	frozen   bool // a session, and silence
	overfull bool // a test has put more there than fits
	reported time.Time

	refusePrepare string
	failMove      string // libvirt's message; the call fails before anything moved
	stallAt       int    // libvirt's step at which migrations from here stay
	loseFinish    bool   // libvirt's Finish is lost: the source runs on, the copy stays
	bridges       []string

	generation, term uint64 // the highest that its agent has seen, besides this manager's

	owes    []string // autostarts that were refused after the boot
	answers []*agentv1.PermissionAnswer
}

type fakeDomain struct {
	name                  string
	proc                  process
	persistent, autostart bool
	memory                uint64
	planted               bool // a test makes it run twice
	saved                 bool
	disk                  string // "": its own

	generation, epoch                        uint64
	phase                                    agentv1.ClaimPhase
	attempt                                  string
	state                                    agentv1.AttemptState
	role                                     agentv1.Role
	call                                     agentv1.Call
	callError                                string
	gone                                     agentv1.Gone
	live                                     string
	complete                                 bool
	job                                      bool
	guard, moved, forgotten                  bool // why it is stopped
	to                                       string
	progress                                 int
	cpu                                      time.Duration
	stoppedAt, goneAt, completeAt, resumedAt time.Time
}

// Send and Close implement serve.Link.
func (h *fakeHost) Send(m *agentv1.ManagerMessage) error {
	h.inbox = append(h.inbox, m)
	return nil
}

func (h *fakeHost) Close(error) {}

func (h *fakeHost) connect() {
	h.seq, h.asked, h.inbox, h.outbox = 0, 0, nil, nil
	h.w.do(func() {
		h.session = h.w.core.Connect(h.w.now, peer(h.name), &agentv1.Hello{
			Identity: &agentv1.Identity{Host: h.name, LibvirtHostUuid: "uuid-" + h.name, MachineId: "machine-" + h.name},
			BootId:   h.boot, Protocol: 1, AgentVersion: "test", Generation: max(h.generation, 1), Term: h.term,
		}, h)
	})
}

func (h *fakeHost) disconnect() {
	s := h.session
	h.away, h.inbox, h.outbox = true, nil, nil
	h.w.do(func() { h.w.core.Closed(h.w.now, s, nil) })
	h.w.settle()
}

func (h *fakeHost) reconnect() {
	h.away = false
	h.connect()
	h.w.settle()
}

// reboot loses every process and the journal.
func (h *fakeHost) reboot() {
	h.disconnect()
	h.boot += "+"
	h.takes = false
	for id, d := range h.domains {
		if !d.persistent {
			delete(h.domains, id)
			continue
		}
		h.domains[id] = &fakeDomain{name: d.name, persistent: true, autostart: d.autostart, memory: d.memory}
	}
	h.reconnect()
}

func (h *fakeHost) report() {
	h.reported = h.w.now
	r := &agentv1.Report{
		Identity: &agentv1.Identity{Host: h.name}, BootId: h.boot, Session: h.id, Seq: h.next(), Asked: h.asked, Libvirtd: h.libvirtd,
		TakesNothing: h.takes, HookMode: agentv1.HookMode_HOOK_MODE_OBSERVE, HookProven: !h.unproven, HookProblem: h.hookProblem,
		Facts: &agentv1.HostFacts{
			MemoryKib: h.memory, Cpus: 8, Arch: "x86_64", MachineTypes: []string{"pc-q35-7.2"}, Bridges: append([]string{"br0"}, h.bridges...),
			PeerUri: "qemu+tls://" + h.name + "/system",
		},
	}
	for _, id := range h.owes {
		r.RefusedStarts = append(r.RefusedStarts, &agentv1.RefusedStart{Domain: id, Owed: true})
	}
	if h.libvirtd {
		for _, id := range slices.Sorted(maps.Keys(h.domains)) {
			r.Domains = append(r.Domains, h.show(id))
		}
	}
	h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Report{Report: r}})
}

func (h *fakeHost) sight(id string) {
	h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Sighting{Sighting: &agentv1.Sighting{
		BootId: h.boot, Session: h.id, Seq: h.next(), Asked: h.asked, Domain: h.show(id)}}})
}

func (h *fakeHost) out(m *agentv1.AgentMessage) {
	if !h.away && !h.frozen && h.id != "" {
		h.outbox = append(h.outbox, m)
	}
}

func (h *fakeHost) next() uint64 {
	h.seq++
	return h.seq
}

func (h *fakeHost) show(id string) *agentv1.Domain {
	d := h.domains[id]
	if d == nil {
		return &agentv1.Domain{Uuid: id, State: agentv1.DomainState_DOMAIN_STATE_NONE}
	}
	if d.proc == running {
		d.cpu += time.Millisecond
	}
	out := &agentv1.Domain{
		Uuid: id, Name: d.name, Persistent: d.persistent, Autostart: d.autostart, MemoryKib: d.memory, Vcpus: 1, Machine: "pc-q35-7.2", Bridges: []string{"br0"},
		ManagedSave: d.saved,
		Disks:       []*agentv1.Disk{{Target: "vda", Type: "network", Source: cmp.Or(d.disk, "nbd:"+d.name)}},
		Epoch:       d.epoch, Phase: d.phase, Attempt: d.attempt, AttemptState: d.state, Role: d.role, Call: d.call, CallError: d.callError, Gone: d.gone,
		LiveAttempt: d.live, Complete: d.complete, CpuTime: durationpb.New(d.cpu),
	}
	if d.persistent {
		out.Definition = "<domain/>"
	}
	switch d.proc {
	case running:
		out.State = agentv1.DomainState_DOMAIN_STATE_RUNNING
	case stopped:
		out.State = agentv1.DomainState_DOMAIN_STATE_PAUSED
		switch {
		case d.guard:
			out.Pause = agentv1.Pause_PAUSE_GUARD
		case d.moved:
			out.Pause = agentv1.Pause_PAUSE_MOVE
		case d.forgotten:
		default:
			out.Pause = agentv1.Pause_PAUSE_OWNER
		}
	default:
		out.State = agentv1.DomainState_DOMAIN_STATE_NONE
		if d.persistent {
			out.State = agentv1.DomainState_DOMAIN_STATE_SHUTOFF
		}
	}
	if d.job {
		out.Job = &agentv1.Job{Operation: map[bool]string{true: "migration-in", false: "migration-out"}[d.guard], DataTotal: 1 << 30, DataRemaining: 1 << 29}
	}
	for to, at := range map[**timestamppb.Timestamp]time.Time{&out.StoppedAt: d.stoppedAt, &out.GoneAt: d.goneAt, &out.CompleteAt: d.completeAt, &out.ResumedAt: d.resumedAt} {
		if !at.IsZero() {
			*to = timestamppb.New(at)
		}
	}
	return out
}

// take is the agent's side of one message.
func (h *fakeHost) take(m *agentv1.ManagerMessage) {
	switch b := m.GetBody().(type) {
	case *agentv1.ManagerMessage_Welcome:
		if b.Welcome.GetRefused() == "" {
			h.id = b.Welcome.GetSession()
			h.report()
		}
	case *agentv1.ManagerMessage_Ask:
		h.asked = b.Ask.GetId()
		h.report()
	case *agentv1.ManagerMessage_Order:
		o := b.Order
		if h.w.lose != nil && h.w.lose(h.name, o) {
			h.w.say("%s: order %s is lost", h.name, o.GetId())
			return
		}
		h.obey(clone(o))
		if h.w.dup != nil && h.w.dup(h.name, o) {
			h.obey(clone(o))
		}
	case *agentv1.ManagerMessage_Permission:
		h.answers = append(h.answers, b.Permission)
		if d := h.domains[b.Permission.GetDomain()]; d != nil && b.Permission.GetGranted() {
			d.epoch, d.phase = b.Permission.GetEpoch(), agentv1.ClaimPhase_CLAIM_PHASE_HELD
		}
	case *agentv1.ManagerMessage_Virsh:
		h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Virsh{Virsh: &agentv1.VirshResult{Id: b.Virsh.GetId(), Stdout: []byte(h.name + "\n")}}})
	}
}

func (h *fakeHost) obey(o *agentv1.Order) {
	d := h.domains[o.GetDomain()]
	if d == nil && o.GetDomain() != "" {
		d = &fakeDomain{}
		h.domains[o.GetDomain()] = d
	}
	outcome, why := agentv1.Outcome_OUTCOME_DONE, ""
	kind := ""
	refuse := func(text string) { outcome, why = agentv1.Outcome_OUTCOME_REFUSED, text }
	mine := d != nil && d.attempt == o.GetAttempt()
	if o.GetBootId() != h.boot || o.GetSession() != h.id || d != nil && o.GetGeneration() == d.generation && o.GetEpoch() < d.epoch {
		refuse("an old order")
		h.answer(o, "old", outcome, why)
		return
	}
	if d != nil {
		d.generation, d.epoch = o.GetGeneration(), o.GetEpoch()
	}
	switch b := o.GetBody().(type) {
	case *agentv1.Order_TakeNothing:
		kind, h.takes = "take nothing", b.TakeNothing.GetOn()
	case *agentv1.Order_Confirm:
		kind, d.phase = "confirm", agentv1.ClaimPhase_CLAIM_PHASE_HELD
	case *agentv1.Order_Release:
		kind = "release"
		if d.proc != none {
			refuse("a process is here")
		} else {
			d.phase = agentv1.ClaimPhase_CLAIM_PHASE_RELEASED
		}
	case *agentv1.Order_Prepare:
		kind = "prepare"
		switch {
		case mine && d.state == agentv1.AttemptState_ATTEMPT_STATE_VOID:
			refuse("void")
		case h.takes:
			refuse("takes nothing new")
		case h.refusePrepare != "":
			refuse(h.refusePrepare)
		case !mine:
			*d = fakeDomain{name: b.Prepare.GetDomain().GetName(), memory: b.Prepare.GetDomain().GetMemoryKib(), generation: d.generation, epoch: d.epoch, persistent: d.persistent, autostart: d.autostart,
				attempt: o.GetAttempt(), role: agentv1.Role_ROLE_TARGET, state: agentv1.AttemptState_ATTEMPT_STATE_PREPARED, phase: agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING}
		}
	case *agentv1.Order_Move:
		kind = "move"
		switch {
		case mine && d.state == agentv1.AttemptState_ATTEMPT_STATE_VOID:
			refuse("void")
		case mine:
			outcome = agentv1.Outcome_OUTCOME_BEGUN
		case d.proc != running:
			refuse("it does not run")
		default:
			outcome = agentv1.Outcome_OUTCOME_BEGUN
			d.attempt, d.role, d.state = o.GetAttempt(), agentv1.Role_ROLE_SOURCE, agentv1.AttemptState_ATTEMPT_STATE_STARTED
			d.phase, d.call, d.to, d.progress = agentv1.ClaimPhase_CLAIM_PHASE_TRANSFERRING, agentv1.Call_CALL_OUT, b.Move.GetTarget(), 0
			d.gone, d.callError = 0, ""
		}
	case *agentv1.Order_Abort:
		kind = "abort"
		if mine && d.call == agentv1.Call_CALL_OUT && d.proc == running {
			h.breakOff(o.GetDomain(), "operation aborted: migration out: canceled by client")
		}
	case *agentv1.Order_Resume:
		kind = "resume"
		switch {
		case !mine || d.state == agentv1.AttemptState_ATTEMPT_STATE_VOID || d.proc == none:
			refuse("no copy of this attempt")
		case d.proc == stopped:
			d.proc, d.guard, d.resumedAt = running, false, h.w.now
		}
		if outcome == agentv1.Outcome_OUTCOME_DONE {
			d.phase = agentv1.ClaimPhase_CLAIM_PHASE_HELD
		}
	case *agentv1.Order_Void:
		kind = "void"
		h.void(o, d, mine, refuse)
	case *agentv1.Order_ResumeOwn:
		kind = "resume own"
		if mine && d.state == agentv1.AttemptState_ATTEMPT_STATE_VOID && d.proc == stopped && d.moved {
			d.proc, d.moved = running, false
		} else if d.proc != running {
			refuse("not void, or not stopped by the move")
		}
	case *agentv1.Order_DestroyOwn:
		kind = "destroy own"
		if mine && d.proc == stopped && d.moved {
			d.proc, d.gone, d.goneAt = none, agentv1.Gone_GONE_BY_THE_MOVE, h.w.now
		} else if d.proc != none {
			refuse("it is not stopped by the move")
		}
	case *agentv1.Order_Settle:
		kind = "settle"
		switch {
		case b.Settle.GetKeep():
			d.persistent = d.persistent || b.Settle.GetDefinition() != ""
			d.autostart, d.phase = b.Settle.GetAutostart(), agentv1.ClaimPhase_CLAIM_PHASE_HELD
		case d.proc != none:
			refuse("a process is here")
		case !mine && d.persistent:
			refuse("nothing is known here of the attempt: its leftovers are removed by hand")
		default:
			d.persistent, d.autostart, d.phase = false, false, agentv1.ClaimPhase_CLAIM_PHASE_RELEASED
		}
		if mine && outcome == agentv1.Outcome_OUTCOME_DONE && d.state != agentv1.AttemptState_ATTEMPT_STATE_VOID {
			d.state = agentv1.AttemptState_ATTEMPT_STATE_ENDED
		}
	}
	h.answer(o, kind, outcome, why)
}

func (h *fakeHost) answer(o *agentv1.Order, kind string, outcome agentv1.Outcome, why string) {
	h.w.orders = append(h.w.orders, h.name+" "+kind+" "+o.GetDomain())
	h.w.say("%s: %s of %s, epoch %d: %s %s", h.name, kind, o.GetDomain(), o.GetEpoch(), outcome, why)
	h.out(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Result{Result: &agentv1.OrderResult{Order: o.GetId(), Outcome: outcome, Reason: why}}})
	if o.GetDomain() != "" {
		h.sight(o.GetDomain())
	}
}

func (h *fakeHost) void(o *agentv1.Order, d *fakeDomain, mine bool, refuse func(string)) {
	switch {
	case mine && d.role == agentv1.Role_ROLE_SOURCE && d.proc == none && d.gone == agentv1.Gone_GONE_BY_THE_MOVE:
		refuse("gone by the move")
		return
	case mine && d.call == agentv1.Call_CALL_OUT && d.proc != none:
		refuse("the call is out")
		return
	case d.role == agentv1.Role_ROLE_TARGET && mine && d.proc == running:
		refuse("it runs")
		return
	}
	if d.live == o.GetAttempt() && d.proc == stopped && d.guard {
		d.proc, d.live, d.complete, d.guard, d.job = none, "", false, false, false
	}
	if !mine {
		d.attempt = o.GetAttempt()
	}
	d.state, d.call = agentv1.AttemptState_ATTEMPT_STATE_VOID, agentv1.Call_CALL_ENDED
}

// breakOff ends a migration early: the source runs on.
func (h *fakeHost) breakOff(id, message string) {
	d := h.domains[id]
	d.call, d.callError, d.job = agentv1.Call_CALL_ENDED, message, false
	if b := h.w.hosts[d.to]; b != nil {
		if c := b.domains[id]; c != nil && c.live == d.attempt && c.proc == stopped {
			c.proc, c.live, c.job, c.guard, c.complete = none, "", false, false, false
			b.sight(id)
		}
	}
	h.sight(id)
}

// libvirt takes one step of each migration that leaves this host.
func (h *fakeHost) libvirt() {
	for _, id := range slices.Sorted(maps.Keys(h.domains)) {
		d := h.domains[id]
		if d.call != agentv1.Call_CALL_OUT || h.stallAt > 0 && d.progress >= h.stallAt {
			continue
		}
		b := h.w.hosts[d.to]
		c := b.domains[id]
		d.progress++
		switch d.progress {
		case 1:
			if h.failMove != "" {
				h.breakOff(id, h.failMove)
				continue
			}
			d.job = true
			c.proc, c.guard, c.live, c.job, c.persistent = stopped, true, d.attempt, true, d.persistent
			b.sight(id)
		case 3:
			d.proc, d.moved, d.stoppedAt = stopped, true, h.w.now
		case 4:
			c.complete, c.job, c.completeAt = true, false, h.w.now
			b.sight(id)
			if h.loseFinish {
				d.proc, d.moved, d.job, d.call, d.callError = running, false, false, agentv1.Call_CALL_ENDED, "operation failed: migration finished with no answer"
			}
		case 5:
			d.proc, d.job, d.gone, d.goneAt = none, false, agentv1.Gone_GONE_BY_THE_MOVE, h.w.now
		case 7:
			d.call, d.persistent = agentv1.Call_CALL_ENDED, false
		}
		h.sight(id)
	}
}
