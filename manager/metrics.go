package manager

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/vireo-kvm/vireo/manager/api/apierr"
	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// counts are what has happened since the manager started.
type counts struct {
	ended                    map[migration.State]uint64
	downtime, handover, took prometheus.Histogram
}

func newCounts() counts {
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	return counts{
		ended:    map[migration.State]uint64{},
		downtime: histogram("vireo_migration_downtime_seconds", "How long guests stood still in moves that arrived.", .02, .05, .1, .2, .3, .4, .6, 1, 2, 5, 15),
		handover: histogram("vireo_migration_handover_seconds", "From the source's process gone and the copy complete until the guest ran on the target.", .001, .002, .005, .01, .02, .05, .1, .5, 2),
		took:     histogram("vireo_migration_duration_seconds", "From the claim in transferring until the move was done.", .5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200),
	}
}

// tally counts a row that has ended.
func (c *Core) tally(r migration.Row) {
	c.book.counts.ended[r.State]++
	if r.State != migration.Done {
		return
	}
	c.book.counts.took.Observe(r.Ended.Sub(r.Started).Seconds())
	if r.Downtime.Total > 0 {
		c.book.counts.downtime.Observe(r.Downtime.Total.Seconds())
		c.book.counts.handover.Observe(r.Downtime.Handover.Seconds())
	}
}

var (
	descCertificate = prometheus.NewDesc("vireo_host_certificate_not_after_timestamp_seconds", "When the certificate ends with which a host speaks.", []string{"host"}, nil)
	descUp          = prometheus.NewDesc("vireo_host_up", "1 while a host reports completely and its libvirtd answers.", []string{"host"}, nil)
	descState       = prometheus.NewDesc("vireo_host_state", "1 for the state a host is in.", []string{"host", "state"}, nil)
	descRisk        = prometheus.NewDesc("vireo_host_risk_ratio", "Calibrated probability that the host harms its guests within 30 days.", []string{"host"}, nil)
	descHard        = prometheus.NewDesc("vireo_host_hard_evidence", "1 while hard evidence of failure stands.", []string{"host"}, nil)
	descComponent   = prometheus.NewDesc("vireo_component_risk_ratio", "Calibrated probability that a component fails within 30 days.", []string{"host", "component"}, nil)
	descClaimed     = prometheus.NewDesc("vireo_host_memory_claimed_bytes", "Memory of what is claimed, on its way or reserved on a host.", []string{"host"}, nil)
	descCapacity    = prometheus.NewDesc("vireo_host_memory_capacity_bytes", "Memory that may be claimed on a host.", []string{"host"}, nil)
	descClaims      = prometheus.NewDesc("vireo_claims", "Claims by phase.", []string{"phase"}, nil)
	descOpen        = prometheus.NewDesc("vireo_migrations_open", "Open migrations by state.", []string{"state"}, nil)
	descEnded       = prometheus.NewDesc("vireo_migrations_total", "Migrations that have ended since the manager started, by outcome.", []string{"outcome"}, nil)
	descStuck       = prometheus.NewDesc("vireo_migrations_stuck", "Open migrations that need a person, or whose guest stands still.", nil, nil)
	descWaiting     = prometheus.NewDesc("vireo_decisions_waiting", "Decisions that wait for approval or are held back.", nil, nil)
	descAuto        = prometheus.NewDesc("vireo_automation_enabled", "0 while the automation switch is off.", nil, nil)
	descOwed        = prometheus.NewDesc("vireo_owed", "What hosts still have to do or confirm of ended migrations.", []string{"kind"}, nil)
	descDropped     = prometheus.NewDesc("vireo_readings_dropped_total", "Readings that were not in the catalogue of signals.", nil, nil)
	descBare        = prometheus.NewDesc("vireo_host_domains_unprotected", "Guests at work of which a second run on another host would be refused by nothing but claims.", []string{"host"}, nil)
	descRecovery    = prometheus.NewDesc("vireo_recovery_hosts", "Hosts that the recovery of a restored store waits for.", nil, nil)
	descTerm        = prometheus.NewDesc("vireo_manager_term", "The term of this manager.", nil, nil)
	descFull        = prometheus.NewDesc("vireo_store_full", "1 while the store has no room: nothing is granted and nothing moves.", nil, nil)
)

