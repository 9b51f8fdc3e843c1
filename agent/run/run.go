package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of one run.
type Limits struct {
	Timeout time.Duration // more than 0
	Output  int           // bytes, of stdout and of stderr each
}

// Result is what a program that ended by itself has left.
type Result struct {
	Stdout, Stderr []byte
	ExitCode       int
}

var (
	// ErrTimeout: the program was killed because its time was over.
	ErrTimeout = errors.New("no answer in time, killed")
	// ErrHangs: an earlier run with the same arguments was killed and has not
	// died. Nothing was started.
	ErrHangs = errors.New("an earlier run still hangs, not started again")
	// ErrOutput: the program was killed because it wrote too much.
	ErrOutput = errors.New("too much output, killed")
	// ErrSignal: somebody else killed the program.
	ErrSignal = errors.New("killed by a signal")
)

// grace is how long a killed program may take to be gone before it counts as
// hanging.
const grace = 500 * time.Millisecond

// Runner runs programs. The zero value is ready; it may be used from many
// goroutines.
type Runner struct {
	mu    sync.Mutex
	hangs map[string]bool // by command line
}

// Run starts the program at path, an absolute path, and waits for its end. An
// exit code other than 0 is no error here: many mean something. The error wraps
// fs.ErrNotExist when there is no such program, one of the errors above, or
// ctx's.
func (r *Runner) Run(ctx context.Context, limits Limits, path string, args ...string) (Result, error) {
	line := strings.Join(append([]string{path}, args...), "\x00")
	if r.hanging(line) {
		return Result{}, fmt.Errorf("%s: %w", path, ErrHangs)
	}
	timed, cancel := context.WithTimeoutCause(ctx, limits.Timeout, fmt.Errorf("%w (%s)", ErrTimeout, limits.Timeout))
	defer cancel()
	timed, fail := context.WithCancelCause(timed)
	defer fail(nil)

	stdout, stderr := &limited{left: limits.Output, full: fail}, &limited{left: limits.Output, full: fail}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A grandchild that left the group may keep the pipes open.
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return Result{}, err // names the path
	}
	// The agent answers before others do (its unit's Nice); what it runs need not.
	// Lowering is always allowed, and a program that has ended has no priority.
	_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, 0)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	var err error
	select {
	case err = <-ended:
	case <-timed.Done():
		// The group's id is the program's pid, which is not used again before
		// Wait has returned.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		timer := time.NewTimer(2 * grace)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
			r.setHanging(line, true)
			go func() {
				<-ended
				r.setHanging(line, false)
			}()
		}
		return Result{}, fmt.Errorf("%s: %w", path, context.Cause(timed))
	}
	var exit *exec.ExitError
	switch {
	case stdout.over || stderr.over:
		return Result{}, fmt.Errorf("%s: %w", path, ErrOutput)
	case errors.As(err, &exit) && exit.Exited():
	case errors.As(err, &exit):
		return Result{}, fmt.Errorf("%s: %w: %s", path, ErrSignal, exit)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return Result{}, fmt.Errorf("%s: %w", path, err)
	}
	return Result{Stdout: stdout.buf.Bytes(), Stderr: stderr.buf.Bytes(), ExitCode: cmd.ProcessState.ExitCode()}, nil
}

func (r *Runner) hanging(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hangs[line]
}

func (r *Runner) setHanging(line string, hangs bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hangs == nil {
		r.hangs = map[string]bool{}
	}
	if hangs {
		r.hangs[line] = true
	} else {
		delete(r.hangs, line)
	}
}

// limited is a buffer with an end. It is read after Wait only.
type limited struct {
	buf  bytes.Buffer // not embedded: its ReadFrom would know no limit
	left int
	over bool
	full context.CancelCauseFunc
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		l.over = true
		l.full(ErrOutput)
		return len(p), nil // swallowed until the program is dead
	}
	l.left -= len(p)
	return l.buf.Write(p)
}
