package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// preferred is the Nice of the service that has one: above 0, because only root may go below.
const preferred = 5

// TestMain runs the supervisor itself when the test starts its own binary as one:
// it waits for every child of its process, so it cannot share one with the tests.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SUPERVISE_DIR"); dir != "" {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		l, err := net.Listen("unix", filepath.Join(dir, "sock"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		log := filepath.Join(dir, "log")
		fmt.Fprintln(os.Stderr, New().Run(context.Background(), l, []Service{
			{Name: "lasting", Argv: []string{"sleep", "1000"}, Log: log, Restart: true, Nice: preferred},
			{Name: "once", Argv: []string{"sh", "-c", "exit 3"}, Log: log},
			{Name: "missing", Argv: []string{"/no/such/program"}, Log: log, Restart: true},
		}))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// start runs a supervisor in a process of its own.
func start(t *testing.T) (Client, int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "supervise") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SUPERVISE_DIR="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := Client{Socket: filepath.Join(dir, "sock")}
	t.Cleanup(func() {
		list, _ := c.List(context.Background())
		_ = cmd.Process.Kill()
		for _, s := range list {
			if s.PID > 0 {
				_ = unix.Kill(s.PID, unix.SIGKILL)
			}
		}
		_ = cmd.Wait()
	})
	eventually(t, c, "lasting", "never ran", running)
	return c, cmd.Process.Pid
}

// eventually waits until the service's status fulfils a condition.
func eventually(t *testing.T, c Client, name, what string, ok func(Status) bool) Status {
	t.Helper()
	var last Status
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		list, err := c.List(t.Context())
		if err != nil {
			continue // it is not listening yet
		}
		for _, s := range list {
			if s.Name == name {
				if last = s; ok(s) {
					return s
				}
			}
		}
	}
	t.Fatalf("service %s: %s; last seen as %+v", name, what, last)
	return last
}

func running(s Status) bool { return s.PID > 0 }

func TestAKilledServiceComesBack(t *testing.T) {
	c, _ := start(t)
	first := eventually(t, c, "lasting", "never ran", running)
	if err := unix.Kill(first.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := eventually(t, c, "lasting", "did not come back", func(s Status) bool { return s.Starts == 2 && s.PID > 0 })
	if second.Exit != "signal 9" {
		t.Errorf("it says that it ended by %q, want signal 9", second.Exit)
	}
	if wait := second.Since.Sub(first.Since); wait < Delay {
		t.Errorf("it came back after %v, before its delay", wait)
	}
}

func TestAPreferenceCountsWithinItsSessionAndBesideOthers(t *testing.T) {
	c, _ := start(t)
	s := eventually(t, c, "lasting", "never ran", running)
	if kernel, err := unix.Getpriority(unix.PRIO_PROCESS, s.PID); err != nil || 20-kernel != preferred { // see getpriority(2)
		t.Errorf("its nice is %d, %v, want %d", 20-kernel, err, preferred)
	}
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", s.PID))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.Log("this kernel does not group sessions")
	case err != nil || !strings.HasSuffix(strings.TrimSpace(string(group)), fmt.Sprintf(" nice %d", preferred)):
		t.Errorf("its session is %q, %v, want nice %d", group, err, preferred)
	}
}

func TestOneWithoutRestartStaysEnded(t *testing.T) {
	c, _ := start(t)
	eventually(t, c, "once", "did not end", func(s Status) bool { return s.Exit == "exit 3" })
	// The other one's second start shows that the delay is over.
	eventually(t, c, "missing", "was not tried again", func(s Status) bool { return s.Starts >= 2 })
	if s := eventually(t, c, "once", "gone", func(Status) bool { return true }); s.Starts != 1 || s.PID != 0 {
		t.Errorf("it was started again: %+v", s)
	}
}

func TestAProgramThatCannotStartSaysWhy(t *testing.T) {
	c, _ := start(t)
	s := eventually(t, c, "missing", "gave no reason", func(s Status) bool { return s.Exit != "" })
	if !strings.Contains(s.Exit, "/no/such/program") {
		t.Errorf("reason %q does not name the program", s.Exit)
	}
}

func TestStopAndStart(t *testing.T) {
	c, _ := start(t)
	made := filepath.Join(t.TempDir(), "run", "lasting")
	first := eventually(t, c, "lasting", "never ran", running)
	if err := c.Stop(t.Context(), "lasting"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(first.PID, 0); err == nil {
		t.Error("the process is still there after Stop returned")
	}
	s := eventually(t, c, "lasting", "did not end", func(s Status) bool { return s.PID == 0 })
	if s.Wanted {
		t.Error("it is still wanted")
	}
	if err := c.Start(t.Context(), Service{Name: "lasting", Argv: []string{"sleep", "999"}, Log: os.DevNull, Dirs: []string{made}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "lasting", "did not start again", running)
	if _, err := os.Stat(made); err != nil {
		t.Error("its directory was not made:", err)
	}
	if err := c.Stop(t.Context(), "nobody"); err == nil {
		t.Error("stopping a service that is not there gave no error")
	}
	if err := c.Start(t.Context(), Service{Name: "empty"}); err == nil {
		t.Error("a service without a program was accepted")
	}
}

func TestOrphansAreReaped(t *testing.T) {
	c, pid := start(t)
	pidfile := filepath.Join(t.TempDir(), "pid")
	if err := c.Start(t.Context(), Service{Name: "parent", Argv: []string{"sh", "-c", "sleep 0.2 & echo $! >" + pidfile}, Log: os.DevNull}); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "parent", "did not end", func(s Status) bool { return s.Exit == "exit 0" })
	b, err := os.ReadFile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join("/proc", strings.TrimSpace(string(b)))
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(orphan); err != nil {
			return
		}
		if time.Now().After(deadline) {
			stat, _ := os.ReadFile(orphan + "/stat")
			t.Fatalf("the orphan was left with the supervisor (%d): %s", pid, stat)
		}
	}
}
