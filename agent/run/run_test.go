package run

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

var roomy = Limits{Timeout: 20 * time.Second, Output: 1 << 20}

func TestRun(t *testing.T) {
	path := script(t, `printf '%s|' "$@"; echo oops >&2; exit 4`)
	got, err := new(Runner).Run(t.Context(), roomy, path, "a b", "c")
	if err != nil || string(got.Stdout) != "a b|c|" || string(got.Stderr) != "oops\n" || got.ExitCode != 4 {
		t.Errorf("Run = %q %q %d, %v", got.Stdout, got.Stderr, got.ExitCode, err)
	}
}

func TestRunTellsNobodysSecrets(t *testing.T) {
	t.Setenv("SECRET", "x")
	got, err := new(Runner).Run(t.Context(), roomy, "/usr/bin/env")
	if err != nil || strings.Contains(string(got.Stdout), "SECRET") {
		t.Errorf("environment %q, %v", got.Stdout, err)
	}
}

func TestMissing(t *testing.T) {
	if _, err := new(Runner).Run(t.Context(), roomy, "/nonexistent/smartctl"); !errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "/nonexistent/smartctl") {
		t.Errorf("Run = %v", err)
	}
}

func TestTimeoutKillsTheWholeGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	path := script(t, `sleep 1000 & echo $! > `+pidFile+`; wait`)
	limits := roomy
	limits.Timeout = 300 * time.Millisecond
	begun := time.Now()
	_, err := new(Runner).Run(t.Context(), limits, path)
	if !errors.Is(err, ErrTimeout) || time.Since(begun) > 5*time.Second {
		t.Errorf("Run = %v after %s", err, time.Since(begun))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the grandchild %d lives", pid)
}

// zombie: nobody may be there to reap an orphan where tests run.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := new(Runner).Run(ctx, roomy, script(t, "sleep 1000")); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
}

func TestTooMuchOutput(t *testing.T) {
	limits := roomy
	limits.Output = 1000
	for name, text := range map[string]string{"endless": "yes", "too long and over": "head -c 2000 /dev/zero", "on stderr": "yes >&2"} {
		t.Run(name, func(t *testing.T) {
			if got, err := new(Runner).Run(t.Context(), limits, script(t, text)); !errors.Is(err, ErrOutput) {
				t.Errorf("Run = %d bytes, %v", len(got.Stdout), err)
			}
		})
	}
}

func TestKilledBySomebodyElse(t *testing.T) {
	if _, err := new(Runner).Run(t.Context(), roomy, script(t, "kill -9 $$")); !errors.Is(err, ErrSignal) {
		t.Errorf("Run = %v", err)
	}
}

// A program that cannot be killed is one in the kernel; a hung record stands in.
func TestWhatHangsIsNotStartedAgain(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "started")
	path := script(t, "touch "+mark)
	r := new(Runner)
	r.setHanging(path+"\x00-a\x00/dev/sda", true)
	if _, err := r.Run(t.Context(), roomy, path, "-a", "/dev/sda"); !errors.Is(err, ErrHangs) {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it was started")
	}
	if _, err := r.Run(t.Context(), roomy, path, "-a", "/dev/sdb"); err != nil {
		t.Errorf("another drive: %v", err)
	}
	r.setHanging(path+"\x00-a\x00/dev/sda", false)
	if _, err := r.Run(t.Context(), roomy, path, "-a", "/dev/sda"); err != nil {
		t.Errorf("after it has died: %v", err)
	}
}
