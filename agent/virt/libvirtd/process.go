package libvirtd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vireo-kvm/vireo/agent/virt"
)

// process finds the domain's QEMU by libvirt's pid file; zero when there is
// none, or when the pid belongs to somebody else by now.
func (c *conn) process(name, uuid string) virt.Process {
	if !c.local {
		return virt.Process{}
	}
	text, err := os.ReadFile(filepath.Join(c.opts.RunRoot, "libvirt/qemu", name+".pid"))
	if err != nil {
		return virt.Process{}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return virt.Process{}
	}
	started, err := startTime(c.opts.ProcRoot, pid)
	if err != nil {
		return virt.Process{}
	}
	// QEMU's command line holds "-uuid UUID"; that of a zombie is empty.
	cmdline, err := os.ReadFile(filepath.Join(c.opts.ProcRoot, strconv.Itoa(pid), "cmdline"))
	if err != nil || !bytes.Contains(cmdline, []byte(uuid)) {
		return virt.Process{}
	}
	return virt.Process{PID: pid, StartTime: started}
}

// startTime reads field 22 of /proc/PID/stat. The name in field 2 may hold
// anything, a ")" included: count from the last one.
func startTime(procRoot string, pid int) (uint64, error) {
	path := filepath.Join(procRoot, strconv.Itoa(pid), "stat")
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("%s: no process name", path)
	}
	const field = 22 - 3 // the first one after the name is field 3
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= field {
		return 0, fmt.Errorf("%s: %d fields after the name", path, len(fields))
	}
	return strconv.ParseUint(string(fields[field]), 10, 64)
}

// ticks is how many of the kernel's clock ticks a process's start is counted in
// per second: USER_HZ, the same on every machine that Go runs on.
const ticks = 100

// daemonSince finds out when this machine's libvirtd, monolithic or modular, was
// started: by the pid file that it holds. Zero when there is none, or more than
// one that live.
func daemonSince(runRoot, procRoot string) time.Time {
	now := time.Now() // before everything else: what is too early does no harm
	var since time.Time
	for _, daemon := range []string{"libvirtd", "virtqemud"} {
		text, err := os.ReadFile(filepath.Join(runRoot, daemon+".pid"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || pid <= 0 {
			continue
		}
		name, err := os.ReadFile(filepath.Join(procRoot, strconv.Itoa(pid), "comm"))
		if err != nil || strings.TrimSpace(string(name)) != daemon {
			continue // the pid is somebody else's by now
		}
		started, err := startTime(procRoot, pid)
		if err != nil {
			continue
		}
		uptime, err := os.ReadFile(filepath.Join(procRoot, "uptime"))
		if err != nil {
			return time.Time{}
		}
		text, _, _ = bytes.Cut(uptime, []byte{' '})
		up, err := strconv.ParseFloat(string(text), 64)
		if err != nil || !since.IsZero() {
			return time.Time{}
		}
		age := time.Duration((up - float64(started)/ticks) * float64(time.Second))
		since = now.Add(-age - time.Second/ticks)
	}
	return since
}

// Exits watches processes of this machine by pidfd.
type Exits struct {
	// ProcRoot is where /proc is; "" is /proc. It must be the /proc of the pid
	// namespace that the watcher is in.
	ProcRoot string
}

// WatchExit implements virt.Exits. It costs a file descriptor and a goroutine
// until the process ends.
func (x Exits) WatchExit(p virt.Process, gone func()) (func() bool, error) {
	root := x.ProcRoot
	if root == "" {
		root = "/proc"
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH {
		return fire(gone), nil
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	// The pidfd holds whoever has the pid now; only after it is open can the
	// start time tell whether that is the one who was meant.
	if started, err := startTime(root, p.PID); err != nil || started != p.StartTime {
		_ = f.Close()
		return fire(gone), nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("pidfd of %d: %w", p.PID, err)
	}
	w := newOnce()
	go func() {
		err := raw.Read(func(fd uintptr) bool { return readable(int(fd)) })
		_ = f.Close()
		if err == nil && w.take() {
			gone()
		}
	}()
	return func() bool {
		mine := w.take()
		_ = f.SetReadDeadline(time.Unix(1, 0)) // wakes the goroutine, which closes the file
		return mine
	}, nil
}

// readable says whether the process behind a pidfd has ended.
func readable(fd int) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// fire is a watch on what has ended already.
func fire(gone func()) func() bool {
	w := newOnce()
	go func() {
		if w.take() {
			gone()
		}
	}()
	return w.take
}

// once is taken once: by the exit or by stop.
type once chan struct{}

func newOnce() once {
	o := make(once, 1)
	o <- struct{}{}
	return o
}

func (o once) take() bool {
	select {
	case <-o:
		return true
	default:
		return false
	}
}
