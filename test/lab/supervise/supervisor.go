package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// service is a Service and its present process.
type service struct {
	Status
	spec     Service
	stopping []chan struct{} // closed when the process has ended
}

// Supervisor keeps services running. It must be the first process of a pid
// namespace, or at least a child subreaper, because it waits for every child.
type Supervisor struct {
	services []*service      // in the order of their start
	calls    chan func()     // what clients ask for, run in the loop
	due      chan string     // names of services whose delay is over
	ready    map[string]bool // services that were seen ready since the last start
	waiting  []string        // services to start, held back by one that is not ready
	probed   chan string     // names of services that have become ready
}

// New returns a supervisor that runs nothing yet.
func New() *Supervisor {
	return &Supervisor{calls: make(chan func()), due: make(chan string), ready: map[string]bool{}, probed: make(chan string)}
}

// Run starts the services one after the other, each when the one before is ready,
// answers clients on the listener, and returns when ctx is done. It ends no
// process: they end with the namespace.
func (s *Supervisor) Run(ctx context.Context, l net.Listener, services []Service) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	go s.serve(ctx, l)
	for _, svc := range services {
		s.services = append(s.services, &service{spec: svc, Status: Status{Name: svc.Name, Wanted: true}})
		s.waiting = append(s.waiting, svc.Name)
	}
	s.next(ctx)
	for {
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), l.Close())
		case <-children:
			s.reap(ctx)
		case call := <-s.calls:
			call()
		case name := <-s.due:
			if svc := s.find(name); svc != nil && svc.Wanted && svc.PID == 0 {
				s.start(ctx, svc)
			}
		case name := <-s.probed:
			s.ready[name] = true
			s.next(ctx)
		}
	}
}

// next starts what waits, up to the first service that others have to wait for.
func (s *Supervisor) next(ctx context.Context) {
	for len(s.waiting) > 0 {
		svc := s.find(s.waiting[0])
		if svc.Starts == 0 {
			s.start(ctx, svc)
		}
		if svc.spec.Ready != "" && !s.ready[svc.Name] {
			return
		}
		s.waiting = s.waiting[1:]
	}
}

func (s *Supervisor) find(name string) *service {
	i := slices.IndexFunc(s.services, func(svc *service) bool { return svc.Name == name })
	if i < 0 {
		return nil
	}
	return s.services[i]
}

// start starts a service; one that cannot be started is tried again after the delay.
func (s *Supervisor) start(ctx context.Context, svc *service) {
	svc.Starts++
	svc.Since = time.Now().UTC()
	pid, err := spawn(svc.spec)
	if err != nil {
		svc.Exit = err.Error()
		s.again(ctx, svc)
		return
	}
	svc.PID = pid
	if svc.spec.Ready != "" && !s.ready[svc.Name] {
		go s.probe(ctx, svc.spec)
	}
}

// spawn starts the program in a session of its own and returns its pid.
func spawn(svc Service) (int, error) {
	env := append(os.Environ(), svc.Env...)
	path, err := exec.LookPath(svc.Argv[0])
	if err != nil {
		return 0, err
	}
	for _, dir := range svc.Dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return 0, err
		}
	}
	log, err := os.OpenFile(svc.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	p, err := os.StartProcess(path, svc.Argv, &os.ProcAttr{
		Dir: "/", Env: env, Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", svc.Name, err)
	}
	pid := p.Pid
	if svc.Nice != 0 {
		if err := prefer(pid, svc.Nice); err != nil {
			return 0, errors.Join(fmt.Errorf("priority of %s: %w", svc.Name, err), p.Kill())
		}
	}
	// The loop waits for it itself, with everybody else's orphans.
	return pid, p.Release()
}

// prefer gives a program that leads a session its priority, before others of its
// session and, where the kernel shares the processor between sessions first
// (autogroup), its session before others.
func prefer(pid, nice int) error {
	// The group is the program's own, and takes in threads that it has begun already.
	if err := unix.Setpriority(unix.PRIO_PGRP, pid, nice); err != nil {
		return err
	}
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), fmt.Append(nil, nice), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without it
	}
	return err
}

// probe waits until the service's socket accepts.
func (s *Supervisor) probe(ctx context.Context, svc Service) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("unix", svc.Ready); err == nil {
			c.Close()
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	select {
	case s.probed <- svc.Name:
	case <-ctx.Done():
	}
}

// reap takes the exit of every child that has ended.
func (s *Supervisor) reap(ctx context.Context) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		i := slices.IndexFunc(s.services, func(svc *service) bool { return svc.PID == pid })
		if i < 0 {
			continue // an orphan
		}
		svc := s.services[i]
		svc.PID, svc.Exit = 0, ended(status)
		for _, c := range svc.stopping {
			close(c)
		}
		svc.stopping = nil
		if svc.Wanted && svc.spec.Restart {
			s.again(ctx, svc)
		}
	}
}

// again starts the service after the delay.
func (s *Supervisor) again(ctx context.Context, svc *service) {
	name := svc.Name
	time.AfterFunc(Delay, func() {
		select {
		case s.due <- name:
		case <-ctx.Done():
		}
	})
}

func ended(status unix.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("signal %d", status.Signal())
	}
	return fmt.Sprintf("exit %d", status.ExitStatus())
}

// put starts a service that was not there or has ended, or gives a running one the arguments of its next start.
func (s *Supervisor) put(ctx context.Context, svc Service) error {
	if svc.Name == "" || len(svc.Argv) == 0 || strings.TrimSpace(svc.Log) == "" {
		return fmt.Errorf("service %q needs a name, a program and a log", svc.Name)
	}
	have := s.find(svc.Name)
	if have == nil {
		have = &service{Status: Status{Name: svc.Name}}
		s.services = append(s.services, have)
	}
	have.spec = svc
	have.Wanted = true
	if have.PID == 0 {
		s.start(ctx, have)
	}
	return nil
}

// stop ends a service with SIGTERM and keeps it ended; the returned channel is closed once it has.
func (s *Supervisor) stop(name string) (<-chan struct{}, error) {
	svc := s.find(name)
	if svc == nil {
		return nil, fmt.Errorf("there is no service %s", name)
	}
	svc.Wanted = false
	done := make(chan struct{})
	if svc.PID == 0 {
		close(done)
		return done, nil
	}
	svc.stopping = append(svc.stopping, done)
	return done, unix.Kill(svc.PID, unix.SIGTERM)
}

// list returns the status of all services in the order of their first start.
func (s *Supervisor) list() []Status {
	out := make([]Status, 0, len(s.services))
	for _, svc := range s.services {
		out = append(out, svc.Status)
	}
	return out
}
