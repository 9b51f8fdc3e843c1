package sqlite

import (
	"errors"
	"fmt"

	"github.com/vireo-kvm/vireo/store"
)

// tx is one transaction: store.Tx of a writer, store.Reader of a reader.
type tx struct{ s *session }

var _ store.Tx = tx{}

const hostColumns = "name, libvirt_uuid, machine_id, cert_serial, enrolled, revoked, state, state_reason, state_since, " +
	"state_decision, risk, preferred_target, boot_id, last_report, heard, dead, facts"

func hostFields(h *store.Host) []any {
	return []any{&h.Name, &h.LibvirtUUID, &h.MachineID, &h.CertSerial, at(&h.Enrolled), at(&h.Revoked), &h.State,
		&h.StateReason, at(&h.StateSince), &h.StateDecision, document{&h.Risk}, &h.PreferredTarget, &h.BootID,
		at(&h.LastReport), &h.Heard, at(&h.Dead), document{&h.Facts}}
}

func (t tx) Host(name string) (store.Host, error) {
	var h store.Host
	if err := t.s.row("SELECT "+hostColumns+" FROM hosts WHERE name = ?", []any{name}, hostFields(&h)...); err != nil {
		return store.Host{}, fmt.Errorf("host %s: %w", name, err)
	}
	return h, nil
}

func (t tx) Hosts() ([]store.Host, error) {
	return query(t.s, "SELECT "+hostColumns+" FROM hosts ORDER BY name", nil, hostFields)
}

var putHost = insert("hosts", hostColumns, "name")

func (t tx) PutHost(h store.Host) error {
	if h.Name == "" || h.State == "" {
		return fmt.Errorf("host %q in state %q: %w", h.Name, h.State, store.ErrInvalid)
	}
	if _, err := t.s.exec(putHost, hostFields(&h)...); err != nil {
		return fmt.Errorf("put host %s: %w", h.Name, err)
	}
	return nil
}

func (t tx) DeleteHost(name string) error {
	_, err := t.s.exec("DELETE FROM hosts WHERE name = ?", name)
	if isForeignKey(err) {
		err = store.ErrReferenced
	}
	if err != nil {
		return fmt.Errorf("delete host %s: %w", name, err)
	}
	return nil
}

const claimColumns = "domain, name, holder, epoch, phase, attempt, target, seen, granted_by, risk_at_grant, since, memory_kib"

func claimFields(c *store.Claim) []any {
	return []any{&c.Domain, &c.Name, &c.Holder, &c.Epoch, &c.Phase, &c.Attempt, nullable{&c.Target}, at(&c.Seen),
		&c.GrantedBy, &c.RiskAtGrant, at(&c.Since), &c.MemoryKiB}
}

func (t tx) Claim(domain string) (store.Claim, error) {
	var c store.Claim
	if err := t.s.row("SELECT "+claimColumns+" FROM claims WHERE domain = ?", []any{domain}, claimFields(&c)...); err != nil {
		return store.Claim{}, fmt.Errorf("claim of %s: %w", domain, err)
	}
	return c, nil
}

func (t tx) Claims(f store.ClaimFilter) ([]store.Claim, error) {
	var c conditions
	c.and(f.Host != "", "(holder = ? OR target = ?)", f.Host, f.Host)
	c.and(f.Phase != "", "phase = ?", f.Phase)
	return query(t.s, "SELECT "+claimColumns+" FROM claims"+c.where()+" ORDER BY domain", c.args, claimFields)
}

func (t tx) LastEpoch() (uint64, error) {
	if t.s.given != 0 { // within an update
		return t.s.given, nil
	}
	var last uint64
	if err := t.s.row("SELECT epoch FROM meta", nil, &last); err != nil {
		return 0, fmt.Errorf("last epoch: %w", err)
	}
	return last, nil
}

func (t tx) NextEpoch() (uint64, error) {
	if t.s.broken != nil {
		return 0, fmt.Errorf("next epoch: %w", t.s.broken)
	}
	t.s.given++
	return t.s.given, nil
}

const updateClaim = "UPDATE claims SET domain = ?, name = ?, holder = ?, epoch = ?, phase = ?, attempt = ?, target = ?, seen = ?, " +
	"granted_by = ?, risk_at_grant = ?, since = ?, memory_kib = ? WHERE domain = ? AND epoch = ?"

const insertClaim = "INSERT INTO claims (" + claimColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (domain) DO NOTHING"

func (t tx) SwapClaim(expected uint64, next store.Claim) error {
	if err := t.swapClaim(expected, next); err != nil {
		return fmt.Errorf("claim of %s from epoch %d to %d: %w", next.Domain, expected, next.Epoch, err)
	}
	return nil
}

