package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const uuid = "11111111-2222-3333-4444-555555555501"

func now() Host { return Host{BootID: "boot-1", Name: "h1", MachineID: "m1"} }

func open(t *testing.T, path, copyPath string, h Host) (*Journal, Restored) {
	t.Helper()
	j, r, err := Open(path, copyPath, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// full is an entry in which every field says something.
func full() Domain {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return Domain{
		UUID: uuid, Generation: 1, Epoch: 7, Phase: Transferring, Confirmed: true,
		Attempt: &Attempt{ID: "m2", Role: Source, Stage: Started, Departure: &Departure{
			Target: "h2", PeerURI: "qemu+tls://h2/system", Guarded: true, Process: Proc{PID: 7, StartTime: 8, LibvirtID: 9},
			OwnerPaused: true, Persistent: true, Autostart: true, Definition: "<domain>\n</domain>", Call: CallOut,
			Stopped: true, StoppedAt: at, Destroying: true, Gone: ByTheMove, GoneAt: at, Alone: AloneBegun,
		}},
		Void: []Voided{{Attempt: "m1", Epoch: 5}}, Starts: []Start{{At: at}}, Changed: at,
	}
}

// filled writes a journal with some history.
func filled(t *testing.T, path string) State {
	t.Helper()
	j, _ := open(t, path, "", now())
	h := j.State().Host
	h.Generation, h.Term, h.TakesNothing = 3, 9, true
	must(t, j.SetHost(h))
	for i := range 5 {
		d := full()
		d.Epoch = uint64(i)
		must(t, j.SetDomain(d))
		d.UUID = fmt.Sprintf("other-%d", i)
		must(t, j.SetDomain(d))
	}
	must(t, j.Forget("other-0"))
	must(t, j.SetDomain(full()))
	s := j.State().Clone()
	must(t, j.Close())
	return s
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	want := filled(t, path)
	j, r := open(t, path, "", now())
	if !r.Kept || r.Lost || r.Problem != nil {
		t.Errorf("%+v, want kept", r)
	}
	if have := j.State(); !reflect.DeepEqual(have, want) {
		t.Errorf("read\n%+v\nwant\n%+v", have, want)
	}
}

func TestOneAgentAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	open(t, path, "", now())
	if _, _, err := Open(path, "", now()); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("opened twice: %v", err)
	}
}

// A file that was cut anywhere is either noticed, or says everything that had
// been acknowledged.
func TestCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	want := filled(t, path)
	whole, err := os.ReadFile(path)
	must(t, err)
	for n := 0; n < len(whole); n += 5 {
		s, _, err := parse(whole[:n])
		var bad *DamagedError
		if !errors.As(err, &bad) {
			t.Fatalf("cut to %d of %d bytes: %v, and said %+v", n, len(whole), err, s)
		}
		if bad.Error() == "" {
			t.Fatalf("cut to %d bytes: an error without words", n)
		}
	}
	// Half of a record that was being written is not damage.
	s, _, err := parse(append(bytes.Clone(whole), []byte(`0123abcd {"domain":{"uu`)...))
	if err != nil || !reflect.DeepEqual(s, want) {
		t.Errorf("half a record at the end: %v", err)
	}
}

// No single changed byte goes unnoticed, but one that counts fewer records.
func TestOneByteChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	want := filled(t, path)
	whole, err := os.ReadFile(path)
	must(t, err)
	for n := 0; n < len(whole); n += 13 {
		if n >= countAt && n < countAt+countLen {
			continue // fewer is not damage, the records are all there; more is a cut file, see above
		}
		for _, flip := range []byte{0x01, 0x20, 0x80} {
			spoilt := bytes.Clone(whole)
			spoilt[n] ^= flip
			s, _, err := parse(spoilt)
			if err == nil && !reflect.DeepEqual(s, want) {
				t.Fatalf("byte %d: %q for %q went unnoticed", n, spoilt[n], whole[n])
			}
		}
	}
}

