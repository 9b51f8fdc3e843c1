package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// run runs a command and returns its words if it fails.
func run(argv ...string) error {
	_, err := output(context.Background(), "", argv...)
	return err
}

// output runs a command with an input and returns what it printed.
func output(ctx context.Context, input string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(input)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(words.String())
		if text == "" {
			text = strings.TrimSpace(out.String())
		}
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return out.String(), nil
}

// startTime returns when a process was started, in clock ticks since the machine's boot.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything; field 22 of the line is the 20th after it.
	_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat cannot be read", pid)
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// alive tells whether a process with a pid and start time runs.
func alive(pid int, start uint64) bool {
	now, err := startTime(pid)
	return err == nil && now == start && pid > 0 && !zombie(pid)
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// pidsIn returns the processes of a first process's pid namespace: pid there → pid here.
func pidsIn(first int) (map[int]int, error) {
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	out := map[int]int{}
	for _, dir := range dirs {
		if s, err := os.Readlink(dir + "/ns/pid"); err != nil || s != space {
			continue // of another namespace, or gone meanwhile
		}
		b, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
				f := strings.Fields(ids)
				outer, err1 := strconv.Atoi(filepath.Base(dir))
				inner, err2 := strconv.Atoi(f[len(f)-1])
				if err := errors.Join(err1, err2); err == nil {
					out[inner] = outer
				}
			}
		}
	}
	return out, nil
}
