package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vireo-kvm/vireo/agent/hook"
	"github.com/vireo-kvm/vireo/agent/journal"
	"github.com/vireo-kvm/vireo/agent/virt"
	"github.com/vireo-kvm/vireo/configs"
)

// asProgram makes this test's binary the program itself.
const asProgram = "VIREO_HOOK_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		usual = func() configs.Agent { // not those of the machine that runs the tests
			cfg := configs.DefaultAgent()
			cfg.RunDir = os.Getenv(asProgram)
			cfg.StateDir = cfg.RunDir
			return cfg
		}
		main()
	}
	os.Exit(m.Run())
}

const (
	guest = "11111111-2222-3333-4444-555555555501"
	xml   = `<domain type='qemu'><name>g1</name><uuid>` + guest + `</uuid><memory>131072</memory><devices/></domain>`
)

// host is a hypervisor as the hook finds it.
type host struct {
	t      *testing.T
	run    string // run_dir
	config string
	script string // what libvirtd executes
	boot   string
}

func newHost(t *testing.T, run string, mode configs.HookMode, down configs.AgentDown) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{t: t, run: run, config: filepath.Join(dir, "agent.toml"), script: filepath.Join(dir, "vireo")}
	h.write(h.config, fmt.Sprintf("run_dir = %q\nstate_dir = %q\nexempt_domains = [\"exempt\"]\n[hook]\nmode = %q\nagent_down = %q\n", run, dir, mode, down))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h.write(h.script, hook.Script(self, h.config))
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		t.Fatal(err)
	}
	h.boot = strings.TrimSpace(string(boot))
	return h
}

func (h *host) write(path, text string) {
	h.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) journal() string { return filepath.Join(h.run, "journal") }

// journaled writes a journal of that boot.
func (h *host) journaled(boot string, domains ...journal.Domain) {
	h.t.Helper()
	s := journal.State{Host: journal.Host{BootID: boot, Name: "h1", HookMode: "enforce"}, Domains: map[string]journal.Domain{}}
	for _, d := range domains {
		d.UUID = guest
		s.Domains[guest] = d
	}
	if err := journal.Copy(h.journal(), s); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) held() {
	h.journaled(h.boot, journal.Domain{Epoch: 5, Phase: journal.Held, Confirmed: true})
}

// forever is what no answer takes, however busy the machine: whoever waits
// longer waits for something that never comes, and is killed.
const forever = hook.Deadline + 30*time.Second

func command(t *testing.T, argv ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second // its children have its output open
	return cmd
}

// call is libvirtd's call: stdin is the domain's XML.
func (h *host) call(name, operation, sub, stdin string) (code int, stderr string) {
	h.t.Helper()
	cmd := command(h.t, h.script, name, operation, sub, "-")
	cmd.Env = append(os.Environ(), asProgram+"="+h.run)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	if out.Len() > 0 { // libvirt takes it as the domain's new XML
		h.t.Errorf("%s %s: writes to stdout: %q", operation, sub, out.String())
	}
	return cmd.ProcessState.ExitCode(), errs.String()
}

