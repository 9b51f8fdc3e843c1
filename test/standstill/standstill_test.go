package standstill_test

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/test/standstill"
)

// busy says that this process is the one that is to be stopped.
const busy = "STANDSTILL_BUSY"

// TestMain is a process with many threads that are all at work, when a test has
// started its own binary as one.
func TestMain(m *testing.M) {
	if os.Getenv(busy) == "" {
		os.Exit(m.Run())
	}
	for range 64 {
		go func() {
			runtime.LockOSThread()
			for {
				unix.Getppid()
			}
		}()
	}
	select {}
}

func TestStop(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), busy+"=yes", "GOMAXPROCS=64")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := standstill.Await(pid); err != nil {
			t.Errorf("a process that is gone: %v", err)
		}
	}()
	used := func() int64 {
		var clock unix.Timespec
		// The processor time of another process: see clock_getcpuclockid(3).
		if err := unix.ClockGettime(int32(^pid<<3|2), &clock); err != nil {
			t.Fatal(err)
		}
		return clock.Nano()
	}
	for round := range 20 {
		for began := used(); used() == began; { // it works
			runtime.Gosched()
		}
		if err := standstill.Stop(pid); err != nil {
			t.Fatal(err)
		}
		before := used()
		for range 1000 {
			unix.Getppid()
		}
		if after := used(); after != before {
			t.Fatalf("round %d: it has worked for %d ns while it stood still", round, after-before)
		}
		if err := unix.Kill(pid, unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}
