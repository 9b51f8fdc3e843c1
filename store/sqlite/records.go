package sqlite

import (
	"fmt"
	"slices"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

const decisionColumns = "id, at, host, kind, status, component, cause, summary, threshold, risk, reasons, placements, model, resolved_by, " +
	"resolution, resolved_at"

func decisionFields(d *store.Decision) []any {
	return []any{&d.ID, at(&d.At), &d.Host, &d.Kind, &d.Status, &d.Component, &d.Cause, &d.Summary, &d.Threshold, document{&d.Risk},
		document{&d.Reasons}, document{&d.Placements}, &d.Model, &d.ResolvedBy, &d.Resolution, at(&d.ResolvedAt)}
}

func (t tx) Decision(id string) (store.Decision, error) {
	var d store.Decision
	err := t.s.row("SELECT "+decisionColumns+", evidence FROM decisions WHERE id = ?", []any{id}, append(decisionFields(&d), &d.Evidence)...)
	if err != nil {
		return store.Decision{}, fmt.Errorf("decision %s: %w", id, err)
	}
	return d, nil
}

func (t tx) Decisions(f store.DecisionFilter) ([]store.Decision, error) {
	var c conditions
	c.and(f.Host != "", "host = ?", f.Host)
	c.and(f.Kind != "", "kind = ?", f.Kind)
	c.and(f.Status != "", "status = ?", f.Status)
	c.and(!f.Since.IsZero(), "at >= ?", at(&f.Since))
	return query(t.s, "SELECT "+decisionColumns+" FROM decisions"+c.where()+" ORDER BY at DESC, id DESC"+c.limit(f.Limit),
		c.args, decisionFields)
}

var putDecision = insert("decisions", decisionColumns, "id")

func (t tx) PutDecision(d store.Decision) error {
	if d.ID == "" || d.Kind == "" || d.Status == "" {
		return fmt.Errorf("decision %q of kind %q in status %q: %w", d.ID, d.Kind, d.Status, store.ErrInvalid)
	}
	if _, err := t.s.exec(putDecision, decisionFields(&d)...); err != nil {
		return fmt.Errorf("put decision %s: %w", d.ID, err)
	}
	if d.Evidence == nil {
		return nil
	}
	if _, err := t.s.exec("UPDATE decisions SET evidence = ? WHERE id = ? AND evidence IS NULL", d.Evidence, d.ID); err != nil {
		return fmt.Errorf("put evidence of decision %s: %w", d.ID, err)
	}
	return nil
}

const eventColumns = "at, kind, severity, host, domain, migration, decision, who, text"

func eventFields(e *store.Event) []any {
	return []any{at(&e.At), &e.Kind, &e.Severity, &e.Host, &e.Domain, &e.Migration, &e.Decision, &e.Who, &e.Text}
}

func (t tx) Events(f store.EventFilter) ([]store.Event, error) {
	var c conditions
	c.and(f.After > 0, "id > ?", f.After)
	c.and(f.Host != "", "host = ?", f.Host)
	c.and(f.Domain != "", "domain = ?", f.Domain)
	c.and(f.Migration != "", "migration = ?", f.Migration)
	order, limit := "", f.Limit
	if f.Last > 0 {
		order, limit = " DESC", f.Last
	}
	all, err := query(t.s, "SELECT id, "+eventColumns+" FROM events"+c.where()+" ORDER BY id"+order+c.limit(limit), c.args,
		func(e *store.Event) []any { return append([]any{&e.ID}, eventFields(e)...) })
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	if f.Last > 0 {
		slices.Reverse(all)
		if f.Limit > 0 && len(all) > f.Limit {
			all = all[:f.Limit]
		}
	}
	return all, nil
}

func (t tx) AppendEvent(e store.Event) (uint64, error) {
	if e.Kind == "" || e.Severity == "" {
		return 0, fmt.Errorf("event of kind %q, severity %q: %w", e.Kind, e.Severity, store.ErrInvalid)
	}
	var id uint64
	err := t.s.row("INSERT INTO events ("+eventColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id", eventFields(&e), &id)
	if err != nil {
		return 0, fmt.Errorf("append event %s: %w", e.Kind, err)
	}
	return id, nil
}

func (t tx) DeleteEvents(before, keep time.Time, limit int) (int, error) {
	n, err := t.s.exec("DELETE FROM events WHERE id IN (SELECT id FROM events WHERE at < ? AND (who = '' OR at < ?) ORDER BY id LIMIT ?)",
		at(&before), at(&keep), limit)
	if err != nil {
		return 0, fmt.Errorf("delete events: %w", err)
	}
	return int(n), nil
}

const settingColumns = "key, value, reason, who, at"

func settingFields(s *store.Setting) []any {
	return []any{&s.Key, &s.Value, &s.Reason, &s.Who, at(&s.At)}
}

func (t tx) Setting(key string) (store.Setting, error) {
	var s store.Setting
	if err := t.s.row("SELECT "+settingColumns+" FROM settings WHERE key = ?", []any{key}, settingFields(&s)...); err != nil {
		return store.Setting{}, fmt.Errorf("setting %s: %w", key, err)
	}
	return s, nil
}

func (t tx) Settings(prefix string) ([]store.Setting, error) {
	return query(t.s, "SELECT "+settingColumns+" FROM settings WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key", []any{prefix}, settingFields)
}

func (t tx) DeleteSetting(key string) error {
	if _, err := t.s.exec("DELETE FROM settings WHERE key = ?", key); err != nil {
		return fmt.Errorf("delete setting %s: %w", key, err)
	}
	return nil
}

var putSetting = insert("settings", settingColumns, "key")

func (t tx) PutSetting(s store.Setting) error {
	if s.Key == "" {
		return fmt.Errorf("setting without a key: %w", store.ErrInvalid)
	}
	if _, err := t.s.exec(putSetting, settingFields(&s)...); err != nil {
		return fmt.Errorf("put setting %s: %w", s.Key, err)
	}
	return nil
}

const tokenColumns = "id, kind, host, role, hash, replace, created, created_by, expires, used"

func tokenFields(k *store.Token) []any {
	return []any{&k.ID, &k.Kind, &k.Host, &k.Role, &k.Hash, &k.Replace, at(&k.Created), &k.CreatedBy, at(&k.Expires), at(&k.Used)}
}

func (t tx) Token(id string) (store.Token, error) {
	var k store.Token
	if err := t.s.row("SELECT "+tokenColumns+" FROM tokens WHERE id = ?", []any{id}, tokenFields(&k)...); err != nil {
		return store.Token{}, fmt.Errorf("token %s: %w", id, err)
	}
	return k, nil
}

func (t tx) Tokens() ([]store.Token, error) {
	return query(t.s, "SELECT "+tokenColumns+" FROM tokens ORDER BY id", nil, tokenFields)
}

var putToken = insert("tokens", tokenColumns, "id")

func (t tx) PutToken(k store.Token) error {
	if k.ID == "" || k.Kind == "" || len(k.Hash) == 0 {
		return fmt.Errorf("token %q of kind %q: %w", k.ID, k.Kind, store.ErrInvalid)
	}
	if _, err := t.s.exec(putToken, tokenFields(&k)...); err != nil {
		return fmt.Errorf("put token %s: %w", k.ID, err)
	}
	return nil
}

func (t tx) TakeToken(id string, hash []byte, now time.Time) (store.Token, error) {
	k, err := t.Token(id)
	if err != nil {
		return store.Token{}, err
	}
	if k, err = k.Take(hash, now); err == nil {
		err = t.PutToken(k)
	}
	if err != nil {
		return store.Token{}, fmt.Errorf("take token %s: %w", id, err)
	}
	return k, nil
}

func (t tx) DeleteToken(id string) error {
	if _, err := t.s.exec("DELETE FROM tokens WHERE id = ?", id); err != nil {
		return fmt.Errorf("delete token %s: %w", id, err)
	}
	return nil
}