func (t tx) swapClaim(expected uint64, next store.Claim) error {
	if next.Domain == "" || next.Holder == "" || next.Phase == "" {
		return fmt.Errorf("domain %q, holder %q, phase %q: %w", next.Domain, next.Holder, next.Phase, store.ErrInvalid)
	}
	if next.Epoch <= expected || next.Epoch > t.s.given {
		return fmt.Errorf("the last epoch given out is %d: %w", t.s.given, store.ErrInvalid)
	}
	statement, args := insertClaim, claimFields(&next)
	if expected != 0 {
		statement, args = updateClaim, append(args, next.Domain, expected)
	}
	changed, err := t.s.exec(statement, args...)
	switch {
	case isForeignKey(err):
		return fmt.Errorf("host %s or %q: %w", next.Holder, next.Target, store.ErrNotFound)
	case err != nil:
		return err
	case changed != 1:
		return t.stale(next.Domain)
	}
	return nil
}

func (t tx) DeleteClaim(domain string, epoch uint64) error {
	changed, err := t.s.exec("DELETE FROM claims WHERE domain = ? AND epoch = ?", domain, epoch)
	if err == nil && changed != 1 {
		err = t.stale(domain)
	}
	if err != nil {
		return fmt.Errorf("delete claim of %s at epoch %d: %w", domain, epoch, err)
	}
	return nil
}

// stale says what the claim's epoch is instead.
func (t tx) stale(domain string) error {
	var epoch uint64
	err := t.s.row("SELECT epoch FROM claims WHERE domain = ?", []any{domain}, &epoch)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("there is no claim: %w", store.ErrStale)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("it is at epoch %d: %w", epoch, store.ErrStale)
}

const owedColumns = "kind, host, domain, attempt, epoch, since, memory_kib, keep, autostart"

func owedFields(o *store.Owed) []any {
	return []any{&o.Kind, &o.Host, &o.Domain, &o.Attempt, &o.Epoch, at(&o.Since), &o.MemoryKiB, &o.Keep, &o.Autostart}
}

func (t tx) Owed(f store.OwedFilter) ([]store.Owed, error) {
	var c conditions
	c.and(f.Kind != "", "kind = ?", f.Kind)
	c.and(f.Host != "", "host = ?", f.Host)
	c.and(f.Domain != "", "domain = ?", f.Domain)
	return query(t.s, "SELECT "+owedColumns+" FROM owed"+c.where()+" ORDER BY since, host, domain, kind, attempt", c.args, owedFields)
}

var putOwed = insert("owed", owedColumns, "host, domain, kind, attempt")

func (t tx) PutOwed(o store.Owed) error {
	if o.Kind == "" || o.Host == "" || o.Domain == "" {
		return fmt.Errorf("owed %q by host %q for domain %q: %w", o.Kind, o.Host, o.Domain, store.ErrInvalid)
	}
	if _, err := t.s.exec(putOwed, owedFields(&o)...); err != nil {
		return fmt.Errorf("put owed %s by %s for %s: %w", o.Kind, o.Host, o.Domain, err)
	}
	return nil
}

func (t tx) DeleteOwed(o store.Owed) error {
	_, err := t.s.exec("DELETE FROM owed WHERE host = ? AND domain = ? AND kind = ? AND attempt = ?", o.Host, o.Domain, o.Kind, o.Attempt)
	if err != nil {
		return fmt.Errorf("delete owed %s by %s for %s: %w", o.Kind, o.Host, o.Domain, err)
	}
	return nil
}

const domainColumns = "host, uuid, name, state, state_reason, memory_kib, vcpus, persistent, autostart, lockable, seen"

func domainFields(d *store.Domain) []any {
	return []any{&d.Host, &d.UUID, &d.Name, &d.State, &d.StateReason, &d.MemoryKiB, &d.VCPUs, &d.Persistent, &d.Autostart,
		&d.Lockable, at(&d.Seen)}
}

func (t tx) Domains(f store.DomainFilter) ([]store.Domain, error) {
	var c conditions
	c.and(f.Host != "", "host = ?", f.Host)
	c.and(f.UUID != "", "uuid = ?", f.UUID)
	c.and(f.Name != "", "name = ?", f.Name)
	return query(t.s, "SELECT "+domainColumns+" FROM domains"+c.where()+" ORDER BY host, name, uuid", c.args, domainFields)
}

var putDomain = insert("domains", domainColumns, "host, uuid")

func (t tx) PutDomain(d store.Domain) error {
	if d.Host == "" || d.UUID == "" {
		return fmt.Errorf("domain %q on host %q: %w", d.UUID, d.Host, store.ErrInvalid)
	}
	_, err := t.s.exec(putDomain, domainFields(&d)...)
	if isForeignKey(err) {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("put domain %s on host %s: %w", d.UUID, d.Host, err)
	}
	return nil
}

func (t tx) DeleteDomain(host, uuid string) error {
	if _, err := t.s.exec("DELETE FROM domains WHERE host = ? AND uuid = ?", host, uuid); err != nil {
		return fmt.Errorf("delete domain %s on host %s: %w", uuid, host, err)
	}
	return nil
}
