package sqlite

import (
	"fmt"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/moves"
)

// storedRow is a row on its way to or from the table.
type storedRow struct {
	row      migration.Row
	open     bool
	before   moves.Before
	options  moves.Options
	steps    []moves.Step
	progress moves.Progress
	downtime moves.Downtime
}

const migrationColumns = "id, domain, domain_name, source, target, reason, decision, state, open, switchover, epoch, source_boot, before, " +
	"options, steps, abort_reason, outcome, planned, started, ended, progress, downtime"

func (r *storedRow) fields() []any {
	m := &r.row
	return []any{&m.ID, &m.Domain, &m.DomainName, &m.Source, &m.Target, &m.Reason, &m.Decision, &m.State, &r.open,
		&m.Switchover, &m.Epoch, &m.SourceBoot, document{&r.before}, document{&r.options}, document{&r.steps}, &m.AbortReason, &m.Outcome,
		at(&m.Planned), at(&m.Started), at(&m.Ended), document{&r.progress}, document{&r.downtime}}
}

func toStored(m migration.Row) *storedRow {
	r := &storedRow{row: m, open: !m.State.Ended(), before: moves.Before(m.Before), options: moves.Options(m.Options),
		progress: moves.Progress(m.Progress), downtime: moves.Downtime(m.Downtime)}
	r.steps = moves.OfSteps(m.Steps)
	return r
}

func (r *storedRow) migration() migration.Row {
	m := r.row
	m.Before, m.Options = migration.Before(r.before), migration.Options(r.options)
	m.Progress, m.Downtime = migration.Progress(r.progress), migration.Downtime(r.downtime)
	m.Steps = moves.Steps(r.steps)
	return m
}

func (t tx) Migration(id string) (migration.Row, error) {
	var r storedRow
	if err := t.s.row("SELECT "+migrationColumns+" FROM migrations WHERE id = ?", []any{id}, r.fields()...); err != nil {
		return migration.Row{}, fmt.Errorf("migration %s: %w", id, err)
	}
	return r.migration(), nil
}

func (t tx) Migrations(f store.MigrationFilter) ([]migration.Row, error) {
	var c conditions
	c.and(f.Open, "open")
	c.and(f.Host != "", "(source = ? OR target = ?)", f.Host, f.Host)
	c.and(f.Domain != "", "domain = ?", f.Domain)
	c.and(f.Decision != "", "decision = ?", f.Decision)
	stored, err := query(t.s, "SELECT "+migrationColumns+" FROM migrations"+c.where()+" ORDER BY planned DESC, id DESC"+c.limit(f.Limit),
		c.args, (*storedRow).fields)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	rows := make([]migration.Row, len(stored))
	for i := range stored {
		rows[i] = stored[i].migration()
	}
	return rows, nil
}

var putMigration = insert("migrations", migrationColumns, "id")

func (t tx) PutMigration(m migration.Row) error {
	if m.ID == "" || m.Domain == "" || m.State == "" {
		return fmt.Errorf("migration %q of domain %q in state %q: %w", m.ID, m.Domain, m.State, store.ErrInvalid)
	}
	if m.State.Ended() && m.Outcome == "" {
		return fmt.Errorf("migration %s ended in state %s without an outcome: %w", m.ID, m.State, store.ErrInvalid)
	}
	if _, err := t.s.exec(putMigration, toStored(m).fields()...); err != nil {
		return fmt.Errorf("put migration %s: %w", m.ID, err)
	}
	return nil
}
