package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/vireo-kvm/vireo/agent/wire/join"
	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/store"
)

// CreateToken lets one host enrol, once.
func (m *Manager) CreateToken(ctx context.Context, req *connect.Request[managerv1.CreateTokenRequest]) (*connect.Response[managerv1.CreateTokenResponse], error) {
	host := req.Msg.GetHost()
	if !pki.ValidName(host) {
		return nil, apierr.New(apierr.Input, "%q is no name for a host: letters, digits, dots, dashes and underscores", host)
	}
	valid := cmp.Or(req.Msg.GetValidFor().AsDuration(), time.Hour)
	if valid < time.Second || valid > 30*24*time.Hour {
		return nil, apierr.New(apierr.Input, "valid for %s: between one second and 30 days", valid)
	}
	token := m.issuer.NewToken()
	who := actor(ctx)
	var res *managerv1.CreateTokenResponse
	var refused error
	err := m.do(ctx, func(now time.Time) {
		if h := m.core.hosts[host]; h != nil && h.Revoked.IsZero() && !req.Msg.GetReplace() {
			refused = apierr.New(apierr.Policy, "%s is enrolled since %s; a token that lets another machine take its place must say so (--replace)", host, h.Enrolled.UTC().Format(time.RFC3339))
			return
		}
		t := store.Token{
			ID: token.ID, Kind: store.EnrolToken, Host: host, Hash: token.SecretHash(), Replace: req.Msg.GetReplace(),
			Created: now, CreatedBy: who, Expires: now.Add(valid),
		}
		refused = m.core.update("writing a token", func(tx store.Tx) error {
			if err := tx.PutToken(t); err != nil {
				return err
			}
			_, err := tx.AppendEvent(store.Event{At: now, Kind: "token.created", Severity: store.Info, Host: host, Who: who, Text: "may enrol until " + t.Expires.UTC().Format(time.RFC3339)})
			return err
		})
		res = &managerv1.CreateTokenResponse{Token: token.Text(), Expires: timestamppb.New(t.Expires)}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(res), nil
}

// Enroll implements serve.Agents: a token for a certificate, once.
func (m *Manager) Enroll(ctx context.Context, req *agentv1.EnrollRequest) (*agentv1.EnrollResponse, error) {
	token, err := join.Parse(req.GetToken())
	if err != nil {
		return nil, apierr.New(apierr.Input, "token: %w", err)
	}
	if !pki.ValidName(req.GetHost()) {
		return nil, apierr.New(apierr.Input, "%q is no name for a host", req.GetHost())
	}
	var res *agentv1.EnrollResponse
	var refused error
	if err := m.do(ctx, func(now time.Time) {
		res, refused = m.core.enrol(now, m.issuer, token, req)
		m.learnRevoked()
	}); err != nil {
		return nil, err
	}
	return res, storeError(refused)
}

// enrol takes the token, signs the certificate and writes the host, in one
// transaction: a token is used up exactly when a certificate was made for it.
func (c *Core) enrol(now time.Time, issuer Issuer, token join.Token, req *agentv1.EnrollRequest) (*agentv1.EnrollResponse, error) {
	name := req.GetHost()
	old := c.hosts[name]
	var issued pki.Issued
	var host store.Host
	err := c.update("enrolling "+name, func(tx store.Tx) error {
		t, err := tx.TakeToken(token.ID, token.SecretHash(), now)
		switch {
		case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUsed), errors.Is(err, store.ErrExpired):
			return fmt.Errorf("%w: %w", errStranger, err)
		case err != nil:
			return err
		}
		if t.Host != name {
			return fmt.Errorf("the token is for host %s, not %s: %w", t.Host, name, errRefused)
		}
		if old != nil && old.Revoked.IsZero() && !t.Replace {
			return fmt.Errorf("%s is enrolled already: %w", name, errRefused)
		}
		if why := c.leaves(old); why != "" {
			return fmt.Errorf("%w: %s %s; the machine that takes its place inherits nothing and releases nothing. Evacuate it, or vireo hosts declare-dead %s", errRefused, name, why, name)
		}
		if issued, err = issuer.IssueAgent(req.GetCsr(), name, now); err != nil {
			return fmt.Errorf("%w: %w", errRefused, err)
		}
		host = store.Host{
			Name: name, LibvirtUUID: req.GetLibvirtHostUuid(), MachineID: req.GetMachineId(), CertSerial: issued.Serial, Enrolled: now,
			State: store.Healthy, StateReason: "enrolled", StateSince: now, Heard: c.id.Generation,
		}
		if err := tx.PutHost(host); err != nil {
			return err
		}
		_, err = tx.AppendEvent(store.Event{At: now, Kind: "host.enrolled", Severity: store.Info, Host: name, Who: t.CreatedBy, Text: "certificate " + issued.Serial})
		return err
	})
	switch {
	case errors.Is(err, errStranger):
		return nil, apierr.New(apierr.Permission, "this token does not let %s in: %w", name, err)
	case errors.Is(err, errRefused):
		return nil, apierr.New(apierr.Permission, "%w", err)
	case err != nil:
		return nil, err
	}
	if old != nil {
		c.hangUp(old, "another machine has enrolled under this name")
	}
	// It inherits nothing but what was seen on the host of that name, unless that
	// is known to be gone.
	c.hosts[name] = newHost(host)
	switch {
	case old == nil:
	case old.dead():
		for uuid := range old.last {
			c.book.domains[domainAt{name, uuid}] = nil
		}
	default:
		c.hosts[name].last = old.last
	}
	c.announce()
	c.log.Info("host enrolled", "host", name, "serial", issued.Serial)
	return &agentv1.EnrollResponse{Certificate: issued.Certificate, Ca: issuer.CertPEM(), Generation: c.id.Generation}, nil
}

// leaves says what an enrolled machine would leave behind if another took its
// name, "" when nothing. A word of its death has struck all of that.
func (c *Core) leaves(old *host) string {
	if old == nil || !old.Revoked.IsZero() {
		return ""
	}
	claims := 0
	for _, cl := range c.claims {
		if cl.Holder == old.Name || cl.Target == old.Name {
			claims++
		}
	}
	if claims > 0 {
		return "still has " + plural(claims, "claim")
	}
	for key := range c.owed {
		if key.host == old.Name {
			return "still owes an answer about " + c.domainName(key.domain)
		}
	}
	return ""
}

// RemoveHost revokes a host that nothing depends on any more.
func (m *Manager) RemoveHost(ctx context.Context, req *connect.Request[managerv1.RemoveHostRequest]) (*connect.Response[managerv1.RemoveHostResponse], error) {
	who, name := actor(ctx), req.Msg.GetHost()
	if req.Msg.GetReason() == "" {
		return nil, apierr.New(apierr.Input, "removing a host needs a reason")
	}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		refused = m.core.remove(now, name, who, req.Msg.GetReason())
		m.learnRevoked()
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&managerv1.RemoveHostResponse{}), nil
}

