package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/virt/virttest"
	"github.com/vireo-kvm/vireo/configs"
)

// Options say how much happens.
type Options struct {
	Seed     uint64
	Hosts    int           // 3 to 9
	Guests   int           // on all hosts together
	Managers int           // 0 or 1: one on SQLite; more: that many on a model of etcd
	Day      time.Duration // how long, in virtual time
	Episodes int           // of faults, spread over the day
	// Dir holds the store and the journals; best on a tmpfs. It must be empty.
	Dir string
	// Trace takes every event as it happens; nil keeps the last ones only.
	Trace func(line string)
	// Rule is held after every event, beside the rules of the house.
	Rule func(claims, evacuations int) error
}

// Result is how a run ended.
type Result struct {
	Hash   uint64 // of the whole log
	Events int
	Counts map[string]int // of faults and outcomes, by name
	Last   []string       // the last events
	Err    error          // the broken invariant; nil when all held
}

// Sim is one run.
type Sim struct {
	opts  Options
	rng   *rand.Rand
	fleet *virttest.Fleet
	base  time.Time
	queue events
	order uint64

	hosts  []*station
	byName map[string]*station
	managers
	guests []*guest
	ids    map[string]int

	trace    trace
	truth    truth
	busy     time.Duration // until then time passes in small steps
	cause    string        // of what happens now
	counts   map[string]int
	quiet    bool          // no new faults
	restored time.Duration // when the store was last restored
	staged
}

// managers are those of this world.
type managers struct {
	house  *house   // the one that leads, or did last
	houses []*house // all of them
	turns  *turns   // of several; nil where there is one
}

// staged is what waits for its moment, by domain.
type staged struct {
	planted map[string][]plantedStep // faults that wait for a row's state
	cues    map[string][]cue
	// callWaits is how long the next migrate call waits in libvirtd's queue.
	callWaits map[string]time.Duration
}

// violation is a broken invariant on its way out.
type violation struct{ error }

// Run runs one seed.
func Run(o Options) (res Result) {
	s := &Sim{
		opts: o, rng: rand.New(rand.NewPCG(o.Seed, 0x76697265)), base: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		byName: map[string]*station{}, ids: map[string]int{}, counts: map[string]int{},
		staged: staged{planted: map[string][]plantedStep{}, cues: map[string][]cue{}, callWaits: map[string]time.Duration{}}, trace: trace{sink: o.Trace},
	}
	defer func() {
		if p := recover(); p != nil {
			v, is := p.(violation)
			if !is {
				s.trace.dump()
				panic(p)
			}
			res.Err = fmt.Errorf("seed %d, %s: %w", o.Seed, s.fleet.Now(), v.error)
		}
		res.Hash, res.Events, res.Counts, res.Last = s.trace.hash, s.trace.count, s.counts, s.trace.last()
		s.close()
	}()
	if err := s.setUp(); err != nil {
		res.Err = err
		return res
	}
	s.day()
	return res
}

func (s *Sim) setUp() error {
	var names []string
	for i := range s.opts.Hosts {
		names = append(names, fmt.Sprintf("h%d", i+1))
	}
	s.fleet = virttest.NewFleet(names, virttest.WithoutWaiting())
	s.truth = newTruth()
	for _, n := range names {
		st := newStation(s, n)
		s.hosts = append(s.hosts, st)
		s.byName[n] = st
	}
	if s.opts.Managers > 1 {
		s.takeTurns(s.opts.Managers)
	} else {
		s.house = newHouse(s, filepath.Join(s.opts.Dir, "vireo.db"))
		s.houses = []*house{s.house}
	}
	if err := s.enrol(); err != nil {
		return err
	}
	for i := range s.opts.Guests {
		s.newGuest(i)
	}
	for _, h := range s.houses {
		h.start()
	}
	mode := configs.HookEnforce
	if s.opts.Seed%6 == 5 {
		mode = configs.HookObserve
	}
	for _, st := range s.hosts {
		st.installHook(mode) // over a fleet that runs already
		st.start()
	}
	return nil
}

func (s *Sim) close() {
	for _, st := range s.hosts {
		st.kill()
	}
	for _, h := range s.houses {
		h.kill()
	}
}

// say writes one line of the log.
func (s *Sim) say(format string, args ...any) {
	s.trace.add(s.fleet.Now(), strings.ReplaceAll(fmt.Sprintf(format, args...), s.opts.Dir, ""))
}

// fail ends the run.
func (s *Sim) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	s.say("BROKEN %v", err)
	panic(violation{err})
}

// id numbers things, each kind by itself.
func (s *Sim) id(prefix string) string {
	s.ids[prefix]++
	return fmt.Sprintf("%s-%d", prefix, s.ids[prefix])
}

// chance is true in p of all cases.
func (s *Sim) chance(p float64) bool { return s.rng.Float64() < p }

