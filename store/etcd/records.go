package etcd

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/moves"
)

// The records as they are stored: JSON under names that never change. They are
// converted from the types of package store as they stand: a field added there
// does not compile here until it has a stored name.
type (
	storedHost struct {
		Name            string          `json:"name"`
		LibvirtUUID     string          `json:"libvirt_uuid,omitempty"`
		MachineID       string          `json:"machine_id,omitempty"`
		CertSerial      string          `json:"cert_serial,omitempty"`
		Enrolled        time.Time       `json:"enrolled,omitzero"`
		Revoked         time.Time       `json:"revoked,omitzero"`
		State           store.HostState `json:"state"`
		StateReason     string          `json:"state_reason,omitempty"`
		StateSince      time.Time       `json:"state_since,omitzero"`
		StateDecision   string          `json:"state_decision,omitempty"`
		Risk            store.Risk      `json:"risk"`
		PreferredTarget string          `json:"preferred_target,omitempty"`
		BootID          string          `json:"boot_id,omitempty"`
		LastReport      time.Time       `json:"last_report,omitzero"`
		Heard           uint64          `json:"heard,omitempty"`
		Dead            time.Time       `json:"dead,omitzero"`
		Facts           store.Facts     `json:"facts"`
	}
	storedClaim struct {
		Domain      string      `json:"domain"`
		Name        string      `json:"name,omitempty"`
		Holder      string      `json:"holder"`
		Epoch       uint64      `json:"epoch"`
		Phase       store.Phase `json:"phase"`
		Attempt     string      `json:"attempt,omitempty"`
		Target      string      `json:"target,omitempty"`
		Seen        time.Time   `json:"seen,omitzero"`
		GrantedBy   string      `json:"granted_by,omitempty"`
		RiskAtGrant float64     `json:"risk_at_grant,omitempty"`
		Since       time.Time   `json:"since,omitzero"`
		MemoryKiB   uint64      `json:"memory_kib,omitempty"`
	}
	storedOwed struct {
		Kind      store.OwedKind `json:"kind"`
		Host      string         `json:"host"`
		Domain    string         `json:"domain"`
		Attempt   string         `json:"attempt,omitempty"`
		Epoch     uint64         `json:"epoch,omitempty"`
		Since     time.Time      `json:"since,omitzero"`
		MemoryKiB uint64         `json:"memory_kib,omitempty"`
		Keep      bool           `json:"keep,omitempty"`
		Autostart bool           `json:"autostart,omitempty"`
	}
	// storedDecision has its evidence under keys of its own.
	storedDecision struct {
		ID         string               `json:"id"`
		At         time.Time            `json:"at,omitzero"`
		Host       string               `json:"host,omitempty"`
		Kind       store.DecisionKind   `json:"kind"`
		Status     store.DecisionStatus `json:"status"`
		Component  string               `json:"component,omitempty"`
		Cause      string               `json:"cause,omitempty"`
		Summary    string               `json:"summary,omitempty"`
		Threshold  float64              `json:"threshold,omitempty"`
		Risk       store.Risk           `json:"risk"`
		Reasons    []store.Reason       `json:"reasons,omitempty"`
		Placements []store.Placement    `json:"placements,omitempty"`
		Model      string               `json:"model,omitempty"`
		Evidence   []byte               `json:"-"`
		ResolvedBy string               `json:"resolved_by,omitempty"`
		Resolution string               `json:"resolution,omitempty"`
		ResolvedAt time.Time            `json:"resolved_at,omitzero"`
	}
	// evidenced adds how many keys the evidence takes; 0: there is none.
	evidenced struct {
		storedDecision
		Parts int `json:"evidence_parts,omitempty"`
	}
	storedEvent struct {
		ID        uint64         `json:"id"`
		At        time.Time      `json:"at,omitzero"`
		Kind      string         `json:"kind"`
		Severity  store.Severity `json:"severity"`
		Host      string         `json:"host,omitempty"`
		Domain    string         `json:"domain,omitempty"`
		Migration string         `json:"migration,omitempty"`
		Decision  string         `json:"decision,omitempty"`
		Who       string         `json:"who,omitempty"`
		Text      string         `json:"text,omitempty"`
	}
	storedSetting struct {
		Key    string    `json:"key"`
		Value  string    `json:"value"`
		Reason string    `json:"reason,omitempty"`
		Who    string    `json:"who,omitempty"`
		At     time.Time `json:"at,omitzero"`
	}
	storedToken struct {
		ID        string          `json:"id"`
		Kind      store.TokenKind `json:"kind"`
		Host      string          `json:"host,omitempty"`
		Role      string          `json:"role,omitempty"`
		Hash      []byte          `json:"hash"`
		Replace   bool            `json:"replace,omitempty"`
		Created   time.Time       `json:"created,omitzero"`
		CreatedBy string          `json:"created_by,omitempty"`
		Expires   time.Time       `json:"expires,omitzero"`
		Used      time.Time       `json:"used,omitzero"`
	}
	storedDomain struct {
		UUID        string    `json:"uuid"`
		Name        string    `json:"name,omitempty"`
		Host        string    `json:"host"`
		State       string    `json:"state,omitempty"`
		StateReason string    `json:"state_reason,omitempty"`
		MemoryKiB   uint64    `json:"memory_kib,omitempty"`
		VCPUs       uint32    `json:"vcpus,omitempty"`
		Persistent  bool      `json:"persistent,omitempty"`
		Autostart   bool      `json:"autostart,omitempty"`
		Lockable    bool      `json:"lockable,omitempty"`
		Seen        time.Time `json:"seen,omitzero"`
	}
)

