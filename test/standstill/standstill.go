package standstill

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// patience is far more than a loaded machine needs to stop a process; only a
// thread that waits for a dead disk takes longer.
const patience = 10 * time.Second

// Stop sends SIGSTOP to a process and returns when it stands still.
func Stop(pid int) error {
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	return Await(pid)
}

// Await returns when every thread of a process that was sent SIGSTOP has stopped or
// ended. A process that is gone stands still. It fails when a thread goes on for 10 s.
func Await(pid int) error {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		moving := moving(pid)
		if moving == "" {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("thread %s of process %d was told to stop %v ago and has not", moving, pid, patience)
		}
	}
}

// moving returns a thread of the process that has not stopped, or "".
func moving(pid int) string {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/stat", pid))
	if err != nil {
		panic(err) // the pattern is ours
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// After the name in parentheses, which may hold anything, comes the state:
		// T stopped, t stopped by a tracer, Z and X ended.
		_, state, _ := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "))
		if len(state) > 0 && !bytes.ContainsRune([]byte("TtZX"), rune(state[0])) {
			return filepath.Base(filepath.Dir(stat))
		}
	}
	return ""
}