// between draws a duration, evenly.
func (s *Sim) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.rng.Int64N(int64(to-from)+1))
}

// spread draws a duration, as often below as above the geometric middle.
func (s *Sim) spread(from, to time.Duration) time.Duration {
	d := from
	for d < to && s.chance(0.75) {
		d *= 2
	}
	return min(d+s.between(0, d), to)
}

// latency is how long something small takes: mostly little, sometimes a lot.
func (s *Sim) latency() time.Duration {
	switch x := s.rng.IntN(1000); {
	case x < 3:
		return s.between(100*time.Millisecond, time.Second)
	case x < 50:
		return s.between(2*time.Millisecond, 60*time.Millisecond)
	}
	return s.between(20*time.Microsecond, 2*time.Millisecond)
}

// pick draws one of them.
func pick[T any](s *Sim, all []T) T { return all[s.rng.IntN(len(all))] }

// event is something that will happen.
type event struct {
	at    time.Duration
	order uint64
	cause string // who is to blame for what it does to guests
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return last
}

// after lets do happen in d.
func (s *Sim) after(d time.Duration, cause string, do func()) {
	s.order++
	heap.Push(&s.queue, event{s.fleet.Now() + d, s.order, cause, do})
}

// idle is the grain of time while nothing happens: agents and the manager are
// woken no more often.
const idle = 30 * time.Second

// coarse is when something that wants to run at a time gets to run.
func (s *Sim) coarse(at time.Duration) time.Duration {
	if at <= s.busy {
		return at
	}
	return max(s.busy, (at+idle-1)/idle*idle)
}

// stir makes time fine for a while.
func (s *Sim) stir(d time.Duration) { s.busy = max(s.busy, s.fleet.Now()+d) }

// pass lets d go by.
func (s *Sim) pass(d time.Duration) {
	for end := s.fleet.Now() + d; s.fleet.Now() < end; {
		s.step(end)
	}
}

// until lets time go by until something is true; false when it never was.
func (s *Sim) until(limit time.Duration, is func() bool) bool {
	for end := s.fleet.Now() + limit; !is(); {
		if s.fleet.Now() >= end {
			return false
		}
		s.step(min(end, s.fleet.Now()+time.Second))
	}
	return true
}

// step goes to the next thing that happens, but not beyond end.
func (s *Sim) step(end time.Duration) {
	next := end
	if len(s.queue) > 0 {
		next = min(next, s.queue[0].at)
	}
	if at, is := s.fleet.Next(); is {
		next = min(next, at)
	}
	for _, st := range s.hosts {
		if at, is := st.wake(); is {
			next = min(next, at)
		}
	}
	for _, h := range s.houses {
		if at, is := h.wake(); is {
			next = min(next, at)
		}
	}
	s.cause = "libvirt"
	s.fleet.Advance(max(next-s.fleet.Now(), 0))
	s.check()
	for len(s.queue) > 0 && s.queue[0].at <= s.fleet.Now() {
		e := heap.Pop(&s.queue).(event)
		s.cause = e.cause
		e.do()
		s.check()
	}
	for _, st := range s.hosts {
		if at, is := st.wake(); is && at <= s.fleet.Now() {
			s.cause = "agent " + st.name
			st.do(func() { st.core.Tick(st.now()) })
			s.check()
		}
	}
	for _, h := range s.houses {
		if at, is := h.wake(); is && at <= s.fleet.Now() {
			s.cause = "manager"
			h.tick()
			s.check()
		}
	}
}

// trace is the log: all of it as a hash, the end of it as text.
type trace struct {
	hash  uint64
	count int
	ring  [200]string
	sink  func(string)
}

func (t *trace) add(at time.Duration, text string) {
	line := fmt.Sprintf("%16s %s", at, text)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x%s", t.hash, line)
	t.hash = h.Sum64()
	t.ring[t.count%len(t.ring)] = line
	t.count++
	if t.sink != nil {
		t.sink(line)
	}
}

// last are the latest lines, oldest first.
func (t *trace) last() []string {
	var out []string
	for i := max(0, t.count-len(t.ring)); i < t.count; i++ {
		out = append(out, t.ring[i%len(t.ring)])
	}
	return out
}

func (t *trace) dump() {
	for _, l := range t.last()[max(0, len(t.last())-50):] {
		fmt.Fprintln(os.Stderr, l)
	}
}

// Failure is the broken rule with the last fifty events; "" when all held.
func (r Result) Failure() string {
	if r.Err == nil {
		return ""
	}
	return r.Err.Error() + "\n" + strings.Join(r.Last[max(0, len(r.Last)-50):], "\n")
}

// sortedCounts are the counts as text, by name.
func (r Result) sortedCounts() []string {
	var out []string
	for name, n := range r.Counts {
		out = append(out, fmt.Sprintf("%s %d", name, n))
	}
	slices.Sort(out)
	return out
}

var errCrash = errors.New("killed here")