// agent answers on the host's socket until the test ends; a nil answer hangs.
func (h *host) agent(answer func(hook.Request) hook.Answer) {
	h.t.Helper()
	l, err := net.Listen("unix", filepath.Join(h.run, "agent.sock"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	if answer == nil {
		return // the kernel accepts, nobody speaks
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if r, err := hook.ReadRequest(conn); err != nil {
				h.t.Error(err)
			} else if err := hook.Write(conn, answer(r)); err != nil {
				h.t.Error(err)
			}
			conn.Close()
		}
	}()
}

// small mounts a file system of a few pages.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Fatalf("a small file system to fill, run the tests as root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// conditions are how the hook may find the host; each makes one.
var conditions = []struct {
	name string
	make func(t *testing.T) *host
	// held is what becomes of a start that the journal's file would permit, if it
	// counts; "": allowed, else a part of the refusal.
	held string
}{
	{"agent dead", func(t *testing.T) *host {
		h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
		h.held()
		return h
	}, ""},
	{"agent hanging", func(t *testing.T) *host {
		h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
		h.held()
		h.agent(nil)
		return h
	}, ""},
	{"disk full", func(t *testing.T) *host {
		h := newHost(t, small(t), configs.HookEnforce, configs.AllowHeld)
		h.held()
		fill(t, h.run)
		return h
	}, "no space left on device"},
	{"no journal", func(t *testing.T) *host {
		return newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
	}, "there is no journal of this boot"},
	{"after a boot", func(t *testing.T) *host {
		h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
		h.journaled("another-boot", journal.Domain{Epoch: 5, Phase: journal.Held, Confirmed: true})
		return h
	}, "its journal is of another boot"},
	{"journal damaged", func(t *testing.T) *host {
		h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
		h.held()
		raw, err := os.ReadFile(h.journal())
		if err != nil {
			t.Fatal(err)
		}
		h.write(h.journal(), string(raw[:len(raw)-20]))
		return h
	}, "cut short"},
	{"journal full of zeros", func(t *testing.T) *host {
		h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
		h.write(h.journal(), strings.Repeat("\x00", 4096))
		return h
	}, "full of zeros"},
}

// built is the program as it is installed. It starts at once, which this test's
// binary, with the race detector in it, does not.
func built(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "vireo-hook")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the hook: %v\n%s", err, out)
	}
	return program
}

// TestOperationsThatMustPass: at these a hook that fails harms a guest, up to
// killing it. Nothing is read, not even what libvirt writes: a pipe that nobody
// closes would be waited for.
func TestOperationsThatMustPass(t *testing.T) {
	operations := [][2]string{
		{"start", "begin"}, {"started", "begin"}, {"stopped", "end"}, {"release", "end"}, {"reconnect", "begin"}, {"attach", "begin"},
		{"prepare", "end"}, {"migrate", "end"}, {"restore", "end"}, {"something", "new"},
	}
	program := built(t)
	for _, c := range conditions {
		t.Run(c.name, func(t *testing.T) {
			h := c.make(t)
			h.write(h.config, "this is = not [ a configuration")
			h.write(h.script, hook.Script(program, h.config))
			for _, op := range operations {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				for what, argv := range map[string][]string{
					"as libvirtd calls it": {h.script, "g1", op[0], op[1], "-"},
					"the program itself":   {program, h.config, "g1", op[0], op[1], "-"},
				} {
					cmd := command(t, argv...)
					cmd.Stdin = r
					if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
						t.Fatalf("%s %s, %s: %v %q", op[0], op[1], what, err, out)
					}
				}
				r.Close()
				w.Close()
			}
		})
	}
}

// TestOperationsThatMayBeRefused, each under each condition.
func TestOperationsThatMayBeRefused(t *testing.T) {
	incoming, err := virt.DestXML(xml, "a1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conditions {
		for _, op := range []string{"prepare", "restore"} {
			t.Run(c.name+"/"+op, func(t *testing.T) {
				t.Parallel()
				h := c.make(t)
				checkCall(t, h, op, xml, c.held)
				mark := journal.MarkOf(h.journal(), guest)
				switch {
				case c.held == "" && (mark == nil || mark.Refused):
					t.Errorf("a start was permitted and left no mark: %+v", mark)
				case c.held != "" && c.name != "disk full" && (mark == nil || !mark.Refused):
					t.Errorf("a start was refused and cannot be made up for: %+v", mark)
				}
			})
		}
		t.Run(c.name+"/migrate", func(t *testing.T) {
			t.Parallel()
			h := c.make(t)
			checkCall(t, h, "migrate", xml, "needs the manager's consent")
			checkCall(t, h, "migrate", incoming, "a1 of g1 was not prepared on this host")
		})
	}
}

