package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

const (
	doneOutcome    = agentv1.Outcome_OUTCOME_DONE
	begunOutcome   = agentv1.Outcome_OUTCOME_BEGUN
	refusedOutcome = agentv1.Outcome_OUTCOME_REFUSED
	failedOutcome  = agentv1.Outcome_OUTCOME_FAILED
)

var ids int

// say makes an order of the attempt with its own id: body goes into the field of
// Order's oneof that is of its type.
func say(epoch uint64, attempt string, body proto.Message) *agentv1.Order {
	ids++
	o := &agentv1.Order{Id: "order-" + time.Duration(ids).String(), Epoch: epoch, Attempt: attempt}
	m := body.ProtoReflect()
	bodies := o.ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range bodies.Len() {
		if field := bodies.Get(i); field.Message() == m.Descriptor() {
			o.ProtoReflect().Set(field, protoreflect.ValueOfMessage(m))
			return o
		}
	}
	panic("no order has a " + string(m.Descriptor().FullName()))
}

// stage is two hosts with a guest on A and sessions open.
func stage(t *testing.T) (w *world, a, b *station) {
	t.Helper()
	w = newWorld(t, "A", "B")
	w.boot("A")
	a, b = w.hosts["A"], w.hosts["B"]
	a.open(5)
	b.open(5)
	a.mustSay(t, doneOutcome, "", say(10, "", &agentv1.Confirm{}))
	return w, a, b
}

// mustSay gives an order and checks outcome and reason.
func (s *station) mustSay(t *testing.T, want agentv1.Outcome, reason string, o *agentv1.Order) {
	t.Helper()
	r := s.order(o)
	if r.GetOutcome() != want || !strings.Contains(r.GetReason(), reason) {
		t.Fatalf("%s on %s: %s %q, want %s %q", kind(o), s.name, r.GetOutcome(), r.GetReason(), want, reason)
	}
}

func (s *station) prepares() *agentv1.Prepare {
	return &agentv1.Prepare{Source: "A", Domain: s.w.hosts["A"].sees()}
}

func (s *station) moves() *agentv1.Move {
	return &agentv1.Move{Target: "B", PeerUri: s.w.hosts["B"].host.URI()}
}

// arrive brings a move to where the copy waits complete on B, and A's process
// has gone.
func arrive(t *testing.T) (w *world, a, b *station) {
	t.Helper()
	w, a, b = stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("complete and gone", func() bool {
		return b.sees().GetComplete() && a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE
	})
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	return w, a, b
}

func TestOrdersThatAreNotForNow(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		change       func(*agentv1.Order)
	}{
		{"another boot", "boot", func(o *agentv1.Order) { o.BootId = "yesterday" }},
		{"another session", "session", func(o *agentv1.Order) { o.Session = "s-before" }},
		{"older term", "term 4 is older than 5", func(o *agentv1.Order) { o.Term = 4 }},
		{"older epoch", "epoch 9 is older than 10", func(o *agentv1.Order) { o.Epoch = 9 }},
		{"no epoch", "no epoch", func(o *agentv1.Order) { o.Epoch = 0 }},
		{"no domain", "no domain", func(o *agentv1.Order) { o.Domain = ""; o.Body = &agentv1.Order_Confirm{} }},
		{"no attempt", "no attempt", func(o *agentv1.Order) { o.Attempt = "" }},
		{"no kind", "does not know", func(o *agentv1.Order) { o.Body = nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, a, _ := stage(t)
			o := say(11, "m1", a.moves())
			o.Domain = guest
			tc.change(o)
			writes := a.writes
			if tc.name == "no domain" {
				o.Body = (&agentv1.Order{Body: &agentv1.Order_Confirm{Confirm: &agentv1.Confirm{}}}).Body
				o.Generation, o.Term, o.BootId, o.Session = 1, 5, a.host.BootID(), a.session
				a.do(func() {
					a.core.Received(&agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Order{Order: o}}, w.now())
				})
				w.settle()
				if r := a.results[o.Id]; r.GetOutcome() != refusedOutcome || !strings.Contains(r.GetReason(), tc.reason) {
					t.Fatalf("%v, want refused %q", r, tc.reason)
				}
			} else {
				a.mustSay(t, refusedOutcome, tc.reason, o)
			}
			if a.writes != writes {
				t.Errorf("the journal was written for it")
			}
		})
	}
}

