package agent

import (
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
)

// readingsKept is how many readings wait for a manager that has not kept them:
// some hours of a large host. The oldest go first.
const readingsKept = 200_000

// readings are the sweeps that no manager has said to have kept.
type readings struct {
	waiting []*agentv1.ReadingBatch // oldest first
	held    int                     // readings in them
	last    uint64
	deps    []*agentv1.Dependency
}

// Collected takes one sweep of the collectors.
func (c *Core) Collected(s Collected) {
	c.step++
	if s.Dependencies != nil {
		c.readings.deps = s.Dependencies
	}
	if len(s.Readings) == 0 {
		return
	}
	r := &c.readings
	r.last++
	b := &agentv1.ReadingBatch{BootId: c.host.BootID, Id: r.last, Readings: make([]*agentv1.Reading, 0, len(s.Readings))}
	for _, x := range s.Readings {
		b.Readings = append(b.Readings, &agentv1.Reading{
			Component: x.Component, Signal: x.Signal, Value: x.Value, Text: x.Text, Unit: x.Unit,
			ObservedAt: timestamppb.New(x.ObservedAt), Seq: x.Seq, Status: string(x.Status),
		})
	}
	r.waiting = append(r.waiting, b)
	r.held += len(b.Readings)
	dropped := 0
	for r.held > readingsKept && len(r.waiting) > 1 {
		dropped += len(r.waiting[0].Readings)
		r.drop(0)
	}
	if dropped > 0 {
		c.Log.Warn("readings dropped: no manager has kept them", "count", dropped)
	}
	c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Readings{Readings: b}})
}

func (r *readings) drop(i int) {
	r.held -= len(r.waiting[i].Readings)
	r.waiting = slices.Delete(r.waiting, i, i+1)
}

// kept forgets one batch. Earlier ones may not have been kept: a manager whose
// disk is full answers none, and has them in its next session.
func (r *readings) kept(id uint64) {
	if i := slices.IndexFunc(r.waiting, func(b *agentv1.ReadingBatch) bool { return b.Id == id }); i >= 0 {
		r.drop(i)
	}
}

func (c *Core) resendReadings() {
	for _, b := range c.readings.waiting {
		c.send(&agentv1.AgentMessage{Body: &agentv1.AgentMessage_Readings{Readings: b}})
	}
}
