package manager

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	managerv1 "github.com/vireo-kvm/vireo/manager/api/v1"
	"github.com/vireo-kvm/vireo/manager/pki"
	"github.com/vireo-kvm/vireo/store"
)

// Settings that say which operators' certificates are refused: those of a name
// that were issued until the setting's time, or one by its serial.
const (
	revokedName   = "revoked.operator."
	revokedSerial = "revoked.serial."
)

// revocations are the certificates that are refused, as every connection reads
// them.
type revocations struct {
	serials map[string]bool
	names   map[string]time.Time // operators: certificates issued until then
}

// learnRevoked makes what the core knows readable without the loop.
func (m *Manager) learnRevoked() {
	r := revocations{serials: map[string]bool{}, names: map[string]time.Time{}}
	for _, h := range m.core.hosts {
		if !h.Revoked.IsZero() {
			r.serials[h.CertSerial] = true
		}
	}
	for key, s := range m.core.settings.revoked {
		if name, ok := strings.CutPrefix(key, revokedName); ok {
			r.names[name] = s.At
		} else {
			r.serials[strings.TrimPrefix(key, revokedSerial)] = true
		}
	}
	m.facts.mu.Lock()
	m.facts.revoked = r
	m.facts.mu.Unlock()
}

// Revoked says whether a certificate is of a removed host or of a revoked
// operator. One that was replaced by a new enrolment is refused when it begins a
// session.
func (m *Manager) Revoked(cert *x509.Certificate) bool {
	m.facts.mu.RLock()
	r := m.facts.revoked
	m.facts.mu.RUnlock()
	if r.serials[pki.Serial(cert)] {
		return true
	}
	peer, actor, err := pki.Identify(cert)
	switch {
	case err != nil:
		return false
	case peer != nil:
		return r.serials[peer.Serial] // whichever of its enrolment's certificates it is
	}
	until, ok := r.names[actor.Name]
	return ok && !pki.IssuedAt(cert).After(until)
}

// RevokeOperator implements the service. A new certificate of the same name,
// issued afterwards, is as good as any.
func (m *Manager) RevokeOperator(ctx context.Context, req *connect.Request[managerv1.RevokeOperatorRequest]) (*connect.Response[managerv1.RevokeOperatorResponse], error) {
	who, q := actor(ctx), req.Msg
	key := revokedName + q.GetName()
	switch {
	case q.GetReason() == "":
		return nil, apierr.New(apierr.Input, "revoking a certificate needs a reason")
	case q.GetSerial() != "":
		serial, ok := pki.ParseSerial(q.GetSerial())
		if !ok {
			return nil, apierr.New(apierr.Input, "%q is no certificate's serial number, expected hexadecimal digits", q.GetSerial())
		}
		key = revokedSerial + serial
	case !pki.ValidName(q.GetName()):
		return nil, apierr.New(apierr.Input, "%q is no operator's name", q.GetName())
	}
	var refused error
	err := m.do(ctx, func(now time.Time) {
		s := store.Setting{Key: key, Value: cmp.Or(q.GetSerial(), q.GetName()), Reason: q.GetReason(), Who: who, At: now}
		refused = m.core.update("revoking a certificate", func(tx store.Tx) error {
			if err := tx.PutSetting(s); err != nil {
				return err
			}
			_, err := tx.AppendEvent(store.Event{At: now, Kind: "operator.revoked", Severity: store.Warning, Who: who, Text: s.Value + ": " + s.Reason})
			return err
		})
		if refused == nil {
			m.core.settings.revoked[key] = s
			m.core.announce()
			m.learnRevoked()
		}
	})
	if err := errors.Join(err, storeError(refused)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&managerv1.RevokeOperatorResponse{}), nil
}