func TestDamage(t *testing.T) {
	for _, tc := range []struct {
		name, why string
		spoil     func([]byte) []byte
	}{
		{"zeros", "full of zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"empty", "empty", func([]byte) []byte { return nil }},
		{"half", "cut short", func(b []byte) []byte { return b[:len(b)/2] }},
		{"cut between records", "cut short", func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] }},
		{"another version", `version "2", this agent reads 1`, func(b []byte) []byte {
			return bytes.Replace(b, []byte("vireo-journal 1 "), []byte("vireo-journal 2 "), 1)
		}},
		{"not a journal", "not a journal", func([]byte) []byte { return []byte("hello, world\n") }},
		{"zeros in the middle", "record", func(b []byte) []byte {
			copy(b[len(b)/2:], make([]byte, 40))
			return b
		}},
		{"a record twice", "checksum", func(b []byte) []byte {
			at := bytes.LastIndexByte(b[:len(b)-1], '\n') + 1
			return append(b, b[at:]...)
		}},
		{"a record missing", "checksum", func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte("\n"))
			return bytes.Join(append(lines[:3:3], lines[4:]...), nil)
		}},
		{"an unknown field", "unknown field", func([]byte) []byte {
			line, _, _ := encode(nil, 0, record{Host: &Host{BootID: "boot-1"}})
			body := bytes.Replace(line[crcLen+1:len(line)-1], []byte(`{"boot_id"`), []byte(`{"new":1,"boot_id"`), 1)
			return fmt.Appendf(header(1), "%08x %s\n", checksum(0, body), body)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			filled(t, path)
			raw, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, tc.spoil(raw), 0o600))
			j, r := open(t, path, "", now())
			var bad *DamagedError
			if !errors.As(r.Problem, &bad) || !strings.Contains(r.Problem.Error(), tc.why) || !strings.Contains(r.Problem.Error(), path) {
				t.Fatalf("problem %v, want one with %q and the path", r.Problem, tc.why)
			}
			if r.Kept || !r.Lost {
				t.Errorf("%+v, want lost", r)
			}
			for _, d := range j.State().Domains {
				permits(t, d)
			}
			if _, err := os.Stat(path + ".damaged"); err != nil {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			// And from here on it is a good one again.
			must(t, j.SetDomain(full()))
			must(t, j.Close())
			if _, r := open(t, path, "", now()); !r.Kept {
				t.Errorf("the new journal: %+v", r)
			}
		})
	}
}

// permits fails when an entry that is in doubt would allow anything.
func permits(t *testing.T, d Domain) {
	t.Helper()
	if d.Phase == Held || d.Confirmed || len(d.Starts) > 0 {
		t.Errorf("%s is held: %+v", d.UUID, d)
	}
	if a := d.Attempt; a != nil && (a.Stage == Prepared || a.Departure != nil && (a.Departure.Gone == ByTheMove || a.Departure.Stopped)) {
		t.Errorf("%s: attempt permits: %+v", d.UUID, *a)
	}
}

func TestAfterABoot(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "journal"), filepath.Join(dir, "copy")
	s := filled(t, path)
	prepared := Domain{UUID: "incoming", Generation: 1, Epoch: 4, Phase: Transferring, Attempt: &Attempt{
		ID: "m8", Role: Target, Stage: Prepared, Arrival: &Arrival{Source: "h2", MemoryKiB: 1},
	}}
	alive := full()
	alive.UUID = "alive"
	alive.Attempt.Departure.Gone = ""
	s.Domains["incoming"], s.Domains["alive"] = prepared, alive
	must(t, Copy(backup, s))
	must(t, os.Remove(path)) // /run is empty after a boot

	h := now()
	h.BootID = "boot-2"
	j, r := open(t, path, backup, h)
	if r.Kept || r.Lost || r.Problem != nil {
		t.Errorf("%+v, want neither kept nor lost", r)
	}
	got := j.State()
	if got.Host.Generation != 3 || got.Host.Term != 9 || !got.Host.TakesNothing || got.Host.BootID != "boot-2" {
		t.Errorf("host %+v: generation, term and takes-nothing outlive a boot", got.Host)
	}
	d := got.Domains[uuid]
	if d.Epoch != 7 || !d.IsVoid("m1") {
		t.Errorf("%+v: epochs and voids outlive a boot", d)
	}
	if d.Phase == Held || d.Confirmed {
		t.Errorf("%+v: nothing is held after a boot", d)
	}
	if got.Domains["incoming"].Attempt != nil {
		t.Error("a reservation outlived the boot")
	}
	if a := got.Domains["alive"].Attempt; a == nil || a.Departure.Gone != NobodyKnows || a.Departure.Call != CallEnded {
		t.Errorf("a guest that was leaving at the boot: %+v, want that nobody knows", a)
	}
	for _, d := range got.Domains {
		if a := d.Attempt; a != nil && a.Departure != nil && !a.Departure.Alone.Finished() {
			t.Errorf("%s: a source that was booted may not finish a move alone: %+v", d.UUID, a)
		}
	}
}

