package manager

import (
	"cmp"
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
)

// virshCall is one command that a host's agent was asked to run.
type virshCall struct {
	host string
	done func(*managerv1.VirshOutput)
}

// Virsh finds the host by itself, and gives back what virsh printed there, byte
// for byte. Which commands may be run is the agents' to say.
func (m *Manager) Virsh(ctx context.Context, req *connect.Request[managerv1.VirshRequest]) (*connect.Response[managerv1.VirshResponse], error) {
	q := req.Msg
	if len(q.GetArgs()) == 0 {
		return nil, apierr.New(apierr.Input, "no virsh command")
	}
	var asked []string
	var refused error
	outputs := make(chan *managerv1.VirshOutput, 1024)
	err := m.do(ctx, func(_ time.Time) {
		hosts, args, err := m.core.virshWhere(q)
		if refused = err; err != nil {
			return
		}
		for _, h := range hosts {
			asked = append(asked, h.Name)
			m.core.runVirsh(h, args, func(o *managerv1.VirshOutput) {
				select {
				case outputs <- o:
				default: // nobody waits any more
				}
			})
		}
	})
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, refused
	}
	res := &managerv1.VirshResponse{}
	for range asked {
		select {
		case o := <-outputs:
			res.Outputs = append(res.Outputs, o)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-m.ended:
			return nil, errEnded
		}
	}
	slices.SortFunc(res.Outputs, func(a, b *managerv1.VirshOutput) int { return cmp.Compare(a.Host, b.Host) })
	return connect.NewResponse(res), nil
}

// virshWhere says on which hosts to run, and what. A domain is looked for where
// it runs; one that runs nowhere, where it is defined.
func (c *Core) virshWhere(q *managerv1.VirshRequest) ([]*host, []string, error) {
	args := slices.Clone(q.GetArgs())
	if q.GetDomain() != "" {
		args = append(args, q.GetDomain())
	}
	if q.GetHost() != "" {
		h := c.hosts[q.GetHost()]
		if h == nil || !h.Revoked.IsZero() {
			return nil, nil, apierr.New(apierr.NotFound, "no host %s", q.GetHost())
		}
		return []*host{h}, args, nil
	}
	if q.GetDomain() == "" {
		var all []*host
		for _, h := range c.sortedHosts() {
			if h.Revoked.IsZero() {
				all = append(all, h)
			}
		}
		return all, args, nil
	}
	var runs, defined []*host
	uuids := map[string]bool{}
	for _, h := range c.sortedHosts() {
		for uuid, d := range h.last {
			if uuid != q.GetDomain() && d.Name != q.GetDomain() {
				continue
			}
			uuids[uuid] = true
			s := h.seen[uuid]
			if s != nil && active(s.Domain) && !incoming(s.Domain) {
				runs = append(runs, h)
			} else if s == nil || !incoming(s.Domain) {
				defined = append(defined, h)
			}
		}
	}
	if len(runs) > 0 {
		defined = nil
	}
	found := append(runs, defined...)
	switch {
	case len(found) == 0:
		return nil, nil, apierr.New(apierr.NotFound, "no domain %s on any host", q.GetDomain())
	case len(uuids) > 1:
		names := make([]string, len(found))
		for i, h := range found {
			names[i] = h.Name
		}
		return nil, nil, apierr.New(apierr.Input, "several domains are called %s (on %v): use the UUID or name the host", q.GetDomain(), names)
	}
	return found[:1], args, nil
}

// runVirsh asks one agent. done is called once, in the loop.
func (c *Core) runVirsh(h *host, args []string, done func(*managerv1.VirshOutput)) {
	if h.session == nil {
		done(&managerv1.VirshOutput{Host: h.Name, Error: "not reached: " + h.why})
		return
	}
	id := c.newID("v")
	c.asked.virsh[id] = &virshCall{host: h.Name, done: done}
	c.send(h.session, &agentv1.ManagerMessage{Body: &agentv1.ManagerMessage_Virsh{Virsh: &agentv1.VirshRequest{Id: id, Args: args}}})
}

func (c *Core) virshDone(s *Session, r *agentv1.VirshResult) {
	call := c.asked.virsh[r.GetId()]
	if call == nil || call.host != s.host.Name {
		return
	}
	delete(c.asked.virsh, r.GetId())
	call.done(&managerv1.VirshOutput{Host: call.host, Stdout: r.GetStdout(), Stderr: r.GetStderr(), ExitCode: r.GetExitCode(), Error: r.GetError(), Refused: r.GetRefused()})
}

// failVirsh answers for an agent that has gone.
func (c *Core) failVirsh(h *host, why string) {
	for id, call := range c.asked.virsh {
		if call.host == h.Name {
			delete(c.asked.virsh, id)
			call.done(&managerv1.VirshOutput{Host: h.Name, Error: why})
		}
	}
}
