package sqlite

import (
	"fmt"
	"time"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// A move's nested parts as they are stored. They are converted field by field
// from package migration, which knows nothing of storage: a field added there
// does not compile here until it has a stored name.
type (
	storedBefore struct {
		Paused      bool   `json:"paused,omitempty"`
		Persistent  bool   `json:"persistent,omitempty"`
		Autostart   bool   `json:"autostart,omitempty"`
		MemoryKiB   uint64 `json:"memory_kib,omitempty"`
		XML         string `json:"xml,omitempty"`
		InactiveXML string `json:"inactive_xml,omitempty"`
	}
	storedOptions struct {
		Bandwidth    uint64        `json:"bandwidth,omitempty"`
		MaxDowntime  time.Duration `json:"max_downtime_ns,omitempty"`
		AutoConverge bool          `json:"auto_converge,omitempty"`
		PostCopy     bool          `json:"post_copy,omitempty"`
		Parallel     int           `json:"parallel,omitempty"`
		CopyDisks    []string      `json:"copy_disks,omitempty"`
		Timeout      time.Duration `json:"timeout_ns,omitempty"`
	}
	storedStep struct {
		At     time.Time `json:"at,omitzero"`
		Name   string    `json:"name"`
		Detail string    `json:"detail,omitempty"`
	}
	storedProgress struct {
		DataTotal           uint64    `json:"data_total,omitempty"`
		DataProcessed       uint64    `json:"data_processed,omitempty"`
		DataRemaining       uint64    `json:"data_remaining,omitempty"`
		BytesPerSecond      uint64    `json:"bytes_per_second,omitempty"`
		DirtyBytesPerSecond uint64    `json:"dirty_bytes_per_second,omitempty"`
		Iteration           uint64    `json:"iteration,omitempty"`
		At                  time.Time `json:"at,omitzero"`
	}
	storedDowntime struct {
		Switch     time.Duration `json:"switch_ns,omitempty"`
		SourceExit time.Duration `json:"source_exit_ns,omitempty"`
		Handover   time.Duration `json:"handover_ns,omitempty"`
		Total      time.Duration `json:"total_ns,omitempty"`
	}
)

// storedRow is a row on its way to or from the table.
type storedRow struct {
	row      migration.Row
	open     bool
	before   storedBefore
	options  storedOptions
	steps    []storedStep
	progress storedProgress
	downtime storedDowntime
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
	r := &storedRow{row: m, open: !m.State.Ended(), before: storedBefore(m.Before), options: storedOptions(m.Options),
		progress: storedProgress(m.Progress), downtime: storedDowntime(m.Downtime)}
	for _, s := range m.Steps {
		r.steps = append(r.steps, storedStep(s))
	}
	return r
}

func (r *storedRow) migration() migration.Row {
	m := r.row
	m.Before, m.Options = migration.Before(r.before), migration.Options(r.options)
	m.Progress, m.Downtime = migration.Progress(r.progress), migration.Downtime(r.downtime)
	for _, s := range r.steps {
		m.Steps = append(m.Steps, migration.Step(s))
	}
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