func TestLostInTheSameBoot(t *testing.T) {
	dir := t.TempDir()
	path, backup := filepath.Join(dir, "journal"), filepath.Join(dir, "copy")
	must(t, Copy(backup, filled(t, path)))
	must(t, os.Remove(path))
	j, r := open(t, path, backup, now())
	if !r.Lost {
		t.Errorf("%+v, want lost", r)
	}
	d := j.State().Domains[uuid]
	permits(t, d)
	if d.Attempt == nil || d.Attempt.Departure.Call != CallOut || d.Phase != Transferring {
		t.Errorf("%+v: the call may still be out", d)
	}
	if d.Attempt != nil && !d.Attempt.Departure.Alone.Finished() {
		t.Errorf("%+v: what has become of the move since may be lost too", d.Attempt)
	}
	// An agent that is started before that is over has lost it too.
	must(t, j.Close())
	j, r = open(t, path, backup, now())
	if !r.Kept || !r.Lost {
		t.Errorf("opened again: %+v, want kept and still lost", r)
	}
	over := j.State().Host
	over.Lost = false
	must(t, j.SetHost(over))
	must(t, j.Close())
	if j, r = open(t, path, backup, now()); r.Lost {
		t.Errorf("after it was over: %+v", r)
	}
	must(t, os.WriteFile(backup, []byte("rubbish"), 0o600))
	must(t, j.Close())
	must(t, os.Remove(path))
	if _, r := open(t, path, backup, now()); r.Problem != nil {
		t.Errorf("a copy that can't be read is not a problem: %v", r.Problem)
	}
}

func TestMergeTakesWhatForbidsMore(t *testing.T) {
	a := State{Host: Host{Generation: 2, Term: 1}, Domains: map[string]Domain{
		"d": {UUID: "d", Generation: 1, Epoch: 9, Void: []Voided{{Attempt: "x"}}},
	}}
	b := State{Host: Host{Generation: 1, Term: 8, TakesNothing: true}, Domains: map[string]Domain{
		"d": {UUID: "d", Generation: 2, Epoch: 3, Attempt: &Attempt{ID: "y", Stage: Void}},
		"e": {UUID: "e", Epoch: 1},
	}}
	for _, m := range []State{merge(a, b), merge(b, a)} {
		if m.Host.Generation != 2 || m.Host.Term != 1 || !m.Host.TakesNothing {
			t.Errorf("host %+v", m.Host)
		}
		if d := m.Domains["d"]; d.Generation != 2 || d.Epoch != 3 || !d.IsVoid("x") || !d.IsVoid("y") {
			t.Errorf("domain %+v", d)
		}
		if m.Domains["e"].Epoch != 1 {
			t.Errorf("e is missing")
		}
	}
}

func TestTidyKeepsWhatCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, _ := open(t, path, "", now())
	d := full()
	d.Attempt.Departure.Definition = strings.Repeat("x", 8<<10)
	for i := range 200 {
		d.Epoch = uint64(i)
		must(t, j.SetDomain(d))
	}
	must(t, j.Tidy())
	info, err := os.Stat(path)
	must(t, err)
	if info.Size() > rewriteAt {
		t.Errorf("%d bytes after tidying one domain", info.Size())
	}
	d.Epoch = 1000
	must(t, j.SetDomain(d))
	must(t, j.Close())
	again, r := open(t, path, "", now())
	if !r.Kept || again.State().Domains[uuid].Epoch != 1000 {
		t.Errorf("%+v, epoch %d", r, again.State().Domains[uuid].Epoch)
	}
}

func TestReadOfNothing(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want not-exist", err)
	}
	if _, _, err := Open(filepath.Join(t.TempDir(), "no", "such", "dir", "journal"), "", now()); err == nil {
		t.Error("opened in a directory that does not exist")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	s := State{Domains: map[string]Domain{uuid: full(), "b": {UUID: "b", Attempt: &Attempt{Arrival: &Arrival{}}}}}
	c := s.Clone()
	c.Domains[uuid].Attempt.Departure.Target = "changed"
	c.Domains[uuid].Void[0].Attempt = "changed"
	c.Domains["b"].Attempt.Arrival.Name = "changed"
	if !reflect.DeepEqual(s.Domains[uuid], full()) || s.Domains["b"].Attempt.Arrival.Name != "" {
		t.Error("a change in the clone changed the original")
	}
}

// Whatever the bytes: no panic, and an error is a *DamagedError with words.
// What is read without an error says the same when it is written and read again.
func FuzzParse(f *testing.F) {
	path := filepath.Join(f.TempDir(), "journal")
	j, _, err := Open(path, "", now())
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(j.SetDomain(full()), j.Forget("x"), j.Close()); err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(make([]byte, 100))
	f.Add([]byte("vireo-journal 1 ffffffffffffffff\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := parse(b)
		var bad *DamagedError
		if err != nil {
			if !errors.As(err, &bad) || bad.Why == "" {
				t.Fatalf("not a DamagedError: %v", err)
			}
			for _, d := range s.Doubt(true).Domains {
				permits(t, d)
			}
			return
		}
		out, err := Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := parse(out); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("written and read again: %v", err)
		}
	})
}

func BenchmarkSetDomain(b *testing.B) {
	j, _, err := Open(filepath.Join(b.TempDir(), "journal"), "", now())
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	d := full()
	d.Attempt.Departure.Definition = strings.Repeat("x", 6<<10)
	for b.Loop() {
		if err := j.SetDomain(d); err != nil {
			b.Fatal(err)
		}
		if j.tail.size > 4<<20 {
			if err := j.Tidy(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