func TestOlderGenerationIsRefused(t *testing.T) {
	_, a, _ := stage(t)
	newer := say(3, "", &agentv1.Confirm{})
	newer.Generation, newer.Term = 2, 1
	a.mustSay(t, doneOutcome, "", newer) // a restored store counts anew
	older := say(30, "", &agentv1.Confirm{})
	older.Generation, older.Term = 1, 9
	a.mustSay(t, refusedOutcome, "generation 1 is older than 2", older)
}

func TestWelcomeOfAnOlderManagerIsNoSession(t *testing.T) {
	w, a, _ := stage(t)
	a.close()
	err := a.core.Opened(&agentv1.Welcome{Session: "old", Generation: 1, Term: 4}, w.now())
	if err == nil || !strings.Contains(err.Error(), "term 4 is older than 5") {
		t.Errorf("opened by an older manager: %v", err)
	}
	if err := a.core.Opened(&agentv1.Welcome{Refused: "cloned"}, w.now()); err == nil || !strings.Contains(err.Error(), "cloned") {
		t.Errorf("opened though refused: %v", err)
	}
}

func TestSameOrderTwiceHasOneEffect(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	o := say(11, "m1", a.moves())
	a.mustSay(t, begunOutcome, "", o)
	writes := a.writes
	a.mustSay(t, begunOutcome, "", o)
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	if a.writes != writes {
		t.Errorf("the journal was written again")
	}
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	if msg := a.sees().GetCallError(); msg != "" {
		t.Errorf("the move failed: %s", msg)
	}
}

// TestObeyedOrderOfAnEarlierSession: what was obeyed then is no answer now.
func TestObeyedOrderOfAnEarlierSession(t *testing.T) {
	_, a, _ := stage(t)
	o := say(11, "", &agentv1.Confirm{})
	a.mustSay(t, doneOutcome, "", o)
	a.close()
	a.open(6)
	a.mustSay(t, refusedOutcome, "session", o)
}

func TestJournalThatCantBeWrittenRefuses(t *testing.T) {
	_, a, b := stage(t)
	a.fail, b.fail = errors.New("no space left on device"), errors.New("no space left on device")
	b.mustSay(t, refusedOutcome, "no space", say(11, "m1", b.prepares()))
	a.mustSay(t, refusedOutcome, "no space", say(11, "m1", a.moves()))
	a.mustSay(t, refusedOutcome, "no space", say(11, "m1", &agentv1.Void{}))
	r := a.order(say(0, "", &agentv1.TakeNothing{On: true}))
	if r.GetOutcome() != refusedOutcome {
		t.Errorf("take nothing without a journal: %v", r)
	}
	d, err := a.conn().Domain(t.Context(), guest)
	if err != nil || d.Job.Active() {
		t.Errorf("libvirt was called: %+v %v", d.Job, err)
	}
	a.fail = nil
	a.mustSay(t, begunOutcome, "", say(11, "m2", a.moves()))
}

func TestPrepareRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		change       func(t *testing.T, b *station, p *agentv1.Prepare)
	}{
		{"bridge", `no bridge "br7"`, func(_ *testing.T, _ *station, p *agentv1.Prepare) { p.Domain.Bridges = []string{"br7"} }},
		{"network", `no active network "blue"`, func(_ *testing.T, _ *station, p *agentv1.Prepare) { p.Domain.Networks = []string{"blue"} }},
		{"machine", `machine type "pc-q35-99.0"`, func(_ *testing.T, b *station, p *agentv1.Prepare) {
			b.host.SetInfo(func(i *virt.HostInfo) { i.Machines = []string{"pc-q35-7.2"} })
			p.Domain.Machine = "pc-q35-99.0"
		}},
		{"image", "/nowhere/at/all.img", func(_ *testing.T, _ *station, p *agentv1.Prepare) {
			p.Domain.Disks = append(p.Domain.Disks, &agentv1.Disk{Target: "vdb", Type: "file", Source: "/nowhere/at/all.img"})
		}},
		{"name", `the name "g1" belongs to`, func(t *testing.T, b *station, _ *agentv1.Prepare) {
			_, err := b.conn().Define(t.Context(), guestXML("g1", "99999999-2222-3333-4444-555555555501"))
			must(t, err)
		}},
		{"other disks", "defined here with other disks: vda", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			_, err := b.conn().Define(t.Context(), strings.Replace(guestXML("g1", guest), "protocol='nbd' name='g1'", "protocol='nbd' name='other'", 1))
			must(t, err)
		}},
		{"managed save", "managed save", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
			must(t, err)
			b.host.SetManagedSave(guest, true)
		}},
		{"running here", "a process of the domain is here already", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			must(t, b.w.hosts["A"].conn().Destroy(t.Context(), guest, expectNow(t, b.w.hosts["A"])))
			_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
			must(t, err)
			must(t, b.conn().Start(t.Context(), guest))
		}},
		{"takes nothing", "takes nothing new", func(t *testing.T, b *station, _ *agentv1.Prepare) {
			o := say(0, "", &agentv1.TakeNothing{On: true})
			b.mustSay(t, doneOutcome, "", o)
		}},
		{"another domain", "does not describe", func(_ *testing.T, _ *station, p *agentv1.Prepare) { p.Domain.Uuid = "other" }},
		{"CPU", "CPU", func(_ *testing.T, b *station, p *agentv1.Prepare) {
			p.Domain.CpuXml = "<cpu mode='custom' match='exact'><model>NoSuchModel</model></cpu>"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, b := stage(t)
			p := b.prepares()
			tc.change(t, b, p)
			b.mustSay(t, refusedOutcome, tc.reason, say(11, "m1", p))
			if d := b.core.domains[guest]; d.Attempt != nil || d.Epoch != 0 {
				t.Errorf("journaled though refused: %+v", d.Domain)
			}
		})
	}
}

func expectNow(t *testing.T, s *station) virt.Expect {
	t.Helper()
	d, err := s.conn().Domain(t.Context(), guest)
	must(t, err)
	return virt.Expect{ID: d.ID, State: d.State, Attempt: d.Attempt}
}

func TestMemoryIsPromisedOnce(t *testing.T) {
	want := &agentv1.Domain{Uuid: guest, Name: "g1", MemoryKib: 600}
	g := Ground{Facts: Facts{MemoryAvailableKiB: 1000}}
	if why := judge(want, g, 0); why != nil {
		t.Errorf("600 of 1000 KiB: %v", why)
	}
	if why := judge(want, g, 500); len(why) != 1 || !strings.Contains(why[0], "memory") {
		t.Errorf("600 of 1000 KiB with 500 promised: %v", why)
	}
	_, _, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	if have := b.core.reserved(""); have != 131072 {
		t.Errorf("reserved %d KiB, want the guest's 131072", have)
	}
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	if have := b.core.reserved(""); have != 0 {
		t.Errorf("reserved %d KiB after the attempt was voided", have)
	}
}

func TestVoidComesBeforeItsAttempt(t *testing.T) {
	_, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	b.mustSay(t, refusedOutcome, "void", say(11, "m1", b.prepares()))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "void", say(11, "m1", a.moves()))
	// It stays void when other attempts have come and gone, and over a restart.
	for i, id := range []string{"m2", "m3"} {
		epoch := uint64(12 + 2*i)
		b.mustSay(t, doneOutcome, "", say(epoch, id, b.prepares()))
		b.mustSay(t, doneOutcome, "", say(epoch, id, &agentv1.Void{}))
	}
	b.kill()
	b.start()
	b.open(5)
	b.mustSay(t, refusedOutcome, "void", say(20, "m1", b.prepares()))
}

func TestMoveThatCantBeginIsVoid(t *testing.T) {
	_, a, _ := stage(t)
	must(t, a.conn().Destroy(t.Context(), guest, expectNow(t, a)))
	a.mustSay(t, failedOutcome, "no process", say(11, "m1", a.moves()))
	if s := a.sees().GetAttemptState(); s != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("attempt is %s, want void", s)
	}
}

func TestSourceKeepsWhatHasGoneByTheMove(t *testing.T) {
	_, a, b := arrive(t)
	a.mustSay(t, refusedOutcome, "gone by the move", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "not void", say(11, "m1", &agentv1.ResumeOwn{}))
	b.mustSay(t, refusedOutcome, "not the source", say(11, "m1", &agentv1.DestroyOwn{}))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.DestroyOwn{})) // gone already, by the move
}

