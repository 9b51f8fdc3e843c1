package libvirtd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"libvirt.org/go/libvirt"

	"github.com/vireo-kvm/vireo/agent/virt"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestProcess(t *testing.T) {
	const uuid = "7d3a0c44-0001-4b60-9f1c-5a6e0f6a1c01"
	const stat = "4711 (qemu) system (x) S 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 5 0 987654 1 2\n"
	for _, c := range []struct {
		name               string
		pid, stat, cmdline string
		local              bool
		want               virt.Process
	}{
		{"as it should be", "4711\n", stat, "qemu\x00-uuid\x00" + uuid + "\x00", true, virt.Process{PID: 4711, StartTime: 987654}},
		{"without a newline", "4711", stat, "-uuid\x00" + uuid, true, virt.Process{PID: 4711, StartTime: 987654}},
		{"another machine's", "4711\n", stat, uuid, false, virt.Process{}},
		{"no pid file", "", stat, uuid, true, virt.Process{}},
		{"no number in it", "many\n", stat, uuid, true, virt.Process{}},
		{"a negative number", "-1\n", stat, uuid, true, virt.Process{}},
		{"the pid is somebody else's", "4711\n", stat, "bash\x00", true, virt.Process{}},
		{"a zombie", "4711\n", stat, "", true, virt.Process{}},
		{"no such process", "4712\n", stat, uuid, true, virt.Process{}},
		{"a short stat", "4711\n", "4711 (qemu) S 1 2 3\n", uuid, true, virt.Process{}},
		{"an empty stat", "4711\n", "", uuid, true, virt.Process{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if c.pid != "" {
				write(t, filepath.Join(root, "run/libvirt/qemu/web 7.pid"), c.pid, 0o644)
			}
			write(t, filepath.Join(root, "proc/4711/stat"), c.stat, 0o644)
			write(t, filepath.Join(root, "proc/4711/cmdline"), c.cmdline, 0o644)
			x := &conn{local: c.local, opts: Options{RunRoot: filepath.Join(root, "run"), ProcRoot: filepath.Join(root, "proc")}}
			if got := x.process("web 7", uuid); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestWatchExit watches real processes.
func TestWatchExit(t *testing.T) {
	sleeper := func() (*exec.Cmd, virt.Process) {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		started, err := startTime("/proc", cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return cmd, virt.Process{PID: cmd.Process.Pid, StartTime: started}
	}
	fires := func(t *testing.T, gone <-chan struct{}) {
		t.Helper()
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Error("the watch did not fire")
		}
	}
	t.Run("fires at the end", func(t *testing.T) {
		cmd, p := sleeper()
		gone := make(chan struct{})
		stop, err := Exits{}.WatchExit(p, func() { close(gone) })
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-gone:
			t.Fatal("fired before the end")
		default:
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		fires(t, gone)
		if stop() {
			t.Error("stop after it fired returned true")
		}
	})
	t.Run("stopped", func(t *testing.T) {
		cmd, p := sleeper()
		fired := make(chan struct{})
		stop, err := Exits{}.WatchExit(p, func() { close(fired) })
		if err != nil {
			t.Fatal(err)
		}
		other := make(chan struct{})
		if _, err := (Exits{}).WatchExit(p, func() { close(other) }); err != nil {
			t.Fatal(err)
		}
		if !stop() || stop() {
			t.Error("stop: want true once")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		fires(t, other)
		select {
		case <-fired:
			t.Error("a stopped watch fired")
		default:
		}
	})
	t.Run("ended before", func(t *testing.T) {
		cmd, p := sleeper()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		gone := make(chan struct{})
		if _, err := (Exits{}).WatchExit(p, func() { close(gone) }); err != nil {
			t.Fatal(err)
		}
		fires(t, gone)
	})
	t.Run("the pid is another's by now", func(t *testing.T) {
		_, p := sleeper()
		p.StartTime--
		gone := make(chan struct{})
		if _, err := (Exits{}).WatchExit(p, func() { close(gone) }); err != nil {
			t.Fatal(err)
		}
		fires(t, gone)
	})
}

func TestLockManager(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		known            bool
	}{
		{"commented out", "#lock_manager = \"lockd\"\nuser = \"root\"\n", "", true},
		{"set", "user = \"root\"\nlock_manager = \"lockd\" # since the outage\n", "lockd", true},
		{"the last one counts", "lock_manager = \"sanlock\"\n lock_manager=\"lockd\"\n", "lockd", true},
		{"nop is none", "lock_manager = \"nop\"\n", "", true},
		{"another key", "lock_manager_x = \"lockd\"\n", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "qemu.conf")
			write(t, path, c.text, 0o600)
			if got, known := lockManager(path); got != c.want || known != c.known {
				t.Errorf("%q, known %v; want %q, %v", got, known, c.want, c.known)
			}
		})
	}
	if got, known := lockManager(filepath.Join(t.TempDir(), "none")); got != "" || !known {
		t.Errorf("without a file: %q, known %v; libvirt's default is none", got, known)
	}
	if got, known := lockManager(t.TempDir()); known {
		t.Errorf("a directory in its place: %q, known", got)
	}
}

func TestHooks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "qemu"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(dir, "network"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(dir, "qemu.d/10-vireo"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(dir, "qemu.d/readme"), "", 0o644)
	write(t, filepath.Join(dir, "qemu.d/dir/x"), "", 0o755)
	want := []string{filepath.Join(dir, "qemu"), filepath.Join(dir, "qemu.d/10-vireo")}
	if got := hooks(dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := hooks(filepath.Join(dir, "none")); got != nil {
		t.Errorf("without a directory: %v", got)
	}
}

// TestDaemonSince: by the pid file of a libvirtd that lives, and never later
// than it began.
func TestDaemonSince(t *testing.T) {
	run, proc := t.TempDir(), t.TempDir()
	write(t, filepath.Join(proc, "uptime"), "1000.50 1.00\n", 0o644)
	daemon := func(name string, pid, started int) {
		write(t, filepath.Join(run, name+".pid"), fmt.Sprintln(pid), 0o644)
		dir := filepath.Join(proc, fmt.Sprint(pid))
		write(t, filepath.Join(dir, "comm"), name+"\n", 0o644)
		write(t, filepath.Join(dir, "stat"), fmt.Sprintf("%d (%s) S%s %d 0\n", pid, name, strings.Repeat(" 1", 18), started), 0o644)
	}
	if got := daemonSince(run, proc); !got.IsZero() {
		t.Errorf("without a pid file: %s", got)
	}
	daemon("libvirtd", 77, 99_050) // 10 s ago
	before := time.Now()
	got := daemonSince(run, proc)
	if age := before.Sub(got); age < 10*time.Second-time.Second/2 || got.After(time.Now().Add(-10*time.Second)) {
		t.Errorf("10 s old: %s", age)
	}
	write(t, filepath.Join(proc, "77/comm"), "bash\n", 0o644)
	if got := daemonSince(run, proc); !got.IsZero() {
		t.Errorf("a pid that is bash's: %s", got)
	}
	daemon("libvirtd", 77, 99_050)
	daemon("virtqemud", 78, 99_000)
	if got := daemonSince(run, proc); !got.IsZero() {
		t.Errorf("two that live: %s", got)
	}
}

// TestWords compares ends of our lists with libvirt's constants: a word in the
// wrong place would shift all that follow.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		s      libvirt.DomainState
		reason int
		state  virt.State
		want   virt.Reason
	}{
		{libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_MIGRATED), virt.StateRunning, virt.ReasonMigrated},
		{libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_UNPAUSED), virt.StateRunning, virt.ReasonUnpaused},
		{libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_MIGRATION_CANCELED), virt.StateRunning, virt.ReasonMigrationCanceled},
		{libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_POSTCOPY_FAILED), virt.StateRunning, virt.ReasonPostCopyFailed},
		{libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_USER), virt.StatePaused, virt.ReasonUser},
		{libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_MIGRATION), virt.StatePaused, virt.ReasonMigrating},
		{libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_STARTING_UP), virt.StatePaused, virt.ReasonStartingUp},
		{libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_POSTCOPY), virt.StatePaused, virt.ReasonPostCopy},
		{libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_API_ERROR), virt.StatePaused, "API error"},
		{libvirt.DOMAIN_SHUTOFF, int(libvirt.DOMAIN_SHUTOFF_MIGRATED), virt.StateShutOff, virt.ReasonMigrated},
		{libvirt.DOMAIN_SHUTOFF, int(libvirt.DOMAIN_SHUTOFF_DAEMON), virt.StateShutOff, "daemon"},
		{libvirt.DOMAIN_CRASHED, int(libvirt.DOMAIN_CRASHED_PANICKED), virt.StateCrashed, "panicked"},
		{libvirt.DOMAIN_PMSUSPENDED, 0, virt.StatePMSuspended, virt.ReasonUnknown},
		{libvirt.DOMAIN_PAUSED, 99, virt.StatePaused, virt.ReasonUnknown},
		{libvirt.DomainState(99), 1, virt.StateNone, virt.ReasonUnknown},
		{libvirt.DOMAIN_PAUSED, -1, virt.StatePaused, virt.ReasonUnknown},
	} {
		if s, r := state(c.s, c.reason); s != c.state || r != c.want {
			t.Errorf("state %d, reason %d: %s (%s), want %s (%s)", c.s, c.reason, s, r, c.state, c.want)
		}
	}
	for _, c := range []struct {
		event  libvirt.DomainEventType
		detail int
		want   string
	}{
		{libvirt.DOMAIN_EVENT_DEFINED, int(libvirt.DOMAIN_EVENT_DEFINED_ADDED), "Defined Added"},
		{libvirt.DOMAIN_EVENT_UNDEFINED, int(libvirt.DOMAIN_EVENT_UNDEFINED_REMOVED), "Undefined Removed"},
		{libvirt.DOMAIN_EVENT_STARTED, int(libvirt.DOMAIN_EVENT_STARTED_MIGRATED), "Started Migrated"},
		{libvirt.DOMAIN_EVENT_STARTED, int(libvirt.DOMAIN_EVENT_STARTED_WAKEUP), "Started Event wakeup"},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_MIGRATED), "Suspended Migrated"},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_API_ERROR), "Suspended API error"},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_POSTCOPY), "Suspended Post-copy"},
		{libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED), "Suspended Post-copy Error"},
		{libvirt.DOMAIN_EVENT_RESUMED, int(libvirt.DOMAIN_EVENT_RESUMED_MIGRATED), "Resumed Migrated"},
		{libvirt.DOMAIN_EVENT_RESUMED, int(libvirt.DOMAIN_EVENT_RESUMED_POSTCOPY), "Resumed Post-copy"},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_MIGRATED), "Stopped Migrated"},
		{libvirt.DOMAIN_EVENT_STOPPED, int(libvirt.DOMAIN_EVENT_STOPPED_FAILED), "Stopped Failed"},
		{libvirt.DOMAIN_EVENT_SHUTDOWN, int(libvirt.DOMAIN_EVENT_SHUTDOWN_HOST), "Shutdown On host request"},
		{libvirt.DOMAIN_EVENT_PMSUSPENDED, int(libvirt.DOMAIN_EVENT_PMSUSPENDED_DISK), "PMSuspended Disk"},
		{libvirt.DOMAIN_EVENT_CRASHED, int(libvirt.DOMAIN_EVENT_CRASHED_PANICKED), "Crashed Panicked"},
		{99, 0, "unknown unknown"},
		{libvirt.DOMAIN_EVENT_STOPPED, 99, "Stopped unknown"},
	} {
		if e, d := lifecycle(int(c.event), c.detail); e+" "+d != c.want {
			t.Errorf("event %d/%d: %s %s, want %s", c.event, c.detail, e, d, c.want)
		}
	}
	for op, want := range map[libvirt.DomainJobOperationType]virt.Operation{
		libvirt.DOMAIN_JOB_OPERATION_MIGRATION_IN:    virt.OpMigrateIn,
		libvirt.DOMAIN_JOB_OPERATION_MIGRATION_OUT:   virt.OpMigrate,
		libvirt.DOMAIN_JOB_OPERATION_BACKUP:          virt.OpBackup,
		libvirt.DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE: "snapshot delete",
		99: virt.OpUnknown,
	} {
		if got := job(&libvirt.DomainJobInfo{Operation: op}).Operation; got != want {
			t.Errorf("operation %d: %s, want %s", op, got, want)
		}
	}
	for n, want := range map[libvirt.DomainJobType]virt.JobType{
		libvirt.DOMAIN_JOB_NONE: virt.JobNone, libvirt.DOMAIN_JOB_UNBOUNDED: virt.JobUnbounded, libvirt.DOMAIN_JOB_CANCELLED: virt.JobCancelled,
	} {
		if got := job(&libvirt.DomainJobInfo{Type: n}).Type; got != want {
			t.Errorf("job type %d: %s, want %s", n, got, want)
		}
	}
	if !job(&libvirt.DomainJobInfo{Type: 99}).Active() {
		t.Error("a job of a type that we do not know counts as none")
	}
}