// TestIncomingWithoutAgent: an attempt that was prepared does not come in while
// nobody can tell what has become of it.
func TestIncomingWithoutAgent(t *testing.T) {
	incoming, err := virt.DestXML(xml, "a1")
	if err != nil {
		t.Fatal(err)
	}
	for _, down := range []configs.AgentDown{configs.AllowHeld, configs.Refuse, configs.Allow} {
		h := newHost(t, t.TempDir(), configs.HookEnforce, down)
		h.journaled(h.boot, journal.Domain{Epoch: 5, Phase: journal.Transferring,
			Attempt: &journal.Attempt{ID: "a1", Role: journal.Target, Stage: journal.Prepared, Arrival: &journal.Arrival{}}})
		checkCall(t, h, "migrate", incoming, "may not come in: the agent does not answer")
		checkCall(t, h, "prepare", incoming, "may not come in: the agent does not answer")
	}
}

func checkCall(t *testing.T, h *host, op, stdin, want string) {
	t.Helper()
	code, stderr := h.call("g1", op, "begin", stdin)
	switch {
	case want == "" && code != 0:
		t.Errorf("%s: refused: %s", op, stderr)
	case want != "" && (code != 1 || !strings.HasPrefix(stderr, "vireo: ") || !strings.Contains(stderr, want)):
		t.Errorf("%s: code %d, %q, want a refusal with %q", op, code, stderr, want)
	}
}

func TestAgentAnswers(t *testing.T) {
	h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
	h.agent(func(r hook.Request) hook.Answer {
		if r.XML != xml || r.Operation != hook.Prepare {
			t.Errorf("the agent is asked %+v", r)
		}
		if r.Name == "g1" {
			return hook.Answer{Message: "host2 holds the claim of g1 (epoch 41, since 14:02)"}
		}
		return hook.Answer{Allow: true}
	})
	checkCall(t, h, "prepare", xml, "vireo: host2 holds the claim of g1 (epoch 41, since 14:02)")
	if code, stderr := h.call("g2", "prepare", "begin", xml); code != 0 {
		t.Errorf("refused: %s", stderr)
	}
	if marks, err := journal.Marks(h.journal()); err != nil || len(marks) > 0 {
		t.Errorf("marks beside an agent that answers: %v, %v", marks, err)
	}
}

func TestAgentDownModes(t *testing.T) {
	forbidden := journal.Domain{Epoch: 5, Phase: journal.Transferring, Attempt: &journal.Attempt{ID: "a1", Role: journal.Source, Stage: journal.Started,
		Departure: &journal.Departure{Target: "h2", Call: journal.CallOut}}}
	held := journal.Domain{Epoch: 5, Phase: journal.Held, Confirmed: true}
	unconfirmed := journal.Domain{Epoch: 5, Phase: journal.Held}
	tests := []struct {
		mode  configs.HookMode
		down  configs.AgentDown
		entry journal.Domain
		want  string
	}{
		{configs.HookEnforce, configs.AllowHeld, held, ""},
		{configs.HookEnforce, configs.AllowHeld, unconfirmed, "does not hold the claim of g1, and the agent does not answer"},
		{configs.HookEnforce, configs.AllowHeld, forbidden, "is being moved from here to h2"},
		{configs.HookEnforce, configs.Refuse, held, `hook.agent_down is "refuse"`},
		{configs.HookEnforce, configs.Allow, unconfirmed, ""},
		{configs.HookEnforce, configs.Allow, forbidden, "is being moved from here to h2"},
		{configs.HookObserve, configs.AllowHeld, unconfirmed, ""},
		{configs.HookObserve, configs.Refuse, held, ""},
		{configs.HookOff, configs.Refuse, forbidden, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, %s, %s", tt.mode, tt.down, tt.entry.Phase), func(t *testing.T) {
			h := newHost(t, t.TempDir(), tt.mode, tt.down)
			h.journaled(h.boot, tt.entry)
			checkCall(t, h, "prepare", xml, tt.want)
		})
	}
}

