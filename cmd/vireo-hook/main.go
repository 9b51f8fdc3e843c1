package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

// Exit codes: libvirt refuses the operation for every code other than 0.
const (
	allow  = 0
	refuse = 1
)

// usual is how a host is set up whose own configuration can't be read.
var usual = configs.DefaultAgent

const bootIDFile = "/proc/sys/kernel/random/boot_id"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stderr)) }

// run takes the configuration's path and libvirt's own arguments: the domain's
// name, the operation, the sub-operation and one that means nothing here. What
// does not matter passes before anything else is looked at.
func run(args []string, stdin io.Reader, stderr io.Writer) int {
	if len(args) < 4 || !hook.Matters(args[2], args[3]) {
		return allow
	}
	config, name := args[0], args[1]
	if hook.IsProbeName(name) {
		fmt.Fprintln(stderr, hook.ProbeAnswer())
		return refuse
	}
	begun := time.Now()
	h, err := settings(config)
	if err == nil && h.solo.Mode == configs.HookOff {
		return allow
	}
	r := hook.Request{Name: name, Operation: hook.Operation(args[2])}
	xml, readErr := io.ReadAll(io.LimitReader(stdin, hook.MaxXML+1))
	r.XML = string(xml)
	names := h.allowances(&r, begun)

	a, askErr := h.ask(r, begun.Add(hook.Deadline))
	switch {
	case askErr == nil:
	case err != nil && h.solo.Mode == "":
		// Nobody knows what this host wants: it has never enforced.
		return allow
	default:
		h.solo.Why = "the agent does not answer: " + brief(askErr)
		if readErr != nil {
			h.solo.Why += "; libvirt's XML can't be read: " + readErr.Error()
		}
		a = hook.Alone(h.solo, r, time.Now())
	}
	if !a.Allow {
		fmt.Fprintln(stderr, "vireo: "+a.Message)
		return refuse
	}
	if r.Allowed != "" && r.Operation == hook.Prepare {
		if err := hook.UseAllowance(h.runDir, names...); err != nil {
			fmt.Fprintln(stderr, "vireo:", err)
		}
	}
	return allow
}

// settled is what the hook needs of the configuration.
type settled struct {
	runDir, socket string
	solo           hook.Solo
}

// settings reads the configuration. If that can't be read, the mode is the one
// that the agent last ran with, by its journal or the journal's copy, at their
// usual places; "" when there is neither.
func settings(path string) (settled, error) {
	cfg, err := configs.LoadAgent(path)
	if err != nil {
		cfg = usual()
		cfg.Hook.Mode = ""
		for _, file := range []string{cfg.Journal(), cfg.JournalCopy()} {
			// A damaged one may still say it.
			if s, _ := journal.Read(file); s.Host.HookMode != "" {
				cfg.Hook.Mode = configs.HookMode(s.Host.HookMode)
				break
			}
		}
	}
	boot, bootErr := os.ReadFile(bootIDFile)
	if bootErr != nil {
		boot = nil // then no journal is of this boot
	}
	return settled{runDir: cfg.RunDir, socket: cfg.Socket(), solo: hook.Solo{
		Journal: cfg.Journal(), BootID: strings.TrimSpace(string(boot)),
		Mode: cfg.Hook.Mode, Down: cfg.Hook.AgentDown, Exempt: cfg.ExemptDomains,
	}}, err
}

// allowances finds a person's allowance for the domain, by name or UUID, and
// returns the names to use it up with.
func (h settled) allowances(r *hook.Request, now time.Time) []string {
	if entries, err := os.ReadDir(filepath.Join(h.runDir, "allow")); err != nil || len(entries) == 0 {
		return nil // as almost always
	}
	names := []string{r.Name}
	if d, err := virt.ParseDomain(r.XML); err == nil && d.UUID != "" {
		names = append(names, d.UUID)
	}
	r.Allowed = hook.FindAllowance(h.runDir, now, names...)
	return names
}

// ask asks the agent.
func (h settled) ask(r hook.Request, deadline time.Time) (hook.Answer, error) {
	conn, err := net.DialTimeout("unix", h.socket, time.Until(deadline))
	if err != nil {
		return hook.Answer{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return hook.Answer{}, err
	}
	if err := hook.Write(conn, r); err != nil {
		return hook.Answer{}, err
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return hook.Answer{}, err
	}
	return hook.ReadAnswer(conn)
}

// brief is an error as the user of virsh wants it: without the socket's path
// twice.
func brief(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in " + hook.Deadline.String()
	case errors.As(err, &op) && op.Err != nil:
		return op.Err.Error()
	}
	return err.Error()
}