// collector reads the core when Prometheus asks.
type collector struct{ m *Manager }

// Collector is the manager's state for Prometheus.
func (m *Manager) Collector() prometheus.Collector { return collector{m} }

// Describe sends nothing: the set of series depends on the fleet.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect waits for the loop, which answers or ends.
func (k collector) Collect(ch chan<- prometheus.Metric) {
	var out []prometheus.Metric
	if err := k.m.do(context.Background(), func(time.Time) { out = k.m.core.metrics() }); err != nil {
		ch <- prometheus.NewInvalidMetric(descUp, err)
		return
	}
	for _, metric := range out {
		ch <- metric
	}
	for _, h := range [...]prometheus.Histogram{k.m.core.book.counts.downtime, k.m.core.book.counts.handover, k.m.core.book.counts.took} {
		h.Collect(ch)
	}
}

func (c *Core) metrics() []prometheus.Metric {
	var out []prometheus.Metric
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out = append(out, prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...))
	}
	claimed := c.claimedKiB("")
	for _, h := range c.sortedHosts() {
		if !h.Revoked.IsZero() {
			continue
		}
		gauge(descUp, one(h.alive()), h.Name)
		if !h.certificate.IsZero() {
			gauge(descCertificate, float64(h.certificate.Unix()), h.Name)
		}
		for _, s := range [...]store.HostState{store.Healthy, store.Watch, store.Quarantined, store.Evacuating, store.Drained, store.Maintenance, store.Unknown} {
			gauge(descState, one(h.shown() == s), h.Name, string(s))
		}
		gauge(descRisk, h.Risk.P30d/100, h.Name)
		gauge(descBare, float64(h.bare()), h.Name)
		gauge(descHard, one(h.Risk.Hard), h.Name)
		gauge(descClaimed, float64(claimed[h.Name])*1024, h.Name)
		gauge(descCapacity, float64(c.pol.Decide.CapacityKiB(h.Facts.MemoryKiB))*1024, h.Name)
		for _, r := range h.risk.now.Components {
			gauge(descComponent, r.Score.P30d/100, h.Name, r.Component)
		}
	}
	phases := map[store.Phase]int{store.Held: 0, store.Transferring: 0, store.Ambiguous: 0}
	for _, cl := range c.claims {
		phases[cl.Phase]++
	}
	for phase, n := range phases {
		gauge(descClaims, float64(n), string(phase))
	}
	open, stuck := map[migration.State]int{}, 0
	for _, m := range c.moves {
		open[m.row.State]++
		if m.stuck.alarmed != "" && !m.stuck.since.IsZero() {
			stuck++
		}
	}
	for state, n := range open {
		gauge(descOpen, float64(n), string(state))
	}
	gauge(descStuck, float64(stuck))
	for state, n := range c.book.counts.ended {
		out = append(out, prometheus.MustNewConstMetric(descEnded, prometheus.CounterValue, float64(n), string(state)))
	}
	waiting := 0
	for _, d := range c.decisions {
		if d.Status == store.Waiting || d.Status == store.HeldBack {
			waiting++
		}
	}
	gauge(descWaiting, float64(waiting))
	gauge(descAuto, one(c.settings.automation))
	owed := map[store.OwedKind]int{store.OwedVoid: 0, store.OwedSettle: 0, store.OwedReservation: 0}
	for _, o := range c.owed {
		owed[o.Kind]++
	}
	for kind, n := range owed {
		gauge(descOwed, float64(n), string(kind))
	}
	out = append(out, prometheus.MustNewConstMetric(descDropped, prometheus.CounterValue, float64(c.book.dropped)))
	gauge(descRecovery, float64(len(c.unheard())))
	gauge(descTerm, float64(c.id.Term))
	gauge(descFull, one(c.book.full))
	return out
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Health says what is wrong with the manager, nil when nothing is.
func (m *Manager) Health(ctx context.Context) error {
	full := false
	if err := m.do(ctx, func(time.Time) { full = m.core.book.full }); err != nil {
		return err
	}
	if full {
		return apierr.New(apierr.Unavailable, "the store is full")
	}
	return nil
}
