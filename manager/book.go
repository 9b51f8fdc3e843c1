package manager

import (
	"time"

	"github.com/vireo-kvm/vireo/store"
)

// book holds what is written when there is time: events and what is only shown.
// Whatever must be durable before somebody is told goes into the transaction
// that makes it true, not here.
type book struct {
	events  []store.Event
	domains map[domainAt]*store.Domain // nil: forget it
	full    bool                       // the store's disk
	epoch   uint64                     // the last that was given out
	began   bool                       // a new generation, on an agent's word
	dropped uint64                     // readings that were not sound

	tries  map[string]*tried            // by domain
	looked map[string]time.Time         // by decision: when it was last pursued
	stays  map[string]map[string]string // by host and domain: why it is still there
	counts counts

	refused map[string]string    // by host: why its last session was refused
	lonely  map[domainAt]*lonely // paused copies that no move brings
	// told is closed and replaced whenever events have become readable.
	told chan struct{}
}

type domainAt struct{ host, uuid string }

func newBook() book {
	return book{
		domains: map[domainAt]*store.Domain{}, told: make(chan struct{}),
		tries: map[string]*tried{}, looked: map[string]time.Time{}, stays: map[string]map[string]string{},
		counts: newCounts(), refused: map[string]string{}, lonely: map[domainAt]*lonely{},
	}
}

// event notes that something happened.
func (c *Core) event(now time.Time, e store.Event) {
	if e.Severity == "" {
		e.Severity = store.Info
	}
	e.At = now
	c.book.events = append(c.book.events, e)
}

// flush writes what waits, at its pace, in one transaction.
func (c *Core) flush(now time.Time) {
	if now.Sub(c.pace.flushed) < c.pol.Pace.Flush && c.fatal == nil {
		return
	}
	c.pace.flushed = now
	var hosts []*host
	for _, h := range c.sortedHosts() {
		if h.dirty || now.Sub(h.stored) >= keepLastReport && h.LastReport.After(h.stored) {
			hosts = append(hosts, h)
		}
	}
	var moves []*move
	for _, m := range c.sortedMoves() {
		if m.dirty {
			moves = append(moves, m)
		}
	}
	if len(hosts)+len(moves)+len(c.book.events)+len(c.book.domains) == 0 {
		return
	}
	err := c.update("writing what was seen", func(tx store.Tx) error {
		for _, h := range hosts {
			if err := tx.PutHost(h.Host); err != nil {
				return err
			}
		}
		for _, m := range moves {
			if err := tx.PutMigration(m.row); err != nil {
				return err
			}
		}
		for at, d := range c.book.domains {
			if d == nil {
				if err := tx.DeleteDomain(at.host, at.uuid); err != nil {
					return err
				}
			} else if err := tx.PutDomain(*d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return
	}
	for _, h := range hosts {
		h.dirty, h.stored = false, now
	}
	for _, m := range moves {
		m.dirty = false
	}
	clear(c.book.domains)
}

// announce wakes those who follow events.
func (c *Core) announce() {
	close(c.book.told)
	c.book.told = make(chan struct{})
}

// keepLastReport is how old the stored time of a host's last report may be when
// nothing else about the host changes.
const keepLastReport = 30 * time.Second

func appendEvents(tx store.Tx, events []store.Event) error {
	for _, e := range events {
		if _, err := tx.AppendEvent(e); err != nil {
			return err
		}
	}
	return nil
}

// retain lets the readings' store forget what is old, now and then.
func (c *Core) retain(now time.Time) {
	if c.pace.retained.IsZero() {
		c.pace.retained = now
	}
	if now.Sub(c.pace.retained) < c.pol.Pace.Retain {
		return
	}
	c.pace.retained = now
	c.bg.Go(forgetEvents(c.st, now), func(_ time.Time, err error) {
		if err != nil {
			c.log.Error("forgetting old events", "err", err)
		}
	})
	c.bg.Go(retainWork(c.rd, now), func(_ time.Time, err error) {
		if err != nil {
			c.log.Error("forgetting old readings", "err", err)
		}
	})
}
