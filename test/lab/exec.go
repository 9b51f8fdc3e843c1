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
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter returns the command line that runs another one inside a machine: in its
// namespaces and with its view of the file system.
func (l *Lab) Enter(machine string, argv ...string) ([]string, error) {
	if _, err := l.addressOf(machine); err != nil {
		return nil, err
	}
	f, err := readFirst(machine)
	if err != nil {
		return nil, err
	}
	if !f.alive() {
		return nil, fmt.Errorf("%s is down; `vireo-lab boot %s` starts it", machine, machine)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, err
	}
	return append([]string{nsenter, "--target", strconv.Itoa(f.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"}, argv...), nil
}

// Environ is the environment of a command inside a machine: the lab's programs come first.
func (l *Lab) Environ(machine string) []string {
	env := []string{}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PATH=") && !strings.HasPrefix(kv, "VIREO_") {
			env = append(env, kv)
		}
	}
	return append(env, "PATH="+filepath.Join(machineDir(machine), "bin")+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

// Command returns a command that runs inside a machine. When ctx is done it is
// killed with everything it has started in its process group.
func (l *Lab) Command(ctx context.Context, machine string, argv ...string) (*exec.Cmd, error) {
	full, err := l.Enter(machine, argv...)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, full[0], full[1:]...)
	cmd.Env = l.Environ(machine)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return cmd, nil
}

// Exec runs a command inside a machine ("h1", "manager", "lan") and returns what
// it printed on its standard output; the error holds what it said on the other.
func (l *Lab) Exec(ctx context.Context, machine string, argv ...string) (string, error) {
	cmd, err := l.Command(ctx, machine, argv...)
	if err != nil {
		return "", err
	}
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w: %s", machine, strings.Join(argv, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(words.String()))
	}
	return out.String(), nil
}

// Virsh runs virsh inside a host.
func (l *Lab) Virsh(ctx context.Context, host string, args ...string) (string, error) {
	return l.Exec(ctx, host, append([]string{"virsh", "-c", "qemu:///system"}, args...)...)
}