func TestVoidWaitsForTheCall(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	a.mustSay(t, refusedOutcome, "the migrate call is out", say(11, "m1", &agentv1.Void{}))
	w.until("the copy is on its way", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_PAUSED })
	b.mustSay(t, refusedOutcome, "still at work", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "under way here", say(12, "", &agentv1.Confirm{}))
	a.mustSay(t, refusedOutcome, "is not over", say(13, "m2", a.moves()))
	a.mustSay(t, refusedOutcome, "is the source of attempt m1", say(13, "m2", b.prepares()))
	a.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Abort{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Void{}))
}

// TestConfirmEndsAnArrival: a manager whose store was restored knows nothing of the
// move that brought the guest, and speaks of the next one.
func TestConfirmEndsAnArrival(t *testing.T) {
	_, _, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, doneOutcome, "", say(13, "", &agentv1.Confirm{}))
	if d := b.sees(); d.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_ENDED {
		t.Errorf("attempt %s is %s", d.GetAttempt(), d.GetAttemptState())
	}
	b.mustSay(t, doneOutcome, "", say(14, "m2", &agentv1.Void{}))
	if d := b.sees(); d.GetAttempt() != "m2" || d.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("attempt %s is %s", d.GetAttempt(), d.GetAttemptState())
	}
}

// TestReleaseWaitsForTheCall: an attempt is closed when nothing of it can happen
// any more, and its call takes the definition away last.
func TestReleaseWaitsForTheCall(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.until("gone by the move", func() bool { return a.sees().GetGone() == agentv1.Gone_GONE_BY_THE_MOVE })
	if a.sees().GetCall() != agentv1.Call_CALL_OUT {
		t.Fatalf("the call is %s", a.sees().GetCall())
	}
	a.mustSay(t, refusedOutcome, "is out", say(12, "", &agentv1.Release{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, doneOutcome, "", say(12, "", &agentv1.Release{}))
}

func TestResume(t *testing.T) {
	w, a, b := arrive(t)
	b.mustSay(t, refusedOutcome, "not prepared here", say(12, "m9", &agentv1.Resume{}))
	a.mustSay(t, refusedOutcome, "not prepared here", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{})) // it runs already
	b.mustSay(t, refusedOutcome, "the copy is running", say(12, "m1", &agentv1.Void{}))
	first := b.sees().GetCpuTime().AsDuration()
	w.until("its CPU time grows", func() bool { return b.sees().GetCpuTime().AsDuration() > first })
	if b.sees().GetResumedAt() == nil {
		t.Error("no resumed_at")
	}
	// Its owner pauses it: from now on nobody but the owner wakes it.
	must(t, b.conn().Suspend(t.Context(), guest))
	w.until("paused by its owner", func() bool { return b.sees().GetPause() == agentv1.Pause_PAUSE_OWNER })
	b.mustSay(t, refusedOutcome, "paused by somebody", say(12, "m1", &agentv1.Resume{}))
	b.mustSay(t, refusedOutcome, "has run here", say(12, "m1", &agentv1.Void{}))
}

func TestResumeOfAVoidCopyIsRefused(t *testing.T) {
	w, _, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
	b.mustSay(t, refusedOutcome, "void", say(13, "m1", &agentv1.Resume{}))
	w.until("the copy is gone", func() bool { return b.sees().GetState() == agentv1.DomainState_DOMAIN_STATE_SHUTOFF })
	b.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Void{}))
	b.mustSay(t, doneOutcome, "", say(13, "m1", &agentv1.Settle{}))
	if s := b.sees().GetState(); s != agentv1.DomainState_DOMAIN_STATE_NONE {
		t.Errorf("after settling: %s, want nothing left", s)
	}
}

func TestSettleLeavesWhatStoodBefore(t *testing.T) {
	w, a, b := stage(t)
	_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	b.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
	if d, err := b.conn().Domain(t.Context(), guest); err != nil || !d.Persistent {
		t.Errorf("the definition that stood before is gone: %v", err)
	}
	b.mustSay(t, refusedOutcome, "nothing is known here of attempt m7", say(12, "m7", &agentv1.Settle{}))
	// A host whose guest has not left keeps its definition.
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
	a.mustSay(t, refusedOutcome, "a process of the domain is here", say(12, "m1", &agentv1.Settle{}))
	must(t, a.conn().Destroy(t.Context(), guest, expectNow(t, a)))
	w.settle()
	a.mustSay(t, refusedOutcome, "removed by hand", say(12, "m1", &agentv1.Settle{}))
	if d, err := a.conn().Domain(t.Context(), guest); err != nil || !d.Persistent {
		t.Errorf("the guest's own definition is gone: %v", err)
	}
}

