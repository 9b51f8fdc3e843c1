package manager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/migration"
	"github.com/vireo-kvm/vireo/store"
)

// Background does slow work off the loop, in order, and gives the result back
// as an input of the loop.
type Background interface {
	Go(work func(ctx context.Context) error, done func(now time.Time, err error))
}

// Setup is what a Core is made of. All fields but Log, NewID and Ends are needed.
type Setup struct {
	Store      store.Store
	Readings   store.Readings
	Scorer     Scorer
	Background Background
	Policy     Policy
	Log        *slog.Logger
	NewID      func(prefix string) string
	// Ends says when the manager's certificate and its CA's end; nil: nobody warns.
	Ends func() (own, ca time.Time)
}

// Core is the manager without clock, network and goroutines. One goroutine
// calls its methods; now never goes back. What is durable is in the store
// before anybody is told; the fields below are its copy in memory and what only
// lives as long as the agents' sessions.
type Core struct {
	st    store.Store
	rd    store.Readings
	bg    Background
	score Scorer
	pol   Policy
	log   *slog.Logger
	newID func(prefix string) string
	id    store.Identity

	hosts     map[string]*host
	claims    map[string]*claim // by domain
	moves     map[string]*move  // open rows by id
	moving    map[string]*move  // and by domain: at most one each
	owed      map[owedKey]store.Owed
	decisions map[string]*standing
	settings  settings

	orders orders
	asked  questions

	book  book
	pace  pace
	fatal error
}

// settings are what operators change at run time.
type settings struct {
	automation       bool
	automationReason string
	revoked          map[string]store.Setting // operators' certificates, by key of the setting
}

// questions are what agents were asked besides orders.
type questions struct {
	last  uint64                // id of the last report that was asked for
	virsh map[string]*virshCall // open calls by id
	pleas pleas
}

// pace says when the passes that need not run with every input ran last.
type pace struct {
	decided, pursued, owed, flushed time.Time
	retained                        time.Time
	ends                            ends
	decideSoon                      bool // a score or a state changed since
}

