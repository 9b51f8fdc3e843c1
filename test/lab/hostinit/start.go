package hostinit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Command is the hidden subcommand of vireo-lab that runs Main.
const Command = "host-init"

// Process is a first process that holds still.
type Process struct {
	PID  int
	pipe *os.File // its end tells the process to go on, or, closed unwritten, to end
}

// Start makes the first process of a machine. program is a vireo-lab; netns a file
// that holds the network namespace. InNetwork must be the function that runs
// another in that namespace on a thread of its own.
func Start(spec Spec, program string, inNetwork func(func() error) error) (*Process, error) {
	if err := spec.Write(); err != nil {
		return nil, fmt.Errorf("spec of %s: %w", spec.Name, err)
	}
	if err := os.MkdirAll(spec.Logs(), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(spec.Logs(), "init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(program, Command, spec.Dir)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC}
	if err := inNetwork(cmd.Start); err != nil {
		w.Close()
		return nil, fmt.Errorf("start the first process of %s: %w", spec.Name, err)
	}
	go func() { _ = cmd.Wait() }() // so that a maker that lives on leaves no zombie
	return &Process{PID: cmd.Process.Pid, pipe: w}, nil
}

// Go lets the process begin its work.
func (p *Process) Go() error {
	_, err := p.pipe.Write([]byte{1})
	return errors.Join(err, p.pipe.Close())
}

// wait is the other side of Go: it returns nil once the maker said so.
func wait() error {
	pipe := os.NewFile(3, "go")
	defer pipe.Close()
	if n, err := pipe.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("the process that started this one is gone: %w", err)
	}
	return nil
}