func TestSettleDefinesAndCleans(t *testing.T) {
	w, a, b := arrive(t)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Resume{}))
	marked, err := virt.DestXML(guestXML("g1", guest), "m1")
	must(t, err)
	_, err = b.conn().Define(t.Context(), marked) // a definition must not look like an incoming copy
	must(t, err)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{Keep: true, Autostart: true}))
	xml, err := b.conn().XML(t.Context(), guest, virt.XMLFlags{Inactive: true})
	must(t, err)
	if id, err := virt.AttemptOf(xml); err != nil || id != "" {
		t.Errorf("the kept definition carries attempt %q (%v)", id, err)
	}
	must(t, b.conn().Undefine(t.Context(), guest, virt.UndefineOpts{}))
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{Keep: true, Autostart: true, Definition: marked}))
	d, err := b.conn().Domain(t.Context(), guest)
	must(t, err)
	if !d.Persistent || !d.Autostart {
		t.Errorf("persistent %t autostart %t, want both", d.Persistent, d.Autostart)
	}
	if p := b.sees(); p.GetPhase() != agentv1.ClaimPhase_CLAIM_PHASE_HELD || p.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_ENDED {
		t.Errorf("%s, attempt %s; want held, ended", p.GetPhase(), p.GetAttemptState())
	}
	a.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Settle{}))
	if p := a.sees(); p.GetPhase() != agentv1.ClaimPhase_CLAIM_PHASE_RELEASED || p.GetState() != agentv1.DomainState_DOMAIN_STATE_NONE {
		t.Errorf("source: %s, %s; want released, none", p.GetPhase(), p.GetState())
	}
	w.pass(time.Second)
}

func TestReleaseNeedsNoProcess(t *testing.T) {
	w, a, _ := stage(t)
	a.mustSay(t, refusedOutcome, "a process of the domain is here", say(11, "", &agentv1.Release{}))
	must(t, a.conn().Destroy(t.Context(), guest, expectNow(t, a)))
	w.settle()
	a.mustSay(t, doneOutcome, "", say(11, "", &agentv1.Release{}))
	if d := a.core.domains[guest]; d.Phase != journal.Released || d.Confirmed {
		t.Errorf("%+v, want released", d.Domain)
	}
}

func TestTakeNothingIsJournaledAndReported(t *testing.T) {
	w, a, _ := stage(t)
	a.mustSay(t, doneOutcome, "", say(0, "", &agentv1.TakeNothing{On: true}))
	a.kill()
	a.start()
	a.open(5)
	w.until("a report", func() bool { return len(a.reports) > 0 })
	if !a.reports[0].GetTakesNothing() {
		t.Error("the report does not say that the host takes nothing")
	}
	a.mustSay(t, doneOutcome, "", say(0, "", &agentv1.TakeNothing{On: false}))
}

// TestPrepareLooksAgainAfterItsSurvey: what was promised, or began, while libvirt
// was asked counts.
func TestPrepareLooksAgainAfterItsSurvey(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile func(t *testing.T, b *station)
	}{
		{"takes nothing", func(t *testing.T, b *station) {
			b.mustSay(t, doneOutcome, "", say(0, "", &agentv1.TakeNothing{On: true}))
		}},
		{"another session", func(_ *testing.T, b *station) { b.open(6) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, _, b := stage(t)
			o := say(11, "m1", b.prepares())
			b.give(o)
			if b.results[o.GetId()] != nil {
				t.Fatal("answered before libvirt was asked")
			}
			tc.meanwhile(t, b)
			w.until("the order has ended", func() bool { return !b.core.domains[guest].busy() })
			if a := b.core.domains[guest].Attempt; a != nil {
				t.Errorf("prepared all the same: %+v", a)
			}
		})
	}
}

func TestAbortTwice(t *testing.T) {
	w, a, b := stage(t)
	a.mustSay(t, refusedOutcome, "not under way", say(11, "m1", &agentv1.Abort{}))
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Abort{}))
	w.until("the call has ended", func() bool { return a.sees().GetCall() == agentv1.Call_CALL_ENDED })
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Abort{}))
	if a.sees().GetCallError() == "" {
		t.Error("no reason on the call")
	}
}

