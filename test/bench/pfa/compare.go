package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/pfa"
)

// complete is the day from which the histories hold all attributes.
var complete = time.Date(2014, 2, 20, 0, 0, 0, 0, time.UTC)

// known are the drives outside one third as they were known on a day.
func known(drives []pfa.Drive, day time.Time, out int) (train []pfa.Drive) {
	for i := range drives {
		if third(&drives[i]) == out {
			continue
		}
		if d, ok := drives[i].Until(day); ok {
			train = append(train, d)
		}
	}
	return train
}

func lastDay(drives []pfa.Drive) (end time.Time) {
	for i := range drives {
		if drives[i].Last.After(end) {
			end = drives[i].Last
		}
	}
	return end
}

// trainVireo trains as `vireo pfa train` does, without its own evaluation.
func trainVireo(train []pfa.Drive) (*pfa.Model, float64, error) {
	start := processorTime()
	m, err := pfa.Fit(pfa.Training{Name: "bench", Grade: pfa.GradeLocal, Drives: train, CompleteFrom: complete})
	return m, processorTime() - start, err
}

// compare trains everybody on two thirds of the drives as known on a day and
// judges them on the other third from that day on.
func compare(ctx context.Context, o options, dir string, drives []pfa.Drive, day time.Time, out int) (*judged, error) {
	fmt.Fprintf(os.Stderr, "%s, third %d of %d\n", day.Format(time.DateOnly), out+1, o.thirds)
	j := &judged{by: map[string]*scores{}, rules: map[string][]bool{}, timing: map[string]float64{}}
	train := known(drives, day, out)
	until := lastDay(drives).AddDate(0, 0, -30)
	for i := range drives {
		if d := &drives[i]; third(d) == out {
			grid := marks(d, day, until)
			if len(grid) > 0 {
				j.marks = append(j.marks, append(grid, ahead(d, day, until)...)...)
			}
		}
	}
	if err := j.peers(ctx, o, dir, train, day); err != nil {
		return nil, err
	}
	m, took, err := trainVireo(train)
	if err != nil {
		return nil, err
	}
	j.timing["vireo"] = took
	for _, hidden := range []bool{false, true} {
		s, err := scoreVireo(m, j.marks, hidden)
		if err != nil {
			return nil, err
		}
		j.by["vireo"+suffix(hidden)] = s
	}
	for _, k := range j.marks {
		j.rules["smartd"] = append(j.rules["smartd"], smartd(k.drive, k.hour))
		j.rules["scrutiny"] = append(j.rules["scrutiny"], scrutiny(k.drive, k.hour))
	}
	return j, nil
}

func suffix(hidden bool) string {
	if hidden {
		return ", attributes hidden"
	}
	return ""
}

// scoreVireo scores marks through the package's front door: drives without
// their fates, and landmarks.
func scoreVireo(m *pfa.Model, marks []mark, hidden bool) (*scores, error) {
	var drives []pfa.Drive
	landmarks := make([]pfa.Landmark, len(marks))
	var last *pfa.Drive
	for i, k := range marks {
		landmarks[i] = pfa.Landmark{Serial: k.drive.Serial, Hour: k.hour}
		if k.drive == last {
			continue
		}
		last = k.drive
		d := *k.drive
		if hidden {
			d = hide(d)
		}
		d.Last, d.HoursLast, d.Failed, d.DateError = time.Time{}, 0, false, 0
		drives = append(drives, d)
	}
	risks, err := m.RiskLandmarks(drives, landmarks)
	if err != nil {
		return nil, err
	}
	s := &scores{}
	for _, r := range risks {
		s.p, s.lo, s.hi = append(s.p, r.Month.Percent/100), append(s.lo, r.Month.Lo/100), append(s.hi, r.Month.Hi/100)
	}
	return s, nil
}

// peers has peers.py train on the landmarks of the training drives up to 30 days
// before the day, and score the marks.
func (j *judged) peers(ctx context.Context, o options, dir string, train []pfa.Drive, day time.Time) error {
	if err := writeTraining(dir, train, day); err != nil {
		return err
	}
	var test, hidden []float32
	for _, k := range j.marks {
		d := hide(*k.drive)
		test, hidden = features(test, k.drive, k.hour), features(hidden, &d, k.hour)
	}
	for name, x := range map[string][]float32{"test.x": test, "hidden.x": hidden} {
		if err := write(dir, name, x); err != nil {
			return err
		}
	}
	times, err := python(ctx, o, dir, strings.Join(o.peers, ","))
	if err != nil {
		return err
	}
	for _, peer := range o.peers {
		j.timing[peer] = times[peer+"_train"]
		for file, key := range map[string]string{"-test": peer, "-hidden": peer + suffix(true)} {
			b, err := os.ReadFile(filepath.Join(dir, peer+file+".f64"))
			if err != nil {
				return err
			}
			if len(b) != 8*len(j.marks) {
				return fmt.Errorf("%s%s: %d bytes, want those of %d scores", peer, file, len(b), len(j.marks))
			}
			s := &scores{}
			for i := range j.marks {
				s.p = append(s.p, math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])))
			}
			j.by[key] = s
		}
	}
	return nil
}

// writeTraining writes the peers' training rows.
func writeTraining(dir string, train []pfa.Drive, day time.Time) error {
	var x []float32
	var y []uint8
	begin := day.AddDate(0, 0, -30-every*200)
	for i := range train {
		for _, k := range marks(&train[i], begin, day.AddDate(0, 0, -30)) {
			x = features(x, k.drive, k.hour)
			y = append(y, uint8(number(k.fails())))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "width"), []byte(strconv.Itoa(width)), 0o600); err != nil {
		return err
	}
	if err := write(dir, "train.x", x); err != nil {
		return err
	}
	return write(dir, "train.y", y)
}

func write[T float32 | uint8](dir, name string, values []T) error {
	b, err := binary.Append(nil, binary.LittleEndian, values)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), b, 0o600)
}

// python runs peers.py, which lies beside the source of this program.
func python(ctx context.Context, o options, dir, mode string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, o.python, "test/bench/pfa/peers.py", dir, mode, strconv.Itoa(runtime.GOMAXPROCS(0)))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("peers.py %s: %w", mode, err)
	}
	var times map[string]float64
	if err := json.Unmarshal(out, &times); err != nil {
		return nil, fmt.Errorf("peers.py %s: %w", mode, err)
	}
	return times, nil
}
