package linear

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/vireo-kvm/vireo/store"
	"github.com/vireo-kvm/vireo/store/etcd"
	"github.com/vireo-kvm/vireo/store/sqlite"
	"github.com/vireo-kvm/vireo/test/etcdtest"
)

// howLong a run takes, and how many there are.
func howLong() (each time.Duration, runs int) {
	if os.Getenv("VIREO_LONG") != "" {
		return 30 * time.Second, 2
	}
	return 5 * time.Second, 1
}

const (
	clients = 9
	domains = 4
	// checkFor is how long the check of a history may take.
	checkFor = 2 * time.Minute
)

// hold holds a history against the model.
func hold(t *testing.T, s *swarm, least int) {
	t.Helper()
	ok, unknown, refused := 0, 0, 0
	for _, op := range s.history {
		switch out := op.Output.(output); {
		case out.unknown:
			unknown++
		case out.stale:
			refused++
		default:
			ok++
		}
	}
	t.Logf("%d operations: %d done, %d refused, %d left open", len(s.history), ok, refused, unknown)
	if ok < least || refused == 0 {
		t.Errorf("too little has happened to prove anything")
	}
	if epoch := s.twice(); epoch != 0 {
		t.Errorf("epoch %d was given out twice", epoch)
	}
	if result := porcupine.CheckOperationsTimeout(model(), s.history, checkFor); result != porcupine.Ok {
		t.Errorf("the history is not linearizable: %s", result)
		show(t, s)
	}
}

// show keeps the history for whoever has to understand it.
func show(t *testing.T, s *swarm) {
	t.Helper()
	_, info := porcupine.CheckOperationsVerbose(model(), s.history, checkFor)
	file := filepath.Join(os.TempDir(), "vireo-linear.html")
	if err := porcupine.VisualizePath(model(), info, file); err != nil {
		t.Error(err)
		return
	}
	t.Logf("the history is in %s", file)
}

// TestSQLite: the manager restarts again and again.
func TestSQLite(t *testing.T) {
	t.Parallel()
	each, runs := howLong()
	for seed := range runs {
		path := filepath.Join(t.TempDir(), fmt.Sprint(seed, ".db"))
		var now atomic.Pointer[sqlite.DB]
		open := func() *sqlite.DB {
			db, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			now.Store(db)
			return db
		}
		db := open()
		if err := prepare(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		s := &swarm{at: func(int) store.Store { return now.Load() }}
		ctx, cancel := context.WithTimeout(t.Context(), each)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.run(ctx, clients, domains, uint64(seed))
		}()
		for restarts := 0; ctx.Err() == nil; restarts++ {
			time.Sleep(each / 20)
			if err := now.Load().Close(); err != nil {
				t.Error(err)
			}
			open()
		}
		<-done
		cancel()
		if err := now.Load().Close(); err != nil {
			t.Error(err)
		}
		hold(t, s, 200)
	}
}

// manager is one of several on etcd, behind proxies by which it can be cut off.
type manager struct {
	proxies []*etcdtest.Proxy
	db      atomic.Pointer[etcd.DB]
}

// run campaigns and leads until ctx ends. Its clients keep asking it when it has
// lost the lead and does not know.
func (m *manager) run(ctx context.Context) {
	var endpoints []string
	for _, p := range m.proxies {
		endpoints = append(endpoints, p.Endpoint())
	}
	for ctx.Err() == nil {
		db, err := etcd.Open(ctx, etcd.Options{Endpoints: endpoints})
		if err != nil {
			continue
		}
		m.db.Store(db)
		select {
		case <-db.Lost():
			time.Sleep(200 * time.Millisecond) // somebody may still be asking
		case <-ctx.Done():
		}
		_ = db.Close()
	}
}

// TestEtcd: three managers on three nodes; nodes are killed and frozen, managers
// cut off.
func TestEtcd(t *testing.T) {
	t.Parallel()
	each, runs := howLong()
	each *= 4 // an election takes its time
	for seed := range runs {
		cluster := etcdtest.Start(t, etcdtest.Options{Nodes: 3})
		db, err := etcd.Open(t.Context(), etcd.Options{Endpoints: cluster.Endpoints()})
		if err != nil {
			t.Fatal(err)
		}
		if err := prepare(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), each)
		var all sync.WaitGroup
		managers := make([]*manager, 3)
		for i := range managers {
			managers[i] = &manager{}
			for _, n := range cluster.Nodes() {
				managers[i].proxies = append(managers[i].proxies, etcdtest.NewProxy(t, n.Address()))
			}
			all.Go(func() { managers[i].run(ctx) })
		}
		s := &swarm{at: func(client int) store.Store {
			if db := managers[client%len(managers)].db.Load(); db != nil {
				return db
			}
			return nil
		}}
		all.Go(func() { s.run(ctx, clients, domains, uint64(seed)) })
		faults := hurt(ctx, cluster, managers, rand.New(rand.NewPCG(uint64(seed), 99)))
		all.Wait()
		cancel()
		t.Logf("seed %d: %v", seed, faults)
		hold(t, s, 200)
	}
}

