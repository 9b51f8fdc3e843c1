//go:build mutants

package sim

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nothing is the hunt in unchanged code, which must come back with nothing: what
// is caught in the others is caught because of what was planted.
const nothing = "(nothing is planted)"

// record is how far one hunt has come. It is kept in a file, so that a long hunt
// can be run in pieces; one of other code counts for nothing.
type record struct {
	Code   string // fingerprint of the code, with the bug in it
	Days   int    // without a find
	Caught string // what was found on the day after those; "" until then
}

func (r record) over(most int) bool { return r.Caught != "" || r.Days >= most }

func (r record) String() string {
	if r.Caught == "" {
		return fmt.Sprintf("%4d days, nothing found", r.Days)
	}
	if strings.HasPrefix(r.Caught, "by the tests") {
		return "   - " + r.Caught
	}
	return fmt.Sprintf("%4d %s", r.Days+1, r.Caught)
}

func load(path, code string) record {
	r := record{}
	raw, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(raw, &r) != nil || r.Code != code {
		return record{Code: code}
	}
	return r
}

func (r record) save(t *testing.T, path string) {
	t.Helper()
	raw, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fingerprint is a hash of everything that the simulator is built from in this
// module.
func fingerprint(t *testing.T) string {
	t.Helper()
	list := exec.Command("go", "list", "-deps", "-test", "-tags", "mutants", "-f",
		`{{if and (not .Standard) .Module}}{{if .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`, "./test/sim")
	list.Dir = root(t)
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	h, seen := sha256.New(), map[string]bool{}
	for _, path := range strings.Fields(string(out)) {
		raw, err := os.ReadFile(path)
		if seen[path] || err != nil { // go's cache holds the test's main
			continue
		}
		seen[path] = true
		if !strings.HasSuffix(path, "_test.go") {
			fmt.Fprintf(h, "%s\n%s", path, raw)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

var unnamed = regexp.MustCompile(`[^a-z0-9]+`)

// TestMutants plants each bug and runs days until one is caught.
func TestMutants(t *testing.T) {
	most := number(t, "VIREO_SIM_MUTANTS", 500)
	only, err := regexp.Compile(os.Getenv("VIREO_SIM_ONLY"))
	if err != nil {
		t.Fatalf("VIREO_SIM_ONLY: %v", err)
	}
	until := time.Now().Add(time.Duration(number(t, "VIREO_SIM_MINUTES", 24*60)) * time.Minute)
	results := cmp.Or(os.Getenv("VIREO_SIM_RESULTS"), filepath.Join(root(t), ".cache", "sim-mutants"))
	if err := os.MkdirAll(results, 0o700); err != nil {
		t.Fatal(err)
	}
	code := fingerprint(t)
	all := append([]mutant{{name: nothing}}, mutants...)
	t.Run("planted", func(t *testing.T) {
		for _, m := range all {
			if !only.MatchString(m.name) {
				continue
			}
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(results, strings.Trim(unnamed.ReplaceAllString(strings.ToLower(m.name), "-"), "-"))
				mine := fmt.Sprintf("%s %x", code, sha256.Sum256(fmt.Append(nil, m.edits)))
				r := hunt(t, m, path, mine, most, until)
				switch {
				case m.name == nothing && r.Caught != "":
					t.Errorf("nothing is planted, and something is found: %s", r)
				case m.name != nothing && r.Caught == "" && r.Days >= most:
					t.Errorf("not caught in %d days", most)
				}
			})
		}
	})
	fmt.Printf("\n%-58s days until it is caught, and by what\n", "planted")
	for _, m := range all {
		if only.MatchString(m.name) {
			path := filepath.Join(results, strings.Trim(unnamed.ReplaceAllString(strings.ToLower(m.name), "-"), "-"))
			fmt.Printf("%-58s %.180s\n", m.name, load(path, fmt.Sprintf("%s %x", code, sha256.Sum256(fmt.Append(nil, m.edits)))))
		}
	}
}

// hunt goes on with one hunt. Somebody else's, who is at the same one, is waited
// for.
func hunt(t *testing.T, m mutant, path, code string, most int, until time.Time) record {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	r := load(path, code)
	if r.over(most) || time.Now().After(until) {
		return r
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "sim.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-tags", "mutants", "-overlay", m.apply(t, dir), "-o", bin, cmp.Or(m.by, "./test/sim"))
	build.Dir = root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.save(t, path)
	if m.by != "" {
		return caughtBy(t, m, bin, path, r)
	}
	cmd := exec.Command(bin, "-test.run", "TestHunt$", "-test.timeout", "0")
	cmd.Env = append(os.Environ(), "VIREO_SIM_RECORD="+path, fmt.Sprintf("VIREO_SIM_MUTANTS=%d", most), fmt.Sprintf("VIREO_SIM_MANAGERS=%d", max(m.managers, 1)), fmt.Sprintf("VIREO_SIM_UNTIL=%d", until.Unix()))
	out, err := cmd.CombinedOutput()
	r = load(path, code)
	// What is caught is in the record; a bug may also end the program.
	if err != nil && r.Caught == "" {
		if cmd.ProcessState.ExitCode() != 2 {
			t.Fatalf("the hunt has ended with %v\n%s", err, out)
		}
		_, what, _ := strings.Cut(string(out), "panic: ")
		what, _, _ = strings.Cut(what, "\n")
		r.Caught = "panic: " + what
		r.save(t, path)
	}
	return r
}

// caughtBy runs the tests of another package against the planted bug.
func caughtBy(t *testing.T, m mutant, bin, path string, r record) record {
	without := exec.Command("go", "test", "-run", m.run, m.by)
	without.Dir = root(t)
	if out, err := without.CombinedOutput(); err != nil || strings.Contains(string(out), "no tests to run") {
		t.Fatalf("%s -run %s without the bug: %v\n%s", m.by, m.run, err, out)
	}
	cmd := exec.Command(bin, "-test.timeout", "10m", "-test.run", m.run)
	cmd.Dir = filepath.Join(root(t), m.by)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("the tests of %s find nothing", m.by)
		return r
	}
	r.Caught = "by the tests of " + m.by
	for line := range strings.Lines(string(out)) {
		if name, is := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); is && strings.Contains(name, "/") {
			name, _, _ = strings.Cut(name, " (")
			r.Caught += ", " + name
			break
		}
	}
	r.save(t, path)
	return r
}

// TestHunt runs bad days, one after the other, until one fails. It runs in the
// programs that TestMutants builds.
func TestHunt(t *testing.T) {
	path := os.Getenv("VIREO_SIM_RECORD")
	if path == "" {
		return
	}
	most, until := number(t, "VIREO_SIM_MUTANTS", 500), time.Unix(int64(number(t, "VIREO_SIM_UNTIL", 0)), 0)
	raw, err := os.ReadFile(path)
	r := record{}
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	for !r.over(most) && time.Now().Before(until) {
		if res := runWith(t, number(t, "VIREO_SIM_MANAGERS", 1), uint64(r.Days+1), 1, nil); res.Err != nil {
			r.Caught = res.Err.Error()
		} else {
			r.Days++
		}
		r.save(t, path)
	}
}
