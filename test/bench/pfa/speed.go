package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

const (
	hosts      = 10000
	components = 12 // of a host; all of them disks here, the most expensive kind
)

// speed compares training on the same matrix, and scoring.
func speed(ctx context.Context, w io.Writer, o options, dir string, drives []pfa.Drive) error {
	day := lastDay(drives).AddDate(0, 0, 1)
	if err := writeTraining(dir, known(drives, day, -1), day); err != nil {
		return err
	}
	cols, label, err := readTraining(dir)
	if err != nil {
		return err
	}
	var test []float32
	for i, n := 0, 0; n < hosts*components; i++ {
		d := &drives[i%len(drives)]
		test = features(test, d, d.HoursLast)
		n++
	}
	if err := write(dir, "test.x", test); err != nil {
		return err
	}
	peer, err := python(ctx, o, dir, "speed")
	if err != nil {
		return err
	}
	start := processorTime()
	pfa.Boost(cols, label, 250, 4)
	took := processorTime() - start
	fmt.Fprintf(w, "\n## Speed, in seconds of processor time, %d threads\n\n| | vireo | xgboost |\n| --- | --- | --- |\n", runtime.GOMAXPROCS(0))
	fmt.Fprintf(w, "| training: %d rows, %d features, 250 trees of depth 4 | %.2f s | %.2f s |\n", len(label), width, took, peer["xgboost_train"])

	m, err := pfa.Default()
	if err != nil {
		return err
	}
	states, at, bytes := fleet(drives)
	before := runtime.GOMAXPROCS(1)
	start = processorTime()
	for i, s := range states {
		if _, ok := m.Risk(s, at[i]); !ok {
			return fmt.Errorf("%s has no model", s.Component())
		}
	}
	scored := processorTime() - start
	few := states[:2000]
	start = processorTime()
	for i, s := range few {
		m.Score(s, at[i])
	}
	explained := processorTime() - start
	runtime.GOMAXPROCS(before)
	fmt.Fprintf(w, "| scoring %d hosts of %d disks, features included | %.2f s | %.2f s (its features given) |\n", hosts, components, scored,
		peer["xgboost_score"]*hosts*components/peer["score_rows"])
	fmt.Fprintf(w, "| a score with its explanation (TreeSHAP), each | %.3f ms | %.3f ms |\n",
		1000*explained/float64(len(few)), 1000*peer["xgboost_explain"]/peer["explain_rows"])
	fmt.Fprintf(w, "| state of a host in memory | %.1f KiB | |\n", bytes/hosts/1024)
	return nil
}

// processorTime is what this program has used of the processors, in seconds: a
// busy machine does not change it much.
func processorTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it knows no other error than a wrong argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// fleet is a state for each component of all hosts, from recorded lives, and
// how much memory they take.
func fleet(drives []pfa.Drive) (states []*pfa.State, at []time.Time, bytes float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := 0; len(states) < hosts*components; i++ {
		states = append(states, drives[i%len(drives)].State())
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for i := range states {
		when, _ := states[i].Latest()
		at = append(at, when)
	}
	return states, at, float64(after.HeapAlloc) - float64(before.HeapAlloc)
}

func readTraining(dir string) (cols [][]float32, label []bool, err error) {
	x, err := os.ReadFile(filepath.Join(dir, "train.x"))
	if err != nil {
		return nil, nil, err
	}
	y, err := os.ReadFile(filepath.Join(dir, "train.y"))
	if err != nil {
		return nil, nil, err
	}
	cols = make([][]float32, width)
	for j := range cols {
		cols[j] = make([]float32, len(y))
	}
	for i := range y {
		label = append(label, y[i] != 0)
		for j := range cols {
			cols[j][i] = math.Float32frombits(binary.LittleEndian.Uint32(x[4*(i*width+j):]))
		}
	}
	return cols, label, nil
}