func TestTranslate(t *testing.T) {
	for code, is := range map[libvirt.ErrorNumber]func(error) bool{
		libvirt.ERR_NO_DOMAIN:         virt.IsNoDomain,
		libvirt.ERR_OPERATION_INVALID: virt.IsOperationInvalid,
		libvirt.ERR_OPERATION_ABORTED: virt.IsAborted,
		libvirt.ERR_NO_SUPPORT:        virt.IsUnsupported,
		libvirt.ERR_INVALID_CONN:      virt.IsNotConnected,
		libvirt.ERR_MIGRATE_UNSAFE:    virt.IsRefused,
		libvirt.ERR_INTERNAL_ERROR:    virt.IsRefused,
	} {
		err := error(translate("resume", "u", fmt.Errorf("wrapped: %w", libvirt.Error{Code: code, Message: "words"})))
		if !is(err) || virt.Message(err) != "words" {
			t.Errorf("code %d: %v", code, err)
		}
		var e *virt.Error
		if !errors.As(err, &e) || e.Code != int(code) || e.Op != "resume" || e.On != "u" {
			t.Errorf("code %d: %+v", code, e)
		}
	}
}

func TestIsLocal(t *testing.T) {
	for uri, want := range map[string]bool{
		"qemu:///system": true, "qemu+unix:///system?socket=/x": true, "test:///default": true,
		"qemu+tcp://h2/system": false, "qemu+tls://h2:16514/system": false, "qemu+ssh://root@h2/system": false,
	} {
		if got := isLocal(uri); got != want {
			t.Errorf("%s: %v", uri, got)
		}
	}
}