// A move's parts, which package migration knows without any storage.
type (
	storedRow struct {
		ID          string               `json:"id"`
		Domain      string               `json:"domain"`
		DomainName  string               `json:"domain_name,omitempty"`
		Source      string               `json:"source,omitempty"`
		Target      string               `json:"target,omitempty"`
		Reason      string               `json:"reason,omitempty"`
		Decision    string               `json:"decision,omitempty"`
		State       migration.State      `json:"state"`
		Switchover  migration.Switchover `json:"switchover,omitempty"`
		Epoch       uint64               `json:"epoch,omitempty"`
		SourceBoot  string               `json:"source_boot,omitempty"`
		Before      moves.Before         `json:"before"`
		Options     moves.Options        `json:"options"`
		Steps       []moves.Step         `json:"steps,omitempty"`
		AbortReason string               `json:"abort_reason,omitempty"`
		Outcome     string               `json:"outcome,omitempty"`
		Planned     time.Time            `json:"planned,omitzero"`
		Started     time.Time            `json:"started,omitzero"`
		Ended       time.Time            `json:"ended,omitzero"`
		Progress    moves.Progress       `json:"progress"`
		Downtime    moves.Downtime       `json:"downtime"`
	}
)

func toStoredRow(m migration.Row) storedRow {
	r := storedRow{
		ID: m.ID, Domain: m.Domain, DomainName: m.DomainName, Source: m.Source, Target: m.Target, Reason: m.Reason, Decision: m.Decision,
		State: m.State, Switchover: m.Switchover, Epoch: m.Epoch, SourceBoot: m.SourceBoot,
		Before: moves.Before(m.Before), Options: moves.Options(m.Options),
		AbortReason: m.AbortReason, Outcome: m.Outcome, Planned: m.Planned, Started: m.Started, Ended: m.Ended,
		Progress: moves.Progress(m.Progress), Downtime: moves.Downtime(m.Downtime),
	}
	r.Steps = moves.OfSteps(m.Steps)
	return r
}

func (r storedRow) migration() migration.Row {
	m := migration.Row{
		ID: r.ID, Domain: r.Domain, DomainName: r.DomainName, Source: r.Source, Target: r.Target, Reason: r.Reason, Decision: r.Decision,
		State: r.State, Switchover: r.Switchover, Epoch: r.Epoch, SourceBoot: r.SourceBoot,
		Before: migration.Before(r.Before), Options: migration.Options(r.Options),
		AbortReason: r.AbortReason, Outcome: r.Outcome, Planned: r.Planned, Started: r.Started, Ended: r.Ended,
		Progress: migration.Progress(r.Progress), Downtime: migration.Downtime(r.Downtime),
	}
	m.Steps = moves.Steps(r.Steps)
	return m
}

// encode is a record as it is stored. A number that is none is ErrInvalid.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	var unsupported *json.UnsupportedValueError
	if errors.As(err, &unsupported) {
		return nil, fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	return b, err
}

// decode reads a stored record; times are UTC. What cannot be read is ErrCorrupt.
func decode[T any](key string, b []byte) (v T, err error) {
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%s: %w: %w", key, store.ErrCorrupt, err)
	}
	toUTC(reflect.ValueOf(&v).Elem())
	return v, nil
}

var timeType = reflect.TypeFor[time.Time]()

// toUTC changes the times that a record itself has.
func toUTC(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case f.Type() == timeType:
			if t := f.Interface().(time.Time); t.Location() != time.UTC {
				f.Set(reflect.ValueOf(t.UTC()))
			}
		case f.Kind() == reflect.Struct:
			toUTC(f)
		}
	}
}

// packed is evidence as it is stored, in parts that fit into a request.
func packed(evidence []byte) ([][]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(evidence); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	var parts [][]byte
	for b.Len() > 0 {
		parts = append(parts, bytes.Clone(b.Next(partSize)))
	}
	return parts, nil
}

// unpacked is the evidence again.
func unpacked(parts [][]byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(bytes.Join(parts, nil)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return all, nil
}
