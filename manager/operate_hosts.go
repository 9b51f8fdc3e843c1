package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/store"
)

// SetHost implements the service.
func (m *Manager) SetHost(ctx context.Context, req *connect.Request[managerv1.SetHostRequest]) (*connect.Response[managerv1.SetHostResponse], error) {
	who, q, res := actor(ctx), req.Msg, &managerv1.SetHostResponse{}
	if q.Maintenance == nil && q.PreferredTarget == nil {
		return nil, apierr.New(apierr.Input, "set what? maintenance or preferred_target")
	}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		if q.PreferredTarget != nil {
			refused = m.core.prefer(now, q.GetHost(), q.GetPreferredTarget(), who, q.GetReason())
		}
		if q.Maintenance != nil && refused == nil {
			if q.GetMaintenance() {
				refused = m.core.maintain(now, q.GetHost(), who, q.GetReason())
			} else {
				refused = m.core.giveBack(now, q.GetHost(), who, q.GetReason())
			}
		}
		if refused == nil {
			res.Host = m.core.presentHost(m.core.hosts[q.GetHost()], m.core.claimedKiB(""))
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// prefer says where a host's guests should go first, "" for no preference.
func (c *Core) prefer(now time.Time, name, target, who, reason string) error {
	h := c.hosts[name]
	switch {
	case h == nil || !h.Revoked.IsZero():
		return apierr.New(apierr.NotFound, "no host %s", name)
	case target == name:
		return apierr.New(apierr.Input, "%s cannot be its own preferred target", name)
	case target != "" && (c.hosts[target] == nil || !c.hosts[target].Revoked.IsZero()):
		return apierr.New(apierr.NotFound, "no host %s to prefer", target)
	}
	next := h.Host
	next.PreferredTarget = target
	text := "its guests go to " + target + " first"
	if target == "" {
		text = "its guests prefer no target any more"
	}
	return c.change(now, h, next, store.Event{Kind: "host.preference", Severity: store.Info, Who: who, Text: because(text, reason)})
}

// maintain takes a host out of service for a person's work. Its guests stay; it
// takes nothing new until vireo return.
func (c *Core) maintain(now time.Time, name, who, reason string) error {
	h := c.hosts[name]
	switch {
	case reason == "":
		return apierr.New(apierr.Input, "maintenance needs a reason: whoever comes next will ask")
	case h == nil || !h.Revoked.IsZero():
		return apierr.New(apierr.NotFound, "no host %s", name)
	case h.State == store.Maintenance:
		return apierr.New(apierr.Policy, "%s is in maintenance already: %s", name, h.StateReason)
	case h.State == store.Evacuating:
		return apierr.New(apierr.Policy, "%s is being emptied: wait until it is drained, or take it back (vireo return %s)", name, name)
	}
	next := h.Host
	next.State, next.StateReason, next.StateSince, next.StateDecision = store.Maintenance, "by "+who+": "+reason, now, ""
	if err := c.change(now, h, next, store.Event{Kind: "host.maintenance", Severity: store.Warning, Who: who, Text: reason}); err != nil {
		return err
	}
	c.reconcileTakes(h, now)
	c.pace.decideSoon = true
	return nil
}

// change writes a host's record with the event that says why.
func (c *Core) change(now time.Time, h *host, next store.Host, e store.Event) error {
	e.At, e.Host = now, h.Name
	err := c.update("changing "+h.Name, func(tx store.Tx) error {
		if err := tx.PutHost(next); err != nil {
			return err
		}
		_, err := tx.AppendEvent(e)
		return err
	})
	if err != nil {
		return err
	}
	h.Host = next
	c.announce()
	return nil
}

func because(text, reason string) string {
	if reason == "" {
		return text
	}
	return fmt.Sprintf("%s: %s", text, reason)
}