func (c *Core) remove(now time.Time, name, who, reason string) error {
	h := c.hosts[name]
	if h == nil || !h.Revoked.IsZero() {
		return apierr.New(apierr.NotFound, "no host %s", name)
	}
	for _, cl := range c.claims {
		if cl.Holder == name || cl.Target == name {
			return apierr.New(apierr.Claim, "%s still has the claim of %s (epoch %d): evacuate it first", name, cl.Name, cl.Epoch)
		}
	}
	for key := range c.owed {
		if key.host == name {
			return apierr.New(apierr.Claim, "%s still owes an answer about %s", name, c.domainName(key.domain))
		}
	}
	switch {
	case h.dead():
	case !h.alive():
		return apierr.New(apierr.Policy, "%s is unknown (%s): whether something runs there cannot be seen. If nothing can: vireo hosts declare-dead %s", name, h.why, name)
	case !c.empty(h):
		return apierr.New(apierr.Policy, "something runs on %s", name)
	case !h.takes: // its farewell: from now on it starts nothing
		return apierr.New(apierr.Policy, "%s has not promised to take nothing new: vireo evacuate %s, or vireo hosts maintenance %s, then remove it", name, name, name)
	}
	next := h.Host
	next.Revoked = now
	err := c.update("removing "+name, func(tx store.Tx) error {
		if err := tx.PutHost(next); err != nil {
			return err
		}
		_, err := tx.AppendEvent(store.Event{At: now, Kind: "host.removed", Severity: store.Warning, Host: name, Who: who, Text: reason})
		return err
	})
	if err != nil {
		return err
	}
	h.Host = next
	c.hangUp(h, "the host was removed")
	c.silence(h, "removed", now)
	c.announce()
	return nil
}
