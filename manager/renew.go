package manager

import (
	"context"
	"time"

	agentv1 "github.com/vireo-kvm/vireo/agent/wire/v1"
	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/store"
)

// Renew implements serve.Agents: a later certificate for a host, of the enrolment
// that it has. The store knows the enrolment by its first certificate's serial, so
// that nothing of it changes and every certificate of it goes with the host.
func (m *Manager) Renew(ctx context.Context, peer pki.Peer, req *agentv1.RenewRequest) (*agentv1.RenewResponse, error) {
	var res *agentv1.RenewResponse
	var refused error
	err := m.do(ctx, func(now time.Time) {
		h := m.core.hosts[peer.Host]
		if h == nil || !h.Revoked.IsZero() || h.CertSerial != peer.Serial {
			refused = apierr.New(apierr.Permission, "host %s is not enrolled with this certificate", peer.Host)
			return
		}
		issued, err := m.issuer.RenewAgent(req.GetCsr(), peer, now)
		if err != nil {
			refused = apierr.New(apierr.Input, "%w", err)
			return
		}
		m.core.event(now, store.Event{Kind: "host.renewed", Host: h.Name, Who: "agent " + h.Name,
			Text: "certificate " + issued.Serial + " of enrolment " + peer.Serial + ", until " + issued.NotAfter.UTC().Format(time.DateOnly)})
		res = &agentv1.RenewResponse{Certificate: issued.Certificate}
	})
	if err != nil {
		return nil, err
	}
	return res, refused
}
