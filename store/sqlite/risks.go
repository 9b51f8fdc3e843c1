package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/store"
)

const stateColumns = "host, component, model, at, state"

func stateFields(m *store.ModelState) []any {
	return []any{&m.Host, &m.Component, &m.Model, at(&m.At), &m.State}
}

var putState = insert("model_states", stateColumns, "host, component")

// PutStates implements store.Readings.
func (db *DB) PutStates(ctx context.Context, states []store.ModelState) error {
	err := db.update(ctx, func(s *session) error {
		for i := range states {
			m := &states[i]
			if m.Host == "" || m.Component == "" || m.State == nil {
				return fmt.Errorf("host %q, component %q: %w", m.Host, m.Component, store.ErrInvalid)
			}
			if _, err := s.exec(putState, stateFields(m)...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put model states: %w", err)
	}
	return nil
}

// States implements store.Readings.
func (db *DB) States(ctx context.Context, host string) (all []store.ModelState, err error) {
	var c conditions
	c.and(host != "", "host = ?", host)
	err = db.reading(ctx, func(s *session) (err error) {
		all, err = query(s, "SELECT "+stateColumns+" FROM model_states"+c.where()+" ORDER BY host, component", c.args, stateFields)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("model states of host %q: %w", host, err)
	}
	return all, nil
}

const riskColumns = "host, component, score, reasons, impact, model"

func riskFields(r *store.ComponentRisk) []any {
	return []any{&r.Host, &r.Component, document{&r.Score}, document{&r.Reasons}, &r.Impact, &r.Model}
}

var (
	putRisk    = insert("risks", riskColumns, "host, component")
	putHistory = insert("risk_history", riskColumns+", at", "host, component, at")
)

// PutRisks implements store.Readings.
func (db *DB) PutRisks(ctx context.Context, risks []store.ComponentRisk) error {
	err := db.update(ctx, func(s *session) error {
		for i := range risks {
			if err := putOneRisk(s, &risks[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("put risks: %w", err)
	}
	return nil
}

func putOneRisk(s *session, r *store.ComponentRisk) error {
	if r.Host == "" || r.Component == "" || r.Score.At.IsZero() {
		return fmt.Errorf("host %q, component %q, scored at %v: %w", r.Host, r.Component, r.Score.At, store.ErrInvalid)
	}
	var last store.ComponentRisk
	err := s.row("SELECT "+riskColumns+" FROM risks WHERE host = ? AND component = ?", []any{r.Host, r.Component}, riskFields(&last)...)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, err := s.exec(putRisk, riskFields(r)...); err != nil {
		return err
	}
	last.Score.At = r.Score.At // the time alone is no change
	if err == nil && last.Score == r.Score && last.Model == r.Model {
		return nil
	}
	_, err = s.exec(putHistory, append(riskFields(r), at(&r.Score.At))...)
	return err
}

// Risks implements store.Readings.
func (db *DB) Risks(ctx context.Context, host string) ([]store.ComponentRisk, error) {
	var c conditions
	c.and(host != "", "host = ?", host)
	return db.risks(ctx, host, "risks"+c.where()+" ORDER BY host, component", c.args)
}

// RiskHistory implements store.Readings.
func (db *DB) RiskHistory(ctx context.Context, host, component string, since time.Time) ([]store.ComponentRisk, error) {
	var c conditions
	c.and(true, "host = ?", host)
	c.and(component != "", "component = ?", component)
	c.and(!since.IsZero(), "at >= ?", at(&since))
	return db.risks(ctx, host, "risk_history"+c.where()+" ORDER BY at, component", c.args)
}

func (db *DB) risks(ctx context.Context, host, from string, args []any) (all []store.ComponentRisk, err error) {
	err = db.reading(ctx, func(s *session) (err error) {
		all, err = query(s, "SELECT "+riskColumns+" FROM "+from, args, riskFields)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("risks of host %q: %w", host, err)
	}
	return all, nil
}

// Forget implements store.Readings.
func (db *DB) Forget(ctx context.Context, host, component string) error {
	if host == "" {
		return fmt.Errorf("forget no host: %w", store.ErrInvalid)
	}
	err := db.update(ctx, func(s *session) error {
		for _, table := range []string{"series", "model_states", "risks", "risk_history"} {
			var c conditions
			c.and(true, "host = ?", host)
			c.and(component != "", "component = ?", component)
			if _, err := s.exec("DELETE FROM "+table+c.where(), c.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget host %s, component %q: %w", host, component, err)
	}
	return nil
}