// NewCore reads everything from the store and neither writes nor sends anything. An
// error is the store's.
func NewCore(ctx context.Context, s Setup, now time.Time) (*Core, error) {
	if s.NewID == nil {
		s.NewID = randomID
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	c := &Core{
		st: s.Store, rd: s.Readings, bg: s.Background, score: s.Scorer, pol: s.Policy, log: s.Log, newID: s.NewID,
		pace:      pace{ends: ends{own: s.Ends, warned: map[string]time.Time{}}},
		id:        s.Store.Identity(),
		hosts:     map[string]*host{},
		claims:    map[string]*claim{},
		moves:     map[string]*move{},
		moving:    map[string]*move{},
		owed:      map[owedKey]store.Owed{},
		decisions: map[string]*standing{},
		settings:  settings{automation: true, revoked: map[string]store.Setting{}},
		orders:    orders{wanted: map[orderKey]*order{}, byID: map[string]*order{}},
		asked:     questions{virsh: map[string]*virshCall{}, pleas: newPleas()},
		book:      newBook(),
	}
	// Numbers of asks grow with the term, so that an agent's answer to an
	// earlier manager is never taken for one to this.
	c.asked.last = c.id.Term << 32
	if err := s.Store.View(ctx, func(r store.Reader) error { return c.load(r, now) }); err != nil {
		return nil, err
	}
	if err := c.loadRisks(ctx, now); err != nil {
		return nil, err
	}
	return c, nil
}

func randomID(prefix string) string {
	var b [6]byte
	rand.Read(b[:]) // never fails, see its documentation
	return prefix + "-" + hex.EncodeToString(b[:])
}

// load fills the copy in memory.
func (c *Core) load(r store.Reader, now time.Time) error {
	hosts, err := r.Hosts()
	if err != nil {
		return err
	}
	for _, h := range hosts {
		c.hosts[h.Name] = newHost(h)
	}
	if c.book.epoch, err = r.LastEpoch(); err != nil {
		return err
	}
	claims, err := r.Claims(store.ClaimFilter{})
	if err != nil {
		return err
	}
	c.claims = make(map[string]*claim, len(claims))
	held := make([]claim, len(claims))
	for i, cl := range claims {
		held[i].Claim = cl
		c.claims[cl.Domain] = &held[i]
	}
	rows, err := r.Migrations(store.MigrationFilter{Open: true})
	if err != nil {
		return err
	}
	for _, row := range rows {
		c.addMove(row)
	}
	owed, err := r.Owed(store.OwedFilter{})
	if err != nil {
		return err
	}
	for _, o := range owed {
		c.owed[keyOf(o)] = o
	}
	set, err := r.Setting(store.SettingAutomation)
	switch {
	case err == nil:
		c.settings.automation, c.settings.automationReason = set.Value == "on", set.Reason
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	revoked, err := r.Settings("revoked.")
	if err != nil {
		return err
	}
	for _, s := range revoked {
		c.settings.revoked[s.Key] = s
	}
	domains, err := r.Domains(store.DomainFilter{})
	if err != nil {
		return err
	}
	for _, d := range domains {
		if h := c.hosts[d.Host]; h != nil {
			d.Host = h.Name // one string for all its guests, as below
			if cl := c.claims[d.UUID]; cl != nil {
				d.UUID = cl.Domain
			}
			h.last[d.UUID] = d
		}
	}
	return c.loadDecisions(r, now)
}

// Start begins the work: what the store left open goes on.
func (c *Core) Start(now time.Time) {
	c.event(now, store.Event{Kind: "manager.started", Text: fmt.Sprintf("generation %d, term %d, %d hosts, %d claims, %d moves open",
		c.id.Generation, c.id.Term, len(c.hosts), len(c.claims), len(c.moves))})
	if waiting := c.unheard(); len(waiting) > 0 {
		c.event(now, store.Event{Kind: "recovery.began", Severity: store.Alarm, Text: fmt.Sprintf(
			"generation %d waits for a complete report of %s: nothing is granted, moved or released before", c.id.Generation, strings.Join(waiting, ", "))})
		c.log.Warn("recovery", "generation", c.id.Generation, "waiting", strings.Join(waiting, ", "))
	}
	c.log.Info("started", "generation", c.id.Generation, "term", c.id.Term, "hosts", len(c.hosts), "claims", len(c.claims), "moves", len(c.moves))
}

// Stop writes what has not been written.
func (c *Core) Stop(now time.Time) {
	if c.fatal == nil {
		c.pace.flushed = time.Time{}
		c.flush(now)
	}
}

// Fatal is why this manager must end, nil while it need not: another one has taken
// over, or a commit failed in a way that leaves open whether it happened.
func (c *Core) Fatal() error { return c.fatal }

// Take lets the core have one input, unless this manager leads no more: between two
// inputs its process may have stood still for any time. An error ends the manager,
// which writes nothing any more.
func (c *Core) Take(leads func() bool, input func()) error {
	if !leads() {
		return fmt.Errorf("this manager leads no more: %w", store.ErrFenced)
	}
	input()
	return c.fatal
}

// Tick is one pass over everything that time alone changes. It is called
// several times a second; each part has its own pace.
func (c *Core) Tick(now time.Time) {
	if c.fatal != nil {
		return
	}
	c.age(now)
	c.arbitrate(now)
	for _, m := range c.sortedMoves() {
		c.watch(m, now)
		c.conduct(m, now)
	}
	if c.pace.decideSoon || now.Sub(c.pace.decided) >= c.pol.Pace.Decide && c.unsettled() {
		c.decide(now)
	}
	if now.Sub(c.pace.pursued) >= c.pol.Pace.Pursue {
		c.pursue(now)
	}
	c.fill(now)
	if now.Sub(c.pace.owed) >= c.pol.Pace.Owed {
		c.pace.owed = now
		c.payOwed(now)
		for _, h := range c.sortedHosts() {
			c.reconcileClaims(h, now)
			c.reconcileTakes(h, now)
		}
	}
	c.drained(now)
	c.warnOfEnds(now)
	c.flush(now)
	c.retain(now)
}

// update runs one transaction, with the events that wait in front of it, so that
// they are stored in the order in which they happened. On success the caller
// changes the copy in memory; on an error nothing has changed, and the next pass
// tries again.
func (c *Core) update(what string, f func(tx store.Tx) error) error {
	events := c.book.events
	err := c.st.Update(context.Background(), func(tx store.Tx) error {
		if err := appendEvents(tx, events); err != nil {
			return err
		}
		return f(tx)
	})
	switch {
	case err == nil:
		c.book.full = false
		c.book.events = nil
		if len(events) > 0 {
			c.announce()
		}
		return nil
	case errors.Is(err, store.ErrFull):
		if !c.book.full {
			c.log.Error("the store is full: nothing is granted and nothing moves until there is room", "doing", what, "err", err)
		}
		c.book.full = true
	case errors.Is(err, errStranger):
		// Anybody may present any token, as often as they like.
	case errors.Is(err, errRefused):
		// Whoever asked says so, once: it may be asked for in every pass.
	case errors.Is(err, store.ErrStale), errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrNotFound):
		c.log.Error("the store refused", "doing", what, "err", err)
	default:
		c.fatal = fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// errRefused ends a transaction whose own check failed.
var errRefused = errors.New("refused")

// errStranger ends a transaction for somebody whose token lets nobody in.
var errStranger = errors.New("no valid token")

// ended says whether a row needs no more steps.
func ended(r migration.Row) bool { return r.State.Ended() }