func TestHasBridge(t *testing.T) {
	sys := t.TempDir()
	write(t, filepath.Join(sys, "class/net/br0/bridge/bridge_id"), "", 0o644)
	write(t, filepath.Join(sys, "class/net/eth0/address"), "", 0o644)
	x := &conn{local: true, opts: Options{SysRoot: sys}}
	for name, want := range map[string]bool{"br0": true, "eth0": false, "br1": false, "": false, "../net/br0": false} {
		if got, err := x.HasBridge(t.Context(), name); got != want || err != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	if _, err := (&conn{}).HasBridge(t.Context(), "br0"); !virt.IsUnsupported(err) {
		t.Errorf("another machine's bridge: %v", err)
	}
}

// TestCallsAreBounded uses libvirt's own test driver, which needs no daemon.
func TestCallsAreBounded(t *testing.T) {
	open, err := New(Options{MaxCalls: 2})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := open(t.Context(), "test:///default", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := opened.(*conn)
	release := make(chan struct{})
	entered := make(chan struct{})
	stuck := func(*libvirt.Connect) error { entered <- struct{}{}; <-release; return nil }
	results := make(chan error)
	for i := range 2 {
		go func() { results <- tell(t.Context(), c, "stuck", strconv.Itoa(i), stuck) }()
		<-entered
	}
	if _, err := c.Find(t.Context(), "test"); !virt.IsRefused(err) {
		t.Errorf("a third call: %v; want a refusal that says so", err)
	}
	if err := c.Close(); err != nil { // who waits is told at once
		t.Fatal(err)
	}
	for range 2 {
		if err := <-results; !virt.IsNotConnected(err) {
			t.Errorf("a call under way at Close: %v", err)
		}
	}
	if _, err := c.Find(t.Context(), "test"); !virt.IsNotConnected(err) {
		t.Errorf("a call after Close: %v", err)
	}
	close(release) // libvirt's handle goes with the last of them
}

func TestTimeout(t *testing.T) {
	open, err := New(Options{CallTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := open(t.Context(), "test:///default", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	c := opened.(*conn)
	release := make(chan struct{})
	defer close(release)
	err = tell(t.Context(), c, "stuck", "u", func(*libvirt.Connect) error { <-release; return nil })
	if !virt.IsTimeout(err) || !virt.OutcomeUnknown(err) {
		t.Errorf("a call that hangs: %v", err)
	}
	if uuid, err := c.Find(t.Context(), "test"); err != nil || len(uuid) != 36 {
		t.Errorf("another call meanwhile: %q, %v", uuid, err)
	}
}
