package standstill_test

import (
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/standstill"
)

func TestAwait(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := standstill.Await(cmd.Process.Pid); err != nil {
			t.Errorf("a process that is gone: %v", err)
		}
	}()
	used := func() int64 {
		var clock unix.Timespec
		// The processor time of another process: see clock_getcpuclockid(3).
		if err := unix.ClockGettime(int32(^cmd.Process.Pid<<3|2), &clock); err != nil {
			t.Fatal(err)
		}
		return clock.Nano()
	}
	for round := range 20 {
		if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		if err := standstill.Await(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		before := used()
		for range 1000 {
			unix.Getpid()
		}
		if after := used(); after != before {
			t.Fatalf("round %d: it has worked for %d ns while it stood still", round, after-before)
		}
		if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}