// hurt does one fault after the other until ctx ends, and says how often which.
func hurt(ctx context.Context, cluster *etcdtest.Cluster, managers []*manager, random *rand.Rand) map[string]int {
	done := map[string]int{}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	for round := 0; ; round++ {
		pause(1500 * time.Millisecond)
		if ctx.Err() != nil {
			return done
		}
		node := cluster.Nodes()[random.IntN(3)]
		leader := managers[random.IntN(3)]
		for _, m := range managers {
			if db := m.db.Load(); db != nil && db.Leads() {
				leader = m
			}
		}
		switch round % 4 {
		case 0:
			done["leader cut off"]++
			for _, p := range leader.proxies {
				p.Partition(true)
			}
			pause(4 * time.Second)
			for _, p := range leader.proxies {
				p.Partition(false)
			}
		case 1:
			done["node killed"]++
			node.Kill()
			pause(time.Second)
			node.Start()
		case 2:
			done["answers lost"]++
			for _, p := range leader.proxies {
				p.SwallowAnswers(true)
			}
			pause(time.Second)
			for _, p := range leader.proxies {
				p.SwallowAnswers(false)
			}
		case 3:
			done["node frozen"]++
			node.Freeze()
			pause(time.Second)
			node.Thaw()
		}
	}
}

// stale is a store that answers some reads from memory, as a leader would that does
// not ask whether it still leads.
type stale struct {
	store.Store
	mu    sync.Mutex
	reads int
	old   store.Reader
}

func (s *stale) View(ctx context.Context, f func(store.Reader) error) error {
	s.mu.Lock()
	s.reads++
	late, n := s.old, s.reads
	s.mu.Unlock()
	if late != nil && n%50 == 0 {
		return f(late)
	}
	return s.Store.View(ctx, func(r store.Reader) error {
		s.mu.Lock()
		if n%50 == 25 {
			s.old = r // on etcd a state never changes and may be kept
		}
		s.mu.Unlock()
		return f(r)
	})
}

// TestStaleReadIsCaught: the check is no good if this passes it.
func TestStaleReadIsCaught(t *testing.T) {
	t.Parallel()
	cluster := etcdtest.Start(t, etcdtest.Options{})
	db, err := etcd.Open(t.Context(), etcd.Options{Endpoints: cluster.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := prepare(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	planted := &stale{Store: db}
	s := &swarm{at: func(int) store.Store { return planted }}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	s.run(ctx, clients, domains, 1)
	if result := porcupine.CheckOperationsTimeout(model(), s.history, checkFor); result != porcupine.Illegal {
		t.Errorf("%d operations with stale reads among them: %s", len(s.history), result)
	}
}

// TestModel: what the model lets pass and what not.
func TestModel(t *testing.T) {
	held := claim{epoch: 5, holder: "h1"}
	for name, tt := range map[string]struct {
		from claim
		in   input
		out  output
		want int // states that can follow
	}{
		"read what is":           {held, input{verb: read}, output{epoch: 5, holder: "h1"}, 1},
		"read what was":          {held, input{verb: read}, output{epoch: 4, holder: "h1"}, 0},
		"grant":                  {claim{}, input{verb: swap, holder: "h2"}, output{epoch: 6}, 1},
		"grant over a claim":     {held, input{verb: swap, holder: "h2"}, output{epoch: 6}, 0},
		"refused for no reason":  {claim{}, input{verb: swap, holder: "h2"}, output{stale: true}, 0},
		"refused":                {held, input{verb: swap, expected: 4, holder: "h2"}, output{stale: true}, 1},
		"unknown":                {held, input{verb: swap, expected: 5, holder: "h2"}, output{unknown: true, epoch: 6}, 2},
		"unknown and impossible": {held, input{verb: swap, expected: 4, holder: "h2"}, output{unknown: true, epoch: 6}, 1},
		"release":                {held, input{verb: release, expected: 5}, output{}, 1},
		"release of nothing":     {claim{}, input{verb: release}, output{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := step(tt.from, tt.in, tt.out); len(got) != tt.want {
				t.Errorf("%v, want %d", got, tt.want)
			}
		})
	}
}