// TestWhatIsOverHidesNothing: the guest ended on its way, its claim was given
// up, and it was started again here. A later attempt that can't begin is void,
// and the manager sees that it is.
func TestWhatIsOverHidesNothing(t *testing.T) {
	w, a, _ := arrive(t)
	a.mustSay(t, doneOutcome, "", say(12, "", &agentv1.Release{}))
	if s := a.sees().GetAttemptState(); s != agentv1.AttemptState_ATTEMPT_STATE_ENDED {
		t.Errorf("after the release the attempt is %s", s)
	}
	w.fleet.Host("B").KillQEMU(guest)
	_, err := a.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	must(t, a.conn().Start(t.Context(), guest))
	w.pass(time.Second)
	a.mustSay(t, doneOutcome, "", say(13, "", &agentv1.Confirm{}))
	a.mustSay(t, doneOutcome, "", say(14, "m2", &agentv1.Void{}))
	if d := a.sees(); d.GetAttempt() != "m2" || d.GetAttemptState() != agentv1.AttemptState_ATTEMPT_STATE_VOID {
		t.Errorf("shows attempt %s, %s", d.GetAttempt(), d.GetAttemptState())
	}
}

// TestStartedAgainBehindTheMove: what has gone by the move is the target's,
// until somebody starts the guest on the source again.
func TestStartedAgainBehindTheMove(t *testing.T) {
	w, a, _ := arrive(t)
	a.mustSay(t, refusedOutcome, "gone by the move", say(11, "m1", &agentv1.Void{}))
	_, err := a.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	must(t, a.conn().Start(t.Context(), guest))
	w.pass(time.Second)
	a.mustSay(t, doneOutcome, "", say(11, "m1", &agentv1.Void{}))
}

// TestSettleOfALostJournalIsRefused: a definition stays, and it is said, so that
// nobody waits for it to go.
func TestSettleOfALostJournalIsRefused(t *testing.T) {
	_, _, b := stage(t)
	_, err := b.conn().Define(t.Context(), guestXML("g1", guest))
	must(t, err)
	b.mustSay(t, doneOutcome, "", say(12, "m1", &agentv1.Void{}))
	b.mustSay(t, refusedOutcome, "removed by hand", say(13, "m1", &agentv1.Settle{}))
}

// TestVoidDoesNotCrossADestruction: while the source's stopped process may still be
// destroyed by order, because the target's copy runs, the attempt is not given up;
// when the libvirtd that was to do it has ended instead, it is.
func TestVoidDoesNotCrossADestruction(t *testing.T) {
	w, a, b := stage(t)
	b.mustSay(t, doneOutcome, "", say(11, "m1", b.prepares()))
	a.mustSay(t, begunOutcome, "", say(11, "m1", a.moves()))
	w.fleet.KeepSource(guest)
	w.until("complete on the target, stopped on the source", func() bool {
		return b.sees().GetComplete() && a.sees().GetCall() == agentv1.Call_CALL_ENDED && a.sees().GetPause() == agentv1.Pause_PAUSE_MOVE
	})
	// The order has come, and libvirt's answer has not.
	a.do(func() {
		d := a.core.domains[guest]
		a.core.learn(d, func(n *journal.Domain) { n.Attempt.Departure.Destroying = true })
		d.exit.struck = w.now()
	})
	struck := w.now()
	void := func() *agentv1.Order { return say(11, "m1", &agentv1.Void{}) }
	a.mustSay(t, refusedOutcome, "is being destroyed by order", void())
	a.host.KillLibvirtd()
	w.pass(time.Second)
	a.host.SetInfo(func(i *virt.HostInfo) { i.DaemonSince = struck.Add(-time.Hour) })
	a.host.StartLibvirtd()
	w.pass(time.Minute)
	a.mustSay(t, refusedOutcome, "is being destroyed by order", void())
	a.host.KillLibvirtd()
	w.pass(time.Second)
	a.host.SetInfo(func(i *virt.HostInfo) { i.DaemonSince = struck.Add(time.Second) })
	a.host.StartLibvirtd()
	w.pass(time.Minute)
	a.mustSay(t, doneOutcome, "", void())
}
