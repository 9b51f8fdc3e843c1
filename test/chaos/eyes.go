package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is one QEMU process of a guest, told from a later one of its pid by
// its start time.
type process struct {
	Guest string // its name
	Host  string
	PID   int
	Start uint64 // clock ticks since the machine's boot
}

func (p process) String() string { return fmt.Sprintf("%s on %s (pid %d)", p.Guest, p.Host, p.PID) }

// reading is what one look saw of a process.
type reading struct {
	process
	CPU time.Duration // of its virtual processor's thread; a paused guest's stands still
}

// eyes see the QEMU processes of all hosts of a lab in the real machine's /proc.
type eyes struct {
	names   map[string]string // UUID → name
	threads map[process]int   // of the virtual processor
	known   map[int]process
}

func newEyes(names map[string]string) *eyes {
	return &eyes{names: names, threads: map[process]int{}, known: map[int]process{}}
}

// look returns the processes of all guests, and how long looking at their CPU
// times took: readings of a longer look can't be compared with each other.
func (e *eyes) look() (found []reading, took time.Duration) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, 0 // no /proc, no lab
	}
	var processes []process
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if p, ok := e.identify(pid); ok {
			processes = append(processes, p)
		}
	}
	for pid, p := range e.known {
		if !slices.Contains(processes, p) {
			delete(e.known, pid)
			delete(e.threads, p)
		}
	}
	begin := time.Now()
	for _, p := range processes {
		if cpu, ok := e.cpu(p); ok {
			found = append(found, reading{process: p, CPU: cpu})
		}
	}
	return found, time.Since(begin)
}

// identify says which guest's process one is, and on which host.
func (e *eyes) identify(pid int) (process, bool) {
	if p, ok := e.known[pid]; ok {
		if start, ok := startOf(pid); ok && start == p.Start {
			return p, true
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(b, []byte("\x00-uuid\x00")) {
		return process{}, false
	}
	args := strings.Split(string(b), "\x00")
	i := slices.Index(args, "-uuid")
	name := e.names[args[i+1]]
	host, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/etc/hostname", pid))
	start, ok := startOf(pid)
	if name == "" || err != nil || !ok {
		return process{}, false
	}
	p := process{Guest: name, Host: strings.TrimSpace(string(host)), PID: pid, Start: start}
	e.known[pid] = p
	return p, true
}

// startOf returns the start time of a process that has not ended.
func startOf(pid int) (uint64, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may hold anything; field 22 of the line is the 20th after it.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, false
	}
	n, err := strconv.ParseUint(f[19], 10, 64)
	return n, err == nil
}

// cpu returns the CPU time of a process's virtual processor; 0 before it has one.
func (e *eyes) cpu(p process) (time.Duration, bool) {
	thread, ok := e.threads[p]
	if !ok {
		if thread = virtualProcessor(p.PID); thread == 0 {
			return 0, true
		}
		e.threads[p] = thread
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", p.PID, thread))
	if err != nil {
		return 0, false // it has just ended
	}
	ns, _, _ := strings.Cut(string(b), " ")
	n, err := strconv.ParseInt(ns, 10, 64)
	return time.Duration(n), err == nil
}

// virtualProcessor returns the thread that QEMU names after its virtual processor; 0 if there is none yet.
func virtualProcessor(pid int) int {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	if err != nil {
		return 0
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(b), "CPU ") {
			thread, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err == nil {
				return thread
			}
		}
	}
	return 0
}
