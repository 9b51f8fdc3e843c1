package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

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

func expectNow(t *testing.T, s *station) virt.Expect {
	t.Helper()
	d, err := s.conn().Domain(t.Context(), guest)
	must(t, err)
	return virt.Expect{ID: d.ID, State: d.State, Attempt: d.Attempt}
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
