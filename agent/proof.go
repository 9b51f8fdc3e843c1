package agent

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/configs"
)

// proof is what is known of libvirtd calling the hook.
type proof struct {
	given   bool   // by the libvirtd that is connected now
	problem string // why not
	trying  bool
	tried   time.Time
}

// proveAgain is the distance between tries to prove a hook that is not called.
const proveAgain = time.Minute

// prove tries whether the running libvirtd calls the hook. It is looked for
// among libvirt's hooks first: what is not there is not tried.
func (c *Core) prove(now time.Time) {
	p := &c.proof
	switch {
	case !c.hooks(), !c.libvirt.up || !c.libvirt.known:
		return
	case !slices.Contains(c.libvirt.facts.Hooks, hook.File()):
		p.given, p.problem, p.tried = false, "it is not installed: vireo-agent hook install", time.Time{}
		return
	case p.given || p.trying || !p.tried.IsZero() && now.Sub(p.tried) < proveAgain:
		return
	}
	p.trying, p.tried = true, now
	c.Hands.Probe(func(now time.Time, _ struct{}, err error) {
		c.step++
		p.trying = false
		p.given, p.problem = err == nil, ""
		if err != nil {
			p.problem = err.Error()
			c.Log.Warn("hook not proved", "error", err)
			return
		}
		c.Log.Info("libvirtd calls the hook", "mode", string(c.cfg.Hook.Mode))
	})
}

// unproved forgets the proof: another libvirtd has to give its own.
func (c *Core) unproved() {
	c.proof.given, c.proof.problem, c.proof.tried = false, "libvirtd has not called it yet", time.Time{}
}

var hookModes = map[configs.HookMode]agentv1.HookMode{
	configs.HookOff:     agentv1.HookMode_HOOK_MODE_OFF,
	configs.HookObserve: agentv1.HookMode_HOOK_MODE_OBSERVE,
	configs.HookEnforce: agentv1.HookMode_HOOK_MODE_ENFORCE,
}

// reportHook says what the hook does and what it has refused.
func (c *Core) reportHook(r *agentv1.Report) {
	r.HookMode = agentv1.HookMode_HOOK_MODE_OFF
	if c.hooks() {
		r.HookMode, r.HookProven, r.HookProblem = hookModes[c.cfg.Hook.Mode], c.proof.given, c.proof.problem
	}
	for _, x := range c.permissions.refused {
		x.Owed = false
		r.RefusedStarts = append(r.RefusedStarts, x)
	}
	for _, d := range c.each() {
		if d.Owed.IsZero() {
			continue
		}
		i := slices.IndexFunc(r.RefusedStarts, func(x *agentv1.RefusedStart) bool {
			return x.Domain == d.UUID && !x.At.AsTime().Before(d.Owed)
		})
		if i >= 0 {
			r.RefusedStarts[i].Owed = true
			continue
		}
		r.RefusedStarts = append(r.RefusedStarts, &agentv1.RefusedStart{
			Domain: d.UUID, Name: d.Name, Kind: agentv1.StartKind_START_KIND_START, At: timestamppb.New(d.Owed),
			Reason: "nothing was confirmed on this host", Owed: true,
		})
	}
}

var grounds = map[journal.Ground]agentv1.Unclaimed{
	journal.Exempt:     agentv1.Unclaimed_UNCLAIMED_EXEMPT,
	journal.Allowed:    agentv1.Unclaimed_UNCLAIMED_ALLOWED,
	journal.Optimistic: agentv1.Unclaimed_UNCLAIMED_OPTIMISTIC,
	journal.AgentDown:  agentv1.Unclaimed_UNCLAIMED_AGENT_DOWN,
	journal.Observed:   agentv1.Unclaimed_UNCLAIMED_OBSERVED,
}
