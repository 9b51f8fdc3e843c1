package lab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// thing is something that Up made, or was about to make.
type thing struct {
	Kind  string `json:"kind"`            // kindDir, …
	Path  string `json:"path,omitempty"`  // of a directory or mount
	Name  string `json:"name,omitempty"`  // of a network namespace, link or process
	PID   int    `json:"pid,omitempty"`   // of a process
	Start uint64 `json:"start,omitempty"` // its start time in clock ticks since the machine's boot: what tells it from a later process with its pid
	Boot  string `json:"boot,omitempty"`  // the real machine's boot id; after a reboot only files are left
}

// The kinds of things, as written to the list (version 1: 2026-11).
const (
	kindBegin    = "begin"    // the first line: the machine's boot
	kindDir      = "dir"      // a directory with all that is in it
	kindMount    = "mount"    // a mount
	kindNetnsDir = "netnsdir" // /run/netns, if nobody had made a named network namespace before
	kindNetns    = "netns"    // a named network namespace
	kindLink     = "link"     // a network interface in the root namespace
	kindProcess  = "process"  // the first process of a pid namespace; everything in it ends with it
)

// madeLog is the list of things made, append-only, one JSON object per line. A
// line is written before its thing is made; one that is cut off was never made.
type madeLog struct {
	file *os.File
}

// newMadeLog creates the list and with it the claim to be the lab that is up.
func newMadeLog() (*madeLog, error) {
	f, err := os.OpenFile(filepath.Join(Dir, "made.jsonl"), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	m := &madeLog{file: f}
	return m, m.add(thing{Kind: kindBegin, Boot: machineBoot()})
}

// appendMadeLog opens the list of the lab that is up, for what is made later.
func appendMadeLog() (*madeLog, error) {
	f, err := os.OpenFile(filepath.Join(Dir, "made.jsonl"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return &madeLog{file: f}, nil
}

func (m *madeLog) close() { m.file.Close() }

// add writes a thing down. One write is one line, also with several writers.
func (m *madeLog) add(t thing) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := m.file.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write down that %s %s%s is made: %w", t.Kind, t.Name, t.Path, err)
	}
	return nil
}

// readMade returns the list, oldest first.
func readMade() ([]thing, error) {
	b, err := os.ReadFile(filepath.Join(Dir, "made.jsonl"))
	if err != nil {
		return nil, err
	}
	var things []thing
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var t thing
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			continue // cut off
		}
		things = append(things, t)
	}
	return things, nil
}

// machineBoot returns the boot id of the real machine.
func machineBoot() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// undo removes a thing. One that is not there, or is not ours any more, is no error.
func (t thing) undo() error {
	switch t.Kind {
	case kindProcess:
		return killProcess(t.PID, t.Start)
	case kindNetns:
		err := run("ip", "netns", "del", t.Name)
		if _, e := os.Stat(filepath.Join("/run/netns", t.Name)); errors.Is(e, os.ErrNotExist) {
			return nil
		}
		return err
	case kindNetnsDir:
		return removeNetnsDir()
	case kindLink:
		err := run("ip", "link", "del", t.Name)
		if _, e := os.Stat(filepath.Join("/sys/class/net", t.Name)); errors.Is(e, os.ErrNotExist) {
			return nil
		}
		return err
	case kindMount:
		if err := unix.Unmount(t.Path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", t.Path, err)
		}
		return nil
	case kindDir:
		return removeTree(t.Path)
	}
	return nil
}

// removeTree removes a directory of the lab, and refuses while anything is mounted in it.
func removeTree(dir string) error {
	if dir != Dir && !strings.HasPrefix(dir, Dir+"/") {
		return fmt.Errorf("%s is not a directory of the lab", dir)
	}
	mounts, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted", strings.Join(mounts, ", "))
	}
	return os.RemoveAll(dir)
}

// mountsUnder returns the mount points at or below a directory.
func mountsUnder(dir string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && (f[4] == dir || strings.HasPrefix(f[4], dir+"/")) {
			out = append(out, f[4])
		}
	}
	return out, nil
}

// removeNetnsDir undoes what the first `ip netns add` does, unless somebody else has named a namespace since.
func removeNetnsDir() error {
	const dir = "/run/netns"
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
		return nil
	}
	if err := unix.Unmount(dir, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return os.Remove(dir)
}

// killProcess ends the process with a pid and start time and waits until it is
// gone, and with it, if it is a first process, all of its pid namespace.
func killProcess(pid int, start uint64) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if now, err := startTime(pid); err != nil || now != start {
		return nil // another one has the pid by now
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 1000)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
	}
	return fmt.Errorf("process %d does not end although it was killed", pid)
}