// TestWaysOut: exempt domains, and one start by a person's word, which a call
// that is out outweighs.
func TestWaysOut(t *testing.T) {
	h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
	if code, stderr := h.call("exempt", "prepare", "begin", strings.ReplaceAll(xml, "g1", "exempt")); code != 0 {
		t.Errorf("exempt: %s", stderr)
	}
	give := func(domain string, until time.Duration) {
		t.Helper()
		if err := hook.GiveAllowance(h.run, hook.Allowance{Domain: domain, Reason: "drill", Until: time.Now().Add(until)}); err != nil {
			t.Fatal(err)
		}
	}
	give("g1", -time.Second)
	checkCall(t, h, "prepare", xml, "does not hold the claim")
	for _, name := range []string{"g1", guest} {
		give(name, time.Minute)
		checkCall(t, h, "prepare", xml, "")
		if m := journal.MarkOf(h.journal(), guest); m == nil || m.Ground != journal.Allowed {
			t.Errorf("mark %+v", m)
		}
		checkCall(t, h, "prepare", xml, "does not hold the claim") // it was for one start
	}
	give("g1", time.Minute)
	h.journaled(h.boot, journal.Domain{Epoch: 5, Phase: journal.Transferring, Attempt: &journal.Attempt{ID: "a1", Role: journal.Source,
		Stage: journal.Started, Departure: &journal.Departure{Target: "h2", Call: journal.CallOut}}})
	checkCall(t, h, "prepare", xml, "is being moved from here to h2")
}

// TestBadInput: what libvirt never says is refused, and named.
func TestBadInput(t *testing.T) {
	h := newHost(t, t.TempDir(), configs.HookEnforce, configs.Allow)
	h.held()
	for want, stdin := range map[string]string{
		"has no UUID":            "<domain><name>g1</name></domain>",
		"can't be read":          xml[:40],
		"libvirt speaks of g1":   strings.ReplaceAll(xml, "g1", "g2"),
		"expected 4194304":       strings.Replace(xml, "<devices/>", "<description>"+strings.Repeat("x", hook.MaxXML)+"</description>", 1),
		"root element is <host>": "<host/>",
	} {
		checkCall(t, h, "prepare", stdin, want)
	}
}

// TestBrokenConfiguration: then the journal says in which mode the host was; a
// host that has never run an agent is left alone.
func TestBrokenConfiguration(t *testing.T) {
	h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
	h.write(h.config, "[hook]\nmode = \"strict\"\n")
	checkCall(t, h, "prepare", xml, "")
	h.journaled(h.boot)
	checkCall(t, h, "prepare", xml, "does not hold the claim of g1")
}

func TestProbeIsAlwaysRefused(t *testing.T) {
	h := newHost(t, t.TempDir(), configs.HookOff, configs.Allow)
	for name, probe := range map[string]bool{
		"vireo-hook-probe-0123456789ab": true, "vireo-hook-probe-0123456789ag": false, "vireo-hook-probe-0123456789abc": false, "vireo-hook-probe": false,
	} {
		code, stderr := h.call(name, "prepare", "begin", xml)
		if refused := code == 1 && strings.TrimSpace(stderr) == hook.ProbeAnswer(); refused != probe {
			t.Errorf("%s: code %d, %q", name, code, stderr)
		}
	}
}

// TestRemovedProgram: a hook whose program is gone has no say.
func TestRemovedProgram(t *testing.T) {
	h := newHost(t, t.TempDir(), configs.HookEnforce, configs.AllowHeld)
	h.write(h.script, hook.Script("/nonexistent/vireo-hook", h.config))
	if code, stderr := h.call("g1", "prepare", "begin", xml); code != 0 {
		t.Errorf("refused: %s", stderr)
	}
}
